# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: worker_placement
short_description: Decide where a worker goes
version_added: 0.1.0
description:
  - Returns the candidates for a worker in the order they are tried in, with the reason for every choice and rejection.
  - Nothing is launched; trouble with the network or the settings is found here.
options:
  operation:
    description: The operation that the worker is for, named as its playbook.
    type: str
    required: true
  size_gib:
    description: Total size of the resource's volumes in GiB; it chooses the profile of instance types.
    type: int
    required: true
  worker_account:
    description: Which of C(mayfly_accounts) the worker runs in.
    type: str
    choices: [backup, production]
    default: backup
  networks:
    description: Networks that workers may use, as C(mayfly_networks); empty takes the default VPC.
    type: list
    elements: dict
    default: []
  instance_types:
    description: Instance types by profile, as C(mayfly_instance_types).
    type: dict
    default: {}
  image:
    description: Machine image, as C(mayfly_worker_image).
    type: dict
    required: true
  tags:
    description: Tags of the user's own, as C(mayfly_worker_tags); checked here, before anything is made.
    type: dict
    default: {}
  control_node_cidr:
    description: Addresses of the control node; needed where no security groups are configured.
    type: str
  repository_region:
    description: Region of the repository that the worker must reach.
    type: str
    required: true
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
      availability_zone_id:
        description: The zone's id, which is the same in all accounts.
        type: str
      kms_key_id:
        description: KMS key that encrypts all that is restored.
        type: str
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.resource
"""

EXAMPLES = r"""
- name: Place the worker
  mayfly.workers.worker_placement:
    operation: ec2_backup
    resource: "{{ mayfly_resource }}"
    size_gib: 40
    image:
      owner: "136693071363"
      name: debian-12-a*
    repository_region: eu-central-1
"""

RETURN = r"""
candidates:
  description: Account, Region, zone, subnet, groups, type and address of each way to launch the worker.
  returned: success
  type: list
  elements: dict
reasons:
  description: Why each type and subnet was taken or not.
  returned: success
  type: list
  elements: dict
image:
  description: The machine image, resolved once a run.
  returned: success
  type: dict
control_node_cidr:
  description: Addresses of the control node, as given.
  returned: success
  type: str
"""
