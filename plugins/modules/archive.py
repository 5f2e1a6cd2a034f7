# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: archive
short_description: Find what is archived or brought back from an archive, and what that costs
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Changes nothing. M(mayfly.workers.transfer) with O(mayfly.workers.transfer#module:operation=archive) or
    O(mayfly.workers.transfer#module:operation=archive_return) copies what was found, of the same host in the same run.
  - An archived set holds one restore point and refers to nothing outside.
  - Fails where O(repository) is in a store that is not AWS's (C(endpoint_url)).
  - Prices are those of AWS's public price list for us-east-1 at the date that is returned.
options:
  action:
    description: Whether restore points are copied to sets, or sets back to the repository.
    type: str
    choices: [archive, return]
    default: archive
  point:
    description:
      - Of each resource, V(latest), the id of a restore point, or a time (the newest one at or before it).
      - A damaged restore point is not the latest.
    type: str
    default: latest
  resources:
    description: Ids of resources; empty for all.
    type: list
    elements: str
    default: []
  storage_class:
    description: Storage class of new sets.
    type: str
    choices: [GLACIER, DEEP_ARCHIVE]
    default: GLACIER
  tier:
    description: How fast S3 retrieves sets. V(DEEP_ARCHIVE) knows no V(expedited).
    type: str
    choices: [expedited, standard, bulk]
    default: standard
  days:
    description: Days that S3 keeps the copies for that it retrieves.
    type: int
    default: 3
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.repository
"""

EXAMPLES = r"""
- name: Find what it costs to archive the newest restore point of each resource
  mayfly.workers.archive:
    repository: "{{ mayfly_repository }}"
    storage_class: DEEP_ARCHIVE
"""

RETURN = r"""
action:
  description: As it was given.
  returned: success
  type: str
points:
  description: The first 1,000 of what is copied, each with C(resource), C(name) of the point or set, and C(size_bytes).
  returned: success
  type: list
  elements: dict
points_total:
  description: How many there are.
  returned: success
  type: int
known:
  description: How many of the chosen restore points are archived, or in the repository, already. They are not copied.
  returned: success
  type: int
size_bytes:
  description: How much is copied, in bytes. Of what is archived it is the most that it can be, before compression.
  returned: success
  type: int
cost:
  description:
    - C(usd) once and C(usd_month) a month.
    - Of an archive also C(days_least), the days that are paid for in any case, and C(usd_least), what these cost with
      the requests. Of a return also C(hours), within which S3 typically retrieves it.
  returned: success
  type: dict
source:
  description: Where the prices come from.
  returned: success
  type: str
date:
  description: When they were read there, year and month.
  returned: success
  type: str
"""
