# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: restore_point_info
short_description: List restore points, or find one
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Reads the manifests in a repository; a damaged one is an error.
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
  restore_point:
    description: V(latest), the id of one, or a time (the newest at or before it); without it, all are listed.
    type: str
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.repository
"""

EXAMPLES = r"""
- name: Find the latest restore point
  mayfly.workers.restore_point_info:
    repository: "{{ mayfly_repository }}"
    resource: "{{ mayfly_resource }}"
    restore_point: latest
"""

RETURN = r"""
restore_points:
  description: Id, time, resource, recorded settings, volumes and size of each, newest first.
  returned: success
  type: list
  elements: dict
"""
