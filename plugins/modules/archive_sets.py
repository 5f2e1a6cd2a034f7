# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: archive_sets
short_description: List archived sets, and delete those that are given up
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Lists the sets that M(mayfly.workers.archive) and M(mayfly.workers.transfer) have made, whole or not.
  - A set can be deleted 7 days and 2 hours after it was begun, since a run may write to it until then, and not while S3
    locks it.
  - What is deleted before the minimum storage duration of its class (90 days of V(GLACIER), 180 of V(DEEP_ARCHIVE)) is
    paid to the end of that. What that costs is returned.
  - Fails where O(repository) is in a store that is not AWS's (C(endpoint_url)).
options:
  absent:
    description:
      - Names of sets to delete. One that is not there is no failure; one that cannot be deleted now is, when all else
        was done.
    type: list
    elements: str
    default: []
  remove_unfinished:
    description:
      - Whether sets are deleted that were never finished, as soon as nobody can go on with them any more.
      - One whose manifest has gone, and of which the bucket has a version, is not one of these.
    type: bool
    default: false
  resources:
    description: Ids of resources; empty for all.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.repository
"""

EXAMPLES = r"""
- name: Delete a set, and what was never finished
  mayfly.workers.archive_sets:
    repository: "{{ mayfly_repository }}"
    absent: [20261124T013000Z-20261124T012950Z-a1b2c3.0123abcd]
    remove_unfinished: true
"""

RETURN = r"""
sets:
  description:
    - The first 1,000 sets, each with C(resource), C(name), C(restore_point), C(whole), C(begun), C(size_bytes), bytes
      by class (C(storage_classes)), the C(state) (C(kept) or C(removed)), and C(days_left) of the minimum storage
      duration, with what these cost when it is deleted now (C(usd_early)).
  returned: success
  type: list
  elements: dict
sets_total:
  description: How many there are, those included that were deleted.
  returned: success
  type: int
unfinished:
  description: How many of them are not whole.
  returned: success
  type: int
size_bytes:
  description: How much is in all of them, in bytes.
  returned: success
  type: int
removed:
  description: How many were deleted, or would be in check mode.
  returned: success
  type: int
usd_early:
  description: What it costs that these are deleted early, in USD at prices of us-east-1.
  returned: success
  type: float
not_there:
  description: Names that were to be deleted and that no set has.
  returned: success
  type: list
  elements: str
"""
