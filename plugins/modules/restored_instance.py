# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: restored_instance
short_description: Restore a whole instance, to a new place or to its original one
version_added: 0.1.0
description:
  - A new instance is launched from an image, without user data and where nothing reaches it, and stopped.
    Its root volume is exchanged for the restored one, the others are attached.
    Then it moves to its security groups and starts.
  - The original instance keeps its id, addresses and interfaces.
    It is stopped, its volumes are exchanged, and it starts again.
    Whatever fails until it has passed its status checks, it runs with its own volumes again, as before.
  - Of a new instance that failed nothing is left when the run ends.
options:
  state:
    description:
      - V(checked) settles what is restored to where, and refuses what would fail when all data has been moved.
      - V(present) creates the volumes, and restores the instance.
      - V(absent) removes an instance that was restored with O(temporary).
    type: str
    choices: [checked, present, absent]
    default: present
  location:
    description: Whether a new instance is launched, or the original one gets the volumes.
    type: str
    choices: [new, original]
    default: new
  restore_point:
    description: The restore point, as M(mayfly.workers.restore_point_info) returned it; needed unless V(absent).
    type: dict
    default: {}
  target:
    description: Where a restore goes to; needed unless V(absent).
    type: dict
    default: {}
    suboptions:
      account:
        description: Id of the account that gets what is restored, 12 digits.
        type: str
      region:
        description: Region that gets it.
        type: str
      availability_zone:
        description: Availability Zone that gets it, by name or id; empty takes that of the subnet.
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
  subnet_id:
    description: Subnet of a new instance; without it the recorded one, in its own account and Region.
    type: str
  security_group_ids:
    description: Security groups of a new instance; without any the recorded ones, in its own VPC.
    type: list
    elements: str
    default: []
  instance_type:
    description: Type of a new instance; without it the recorded one.
    type: str
  image:
    description:
      - Image that a new instance is launched from, by C(id), or by C(owner) and C(name); without it the recorded one.
    type: dict
    default: {}
  name:
    description: Name of a new instance; without it the recorded one.
    type: str
  key_name:
    description: Key pair of a new instance, or V(none); without it the recorded one, if it is there.
    type: str
  instance_profile:
    description:
      - Instance profile of a new instance by name or ARN, or V(none).
      - Without it the recorded one, in its own account.
    type: str
  keep_address:
    description: Whether a new instance gets the recorded private address, if it is free in its subnet.
    type: bool
    default: false
  plan:
    description: For V(present), what V(checked) has settled.
    type: dict
    default: {}
  snapshots:
    description: For V(present), the new snapshot of each original volume.
    type: dict
    default: {}
  volume_types:
    description: Types of new volumes by recorded device, and under C(others) that of all devices not named.
    type: dict
    default: {}
  tags:
    description: Tags of the user's own on the new instance and the new volumes.
    type: dict
    default: {}
  timeout:
    description: Longest wait for V(present), until the volumes can be used and the instance runs, in seconds.
    type: int
    default: 14400
  boot_timeout:
    description: Longest wait for the status checks of an instance that runs, in seconds.
    type: int
    default: 1200
  temporary:
    description: Whether a new instance stays the run's, whose end removes it with its volumes.
    type: bool
    default: false
  instance_id:
    description: For V(absent), the instance.
    type: str
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: partial
    details: Only O(state=checked) asks AWS in check mode.
extends_documentation_fragment:
  - mayfly.workers.resource
"""

EXAMPLES = r"""
- name: Restore the instance
  mayfly.workers.restored_instance:
    resource: "{{ mayfly_resource }}"
    restore_point: "{{ restored_instance_point }}"
    target: "{{ restored_instance_target }}"
    plan: "{{ restored_instance_plan }}"
    snapshots: "{{ transfer_agent_transferred.snapshots }}"
"""

RETURN = r"""
target:
  description: The target with its Availability Zone by name and id.
  returned: when O(state=checked)
  type: dict
site:
  description: Where the worker belongs, as M(mayfly.workers.worker_placement) takes it.
  returned: when O(state=checked)
  type: dict
plan:
  description: What becomes of the instance, with C(notes) about what will not be as it was.
  returned: when O(state=checked)
  type: dict
instance_id:
  description: The restored instance.
  returned: when O(state=present)
  type: str
volumes:
  description: The new volume of each original one.
  returned: when O(state=present)
  type: dict
replaced:
  description: Of the original instance, the volume that each device had before; they are kept.
  returned: when O(state=present) and O(location=original)
  type: dict
private_ip_address:
  description: The private address of a new instance.
  returned: when O(state=present) and O(location=new)
  type: str
status:
  description: What the status checks of a new instance said in the end.
  returned: when O(state=present) and O(location=new)
  type: str
"""
