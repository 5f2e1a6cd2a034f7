# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: worker
short_description: Launch or terminate the worker of a host
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Launches the temporary EC2 instance that serves one protected resource.
  - How long it may live is what C(mayfly_lease) and C(mayfly_deadline) say.
  - Waits until it can be logged in to, with a host key that it made for itself.
  - Refuses without the run's keeper, and when the host's connection is another than
    P(mayfly.workers.worker#connection).
  - What it returns has to be registered as C(worker_launched), from which C(playbooks/vars/worker_connection.yml) takes
    the C(mayfly_worker_*) variables that the connection reads. A cache could keep facts beyond the worker's life.
options:
  resource:
    description: The protected resource, as the inventory composes it in C(mayfly_resource).
    type: dict
    suboptions:
      account:
        description: Id of the account that owns it, 12 digits.
        type: str
        required: true
      region:
        description: Region that it is in.
        type: str
        required: true
      kind:
        description: Kind of resource.
        type: str
        required: true
      id:
        description: Id that AWS gave it.
        type: str
        required: true
      name:
        description: Name for people.
        type: str
  state:
    description:
      - Whether the host has a worker. V(absent) waits until AWS says that it is gone or going.
      - V(lost), in a C(rescue), ends a worker that was lost, so that another one can be launched. One counts as lost
        when Spot takes it back, when AWS or its own machine has ended it, and when it was out of reach for two minutes.
      - It fails with O(failure) when the worker was not lost, when a person has ended it, and when its transfer had
        come to its end.
    type: str
    choices: [present, absent, lost]
    default: present
  failure:
    description: For O(state=lost), the result of the task that failed, C(ansible_failed_result).
    type: dict
  placement:
    description: What M(mayfly.workers.worker_placement) returned.
    type: dict
  user_data_template:
    description: Template of the user data, looked for in the role's templates.
    type: str
    default: user_data.sh.j2
  tags:
    description: Tags of the user's own.
    type: dict
    default: {}
  control_node_cidr:
    description: Addresses that a security group of the run's own lets SSH in from.
    type: str
  max_workers:
    description:
      - How many workers of the deployment may live in an account and Region, over all runs; C(0) is any number.
      - A launch waits its turn, up to O(capacity_timeout).
    type: int
    default: 0
  capacity_timeout:
    description: Longest wait for a turn, or for a quota that the deployment's own workers use up, in seconds.
    type: int
    default: 900
  ssh_port:
    description: Port that the worker's SSH server listens on.
    type: int
    default: 22
  ssh_user:
    description: User to log in as; the user data makes it.
    type: str
    default: mayfly
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
"""

EXAMPLES = r"""
- name: Launch the worker
  mayfly.workers.worker:
    resource: "{{ mayfly_resource }}"
    placement: "{{ worker_placement }}"
  register: worker_launched

- name: Terminate the worker
  mayfly.workers.worker:
    state: absent
"""

RETURN = r"""
worker:
  description: The worker's id, type, zone and subnet, and how it is reached.
  returned: when O(state=present)
  type: dict
reason:
  description: Why the worker was lost.
  returned: when O(state=lost)
  type: str
"""
