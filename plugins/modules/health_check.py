# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: health_check
short_description: Find what a health check of a repository looks at
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Changes nothing. M(mayfly.workers.transfer) with O(mayfly.workers.transfer#module:operation=health_check) checks
    what was found, of the same host in the same run.
options:
  mode:
    description:
      - V(quick) looks whether every object that restore points refer to is there, with its size, and reads manifests
        and trees. V(sample) also reads and verifies a share of the blocks, V(full) all of them.
    type: str
    choices: [quick, sample, full]
    default: quick
  percent:
    description: The share of a sample, in percent of the blocks.
    type: float
    default: 5
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.repository
"""

EXAMPLES = r"""
- name: Find how much a sample of one block in a hundred reads
  mayfly.workers.health_check:
    repository: "{{ mayfly_repository }}"
    mode: sample
    percent: 1
"""

RETURN = r"""
mode:
  description: As it was given.
  returned: success
  type: str
percent:
  description: The share of the blocks that is read, 0 for a quick check and 100 for a full one.
  returned: success
  type: float
resources:
  description: By path (account, Region, kind, id) the first 1,000 resources, with C(points) and C(bytes) in packs.
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
bytes:
  description: What lies in packs, in bytes.
  returned: success
  type: int
size_bytes:
  description: What would be read of it, in bytes.
  returned: success
  type: int
"""
