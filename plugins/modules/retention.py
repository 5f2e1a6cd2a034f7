# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: retention
short_description: Find the restore points of a repository that a policy does not keep
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Changes nothing. M(mayfly.workers.transfer) with O(mayfly.workers.transfer#module:operation=retention) removes what
    was found, of the same host in the same run.
  - What any rule keeps stays. The newest good restore point of each resource stays whatever the rules say, and so does
    one that is marked to be kept.
  - At least one rule must keep something.
options:
  count:
    description: How many of the newest restore points of each resource are kept.
    type: int
    default: 0
  days:
    description: Restore points that are younger than so many times 24 hours are kept.
    type: int
    default: 0
  daily:
    description: The newest restore point is kept of each of so many days that have one.
    type: int
    default: 0
  weekly:
    description: The same of weeks, which begin on Monday.
    type: int
    default: 0
  monthly:
    description: The same of months.
    type: int
    default: 0
  yearly:
    description: The same of years.
    type: int
    default: 0
  time_zone:
    description: Time zone that days, weeks, months and years are counted in.
    type: str
    default: UTC
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.repository
"""

EXAMPLES = r"""
- name: Find what a week of daily backups and a year of monthly ones would leave
  mayfly.workers.retention:
    repository: "{{ mayfly_repository }}"
    daily: 7
    monthly: 12
    time_zone: Europe/Berlin
"""

RETURN = r"""
resources:
  description:
    - By path (account, Region, kind, id) the resources that something goes of, the first 1,000 of them.
    - Each has C(points), C(remove) (C(id) and C(bytes) stored of each), C(locked) (C(id), C(until) and C(mode) of what
      would go if S3 did not lock it), C(keep) and C(damaged) (how many are marked so), and C(size_bytes).
  returned: success
  type: dict
resources_total:
  description: How many resources there are.
  returned: success
  type: int
points:
  description: How many restore points there are.
  returned: success
  type: int
remove:
  description: How many of them go.
  returned: success
  type: int
locked:
  description: How many would go but stay, because S3 locks them; a run after the end of the lock removes them.
  returned: success
  type: int
size_bytes:
  description: What these have stored, in bytes. Some of it may be shared with later ones, and stays.
  returned: success
  type: int
"""
