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
  site:
    description: Where the work is, as the roles that describe a resource or a target say it.
    type: dict
    required: true
    suboptions:
      account:
        description: Id of the account that owns the resource or gets what is restored, 12 digits.
        type: str
        required: true
      region:
        description: Region that the worker must be in.
        type: str
        required: true
      zone_ids:
        description: Ids of the Availability Zones that are best, nearest first.
        type: list
        elements: str
      vpc_id:
        description: VPC that the worker must be in, and then also in one of O(site.zone_ids).
        type: str
      services:
        description: AWS services that the worker must reach beside those of the operation.
        type: list
        elements: str
      architecture:
        description:
          - Architecture of a machine image that is to be baked, V(x86_64) or V(arm64).
          - The worker gets the very image that O(image) names, and none that was baked from it.
        type: str
        choices: [x86_64, arm64]
      aws_key_volumes:
        description: Volumes that are encrypted with the key C(aws/ebs), which no other account can use.
        type: list
        elements: str
      puts_back:
        description:
          - Whether a file recovery puts files back to the resource, and not to the operator's own machine alone.
          - From a snapshot, it may do so from the backup account alone.
        type: bool
      peers:
        description: What the worker must reach inside its VPC, such as mount targets.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name for reasons and errors.
            type: str
            required: true
          zone_id:
            description: Id of the Availability Zone that it is in.
            type: str
            required: true
          port:
            description: TCP port.
            type: int
            required: true
          cidr:
            description: Its address with a prefix.
            type: str
            required: true
          security_group_ids:
            description: Its security groups, which have to let the worker in.
            type: list
            elements: str
            required: true
  check_operations:
    description:
      - For V(worker_check) as O(operation), the operations that would use the network, as C(mayfly_check_operations).
      - The worker must reach the services of all of them. Blank takes the default.
    type: list
    elements: str
  check_ports:
    description:
      - For V(worker_check) as O(operation), TCP ports that are connected to, as C(mayfly_check_ports).
      - The run's temporary security group lets them out.
    type: list
    elements: dict
    suboptions:
      host:
        description: Name or address.
        type: str
        required: true
      port:
        description: TCP port.
        type: int
        required: true
  size_bytes:
    description: Bytes that the operation is about; they choose the profile of instance types.
    type: int
    default: 0
  worker_account:
    description: V(backup) or V(production), as C(mayfly_worker_account); the operation's own rule without it.
    type: str
  networks:
    description: Networks that workers may use, as C(mayfly_networks); empty takes the default VPC.
    type: list
    elements: raw
    default: []
  instance_types:
    description: Instance types by profile, as C(mayfly_instance_types).
    type: raw
    default: {}
  market:
    description: Market of the instance, as C(mayfly_worker_market).
    type: str
    choices: [on-demand, spot]
    default: on-demand
  order:
    description: Order of the candidates of a market, as C(mayfly_worker_order).
    type: str
    choices: [preference, price]
    default: preference
  image:
    description:
      - Machine image, as C(mayfly_worker_image).
      - One that this deployment has baked from it with the current transfer agent is preferred.
    type: dict
    required: true
  tags:
    description: Tags of the user's own, as C(mayfly_worker_tags); checked here, before anything is made.
    type: dict
    default: {}
  control_node_cidr:
    description: Addresses of the control node; needed where no security groups are configured.
    type: str
  operator_cidr:
    description: Addresses of the people who reach the worker's web page.
    type: str
  ssh_port:
    description: Port that the worker's SSH server listens on.
    type: int
    default: 22
  repository_region:
    description: Region of the repository that the worker must reach.
    type: str
    required: true
  repository_endpoint_url:
    description:
      - The repository's store, as C(mayfly_repository.endpoint_url), where that is not AWS's S3.
      - AWS's S3 need not be reached then, and its port must be let out.
    type: str
  target_repository:
    description: A second repository that the worker copies to, of which it must reach the bucket or the store.
    type: dict
    suboptions:
      region:
        description: Region of its bucket.
        type: str
      endpoint_url:
        description: Its store, where that is not AWS's S3.
        type: str
attributes:
  check_mode:
    description: In check mode, it shows the candidates and reasons as well.
    support: full
extends_documentation_fragment:
  - mayfly.workers.resource
"""

EXAMPLES = r"""
- name: Place the worker
  mayfly.workers.worker_placement:
    operation: ec2_backup
    resource: "{{ mayfly_resource }}"
    site:
      account: "444455556666"
      region: eu-central-1
      zone_ids: [euc1-az2]
    size_bytes: 42949672960
    image:
      owner: "136693071363"
      name: debian-12-a*
    repository_region: eu-central-1
"""

RETURN = r"""
candidates:
  description: Account, Region, zone, subnet, groups, type, image, market and address of each way to launch the worker.
  returned: success
  type: list
  elements: dict
image:
  description: Machine image of the first candidate.
  returned: success
  type: dict
reasons:
  description: Why the account, the image and each type and subnet was taken or not, and warnings.
  returned: success
  type: list
  elements: dict
checks:
  description:
    - Of a network that is checked, what is told without a worker; C(service) is a subnet or a profile of types.
    - Each has C(service), C(check) (C(network) or C(types)), C(ok), C(seconds), C(reason) and C(remedy).
  returned: when O(operation=worker_check)
  type: list
  elements: dict
services:
  description: Name and Region of each AWS service that the worker must reach.
  returned: success
  type: list
  elements: dict
"""
