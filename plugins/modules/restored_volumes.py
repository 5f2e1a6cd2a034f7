# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: restored_volumes
short_description: Check where volumes are restored to, and create them
version_added: 0.1.0
description:
  - Creates each volume with its recorded attributes, waits until all are available, and deletes the snapshots.
  - The volumes stand alone, are attached to an instance, or take the place of what is attached to one.
options:
  timeout:
    description: Longest wait for V(present), until the volumes can be used, in seconds.
    type: int
    default: 14400
  state:
    description:
      - V(checked) settles the Availability Zone and refuses what would fail when all data has been moved.
      - V(present) creates the volumes.
    type: str
    choices: [checked, present]
    default: present
  restore_point:
    description: The restore point, as M(mayfly.workers.restore_point_info) returned it.
    type: dict
    required: true
  snapshots:
    description: For V(present), the new snapshot of each original volume.
    type: dict
    default: {}
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
        description: Availability Zone that gets it, by name or id; empty takes the recorded one in its own Region.
        type: str
      availability_zone_id:
        description: The zone's id, which is the same in all accounts.
        type: str
      kms_key_id:
        description: KMS key that encrypts all that is restored.
        type: str
      volumes:
        description: Ids of the original volumes.
        type: list
        elements: str
  volumes:
    description: For V(checked), ids or recorded devices of the volumes that are wanted; all without any.
    type: list
    elements: str
    default: []
  attachment:
    description:
      - For V(checked), what becomes of the volumes. V(none) leaves them alone, V(attach) attaches them to an instance.
      - V(replace) puts them in the place of those that are attached there, for which the instance is stopped, and
        started again if it ran. Whatever fails until it has passed its status checks, it has its own volumes again.
    type: str
    choices: [none, attach, replace]
    default: none
  instance_id:
    description: For V(checked), the instance that gets the volumes; without it the one that was backed up.
    type: str
  devices:
    description: For V(checked), devices at that instance by recorded device or id of the volume.
    type: dict
    default: {}
  plan:
    description: For V(present), what V(checked) has settled.
    type: dict
    default: {}
  volume_types:
    description: Types of new volumes by recorded device, and under C(others) that of all devices not named.
    type: dict
    default: {}
  boot_timeout:
    description: Longest wait for the status checks of an instance that was started again, in seconds.
    type: int
    default: 1200
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: partial
    details: Only O(state=checked) asks AWS in check mode.
extends_documentation_fragment:
  - mayfly.workers.resource
"""

EXAMPLES = r"""
- name: Create the volumes
  mayfly.workers.restored_volumes:
    resource: "{{ mayfly_resource }}"
    restore_point: "{{ restored_volumes_point }}"
    snapshots: "{{ transfer_agent_transferred.snapshots }}"
    target: "{{ restored_volumes_target }}"
"""

RETURN = r"""
volumes:
  description: The new volume of each original one.
  returned: when O(state=present)
  type: dict
target:
  description: The target with its Availability Zone by name and id.
  returned: when O(state=checked)
  type: dict
restore_point:
  description: The restore point with those of its volumes alone that are wanted.
  returned: when O(state=checked)
  type: dict
plan:
  description: Where the volumes are attached, with C(notes) about what will not be as it was; empty for nowhere.
  returned: when O(state=checked)
  type: dict
devices:
  description: The device of each original volume's new one, when they are attached.
  returned: when O(state=present)
  type: dict
replaced:
  description: The volume that each device had before, when they were exchanged; they are kept.
  returned: when O(state=present)
  type: dict
site:
  description: Where the worker belongs, as M(mayfly.workers.worker_placement) takes it.
  returned: when O(state=checked)
  type: dict
"""
