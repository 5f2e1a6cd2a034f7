# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: repository_copy
short_description: Find the restore points that a copy would bring to a second repository
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Changes nothing. M(mayfly.workers.transfer) with O(mayfly.workers.transfer#module:operation=repository_copy) copies
    what was found, of the same host in the same run.
  - Restore points that are marked as damaged are not copied, and told.
options:
  points:
    description:
      - V(new) for what is newer than the newest restore point of the same resource in the second repository, V(missing)
        for all that is not there, V(latest) for the newest of each resource, or a list of ids.
      - V(new) tries again what could not be copied before, with each new restore point, five times in all.
    type: raw
    default: new
  object_lock:
    description:
      - How the copies are to be locked. Unless it is V(none), it fails where the second repository's bucket has no
        Object Lock, or a default retention.
    type: str
    choices: [none, governance, compliance]
    default: none
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.repository
  - mayfly.workers.repository.target
"""

EXAMPLES = r"""
- name: Find what is new
  mayfly.workers.repository_copy:
    repository: "{{ mayfly_repository }}"
    target_repository: "{{ mayfly_copy_repository }}"
"""

RETURN = r"""
resources:
  description:
    - Of each resource, by its path, of which something would be copied or is damaged, how many restore points it has
      (C(points)), the C(id) and C(bytes) of those to copy (C(chosen)), and ids of those that are C(damaged).
    - At most 1,000 of them; the sums are of all.
  returned: success
  type: dict
points:
  description: How many restore points there are.
  returned: success
  type: int
chosen:
  description: How many of them would be copied.
  returned: success
  type: int
damaged:
  description: How many that are not in the second repository are damaged, and not copied.
  returned: success
  type: int
size_bytes:
  description: About how many bytes would be copied. It chooses the worker's instance type.
  returned: success
  type: int
resources_total:
  description: How many resources the repository has.
  returned: success
  type: int
target:
  description: Bucket and prefix of the second repository.
  returned: success
  type: str
"""
