# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: restored_volumes
short_description: Create volumes from the snapshots of a restore
version_added: 0.1.0
description:
  - Creates each volume with its recorded attributes, waits until all are available, and deletes the snapshots.
options:
  snapshots:
    description: The new snapshot of each original volume.
    type: dict
    required: true
  volumes:
    description: The volumes as the restore point records them.
    type: list
    elements: dict
    required: true
  tags:
    description: Tags of the user's own on the new volumes.
    type: dict
    default: {}
  target:
    description: Where a restore goes to.
    type: dict
    suboptions:
      account:
        description: Id of the account that gets what is restored, 12 digits.
        type: str
        required: true
      region:
        description: Region that gets it.
        type: str
        required: true
      availability_zone:
        description: Availability Zone that gets it.
        type: str
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: none
extends_documentation_fragment:
  - mayfly.workers.resource
"""

EXAMPLES = r"""
- name: Create the volumes
  mayfly.workers.restored_volumes:
    resource: "{{ mayfly_resource }}"
    snapshots: "{{ transfer_agent_transferred.snapshots }}"
    volumes: "{{ restored_volumes_point.volumes }}"
    target: "{{ restored_volumes_target }}"
"""

RETURN = r"""
volumes:
  description: The new volume of each original one.
  returned: success
  type: dict
"""
