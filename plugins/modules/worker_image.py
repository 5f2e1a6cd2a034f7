# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: worker_image
short_description: Bake a machine image from a worker
version_added: 0.1.0
description:
  - An image is wanted from a base image with the transfer agent that would be installed; one that is there is kept.
  - The image is made of the host's worker, copied to other Regions, and bears this deployment's tags.
  - Until it is available, it is temporary as all that a run makes, and is removed when the run is killed.
options:
  state:
    description:
      - V(planned) finds out what is there.
      - V(present) bakes the image unless it is there, and copies it.
    type: str
    choices: [planned, present]
    default: present
  base:
    description: The base image, as M(mayfly.workers.worker_placement) returns it.
    type: dict
    required: true
  digest:
    description: SHA-256 of the bundle of the transfer agent that is installed; needed when an image is to be baked.
    type: str
    default: ""
  packages:
    description: What is installed beside the agent, as C(mayfly_image_packages); an image without it is another one.
    type: list
    elements: str
    default: []
  copies:
    description: Regions that the image is copied to, as C(mayfly_image_copies).
    type: list
    elements: str
    default: []
  timeout:
    description: Longest wait for one image to be available, in seconds.
    type: int
    default: 7200
  remove_old:
    description:
      - Whether other images of this deployment for the same architecture are removed, with their snapshots.
      - It looks into the Region of O(resource) and those of O(copies).
    type: bool
    default: false
  tags:
    description: Tags of the user's own, as C(mayfly_worker_tags).
    type: dict
    default: {}
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.resource
"""

EXAMPLES = r"""
- name: Find out whether an image must be baked
  mayfly.workers.worker_image:
    state: planned
    resource: "{{ mayfly_resource }}"
    base: "{{ worker_placement.image }}"
"""

RETURN = r"""
needed:
  description: Whether an image must be baked.
  returned: when O(state=planned)
  type: bool
missing:
  description: Regions of copies that are not there.
  returned: when O(state=planned)
  type: list
  elements: str
images:
  description: Id of the image in each Region.
  returned: success
  type: dict
old:
  description: Other images of this deployment for the architecture, with account, Region, time and base.
  returned: success
  type: list
  elements: dict
removed:
  description: Ids of images that were removed.
  returned: when O(state=present)
  type: list
  elements: str
"""
