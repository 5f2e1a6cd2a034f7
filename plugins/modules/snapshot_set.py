# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: snapshot_set
short_description: Take the snapshots of all volumes of an instance at once
version_added: 0.1.0
description:
  - Describes an instance and refuses what cannot be backed up.
  - Takes one crash-consistent set of snapshots, waits for it, and keeps or deletes it.
options:
  state:
    description:
      - V(described) only describes the instance and its volumes.
      - V(present) takes the snapshots.
      - V(completed) waits until their blocks can be read.
      - V(released) deletes them, or keeps them as the reference of O(keep).
    type: str
    choices: [described, present, completed, released]
    default: present
  description:
    description: Description of each snapshot.
    type: str
    default: ""
  timeout:
    description: Longest wait for V(completed), in seconds.
    type: int
    default: 14400
  keep:
    description: Id of the restore point that the snapshots stay as the reference of.
    type: str
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: partial
    details: Only O(state=described) asks AWS in check mode.
extends_documentation_fragment:
  - mayfly.workers.resource
"""

EXAMPLES = r"""
- name: Take the snapshots
  mayfly.workers.snapshot_set:
    resource: "{{ mayfly_resource }}"
    description: Nightly
"""

RETURN = r"""
instance:
  description: The instance's settings, as a restore point records them.
  returned: when O(state=described)
  type: dict
volumes:
  description: Id, device, size and attributes of each volume, with its snapshot when that was taken.
  returned: when O(state=described) or O(state=present)
  type: list
  elements: dict
size_bytes:
  description: Total size.
  returned: when O(state=described)
  type: int
site:
  description: Where the instance is, as M(mayfly.workers.worker_placement) takes it.
  returned: when O(state=described)
  type: dict
"""
