# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: reaper
short_description: Remove what has outlived its run
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Looks into every account of C(mayfly_accounts) and every Region for temporary instances, volumes, snapshots, network
    interfaces and security groups, and into repositories for multipart uploads.
  - Decides from a thing's own tags and age alone. A run lives for as long as its keeper renews the lease in the tags of
    what it has made. What is past its deadline or whose lease has ended is removed, after a grace.
  - Never touches what lacks the tag of this C(mayfly_deployment) or the tag of temporary things, nor what bears the tag
    C(mayfly:keep).
  - One failure does not stop the rest; the task fails at its end when there was one.
  - Fails with C(BadAccounts) when C(mayfly_accounts) names no account, since it would look nowhere then.
options:
  regions:
    description: Regions to look into; empty takes all that each account has switched on.
    type: list
    elements: str
    default: []
  grace:
    description: Seconds that a thing is left alone after its end; at least 300, since clocks may differ.
    type: int
    default: 900
  run:
    description:
      - Id of one run that is known to have ended; all that it has left is removed at once, and nothing else.
      - Volumes and snapshots are looked at twice, since the run may have handed them over a moment before.
    type: str
  repositories:
    description:
      - Repositories below whose prefixes multipart uploads are looked for, each as C(mayfly_repository), when all else
        has been removed.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
"""

EXAMPLES = r"""
- name: Remove what has outlived its run
  mayfly.workers.reaper:
    regions:
      - eu-central-1
    repositories:
      - "{{ mayfly_repository }}"
"""

RETURN = r"""
reaped:
  description: What was removed, or would be in check mode, with kind, id, account, Region, run and reason.
  returned: always
  type: list
  elements: dict
kept:
  description: How many temporary things of live runs were left alone.
  returned: always
  type: int
failures:
  description: What could not be looked at or removed, and why.
  returned: always
  type: list
  elements: dict
"""
