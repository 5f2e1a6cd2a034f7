# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: archive_retrieval
short_description: Ask S3 for archived sets, and wait for them
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Retrieves what M(mayfly.workers.archive) has found to bring back, of the same host in the same run. Where there is
    nothing to retrieve, it is ready at once.
  - What was asked for before is not asked for again, by whatever run it was.
  - When the time to wait is over, it succeeds, and the report of the run has a warning.
options:
  tier:
    description: How fast S3 retrieves it.
    type: str
    choices: [expedited, standard, bulk]
    default: standard
  days:
    description: Days that S3 keeps the copies for.
    type: int
    default: 3
  wait:
    description: Seconds to wait for them.
    type: int
    default: 0
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.repository
"""

EXAMPLES = r"""
- name: Retrieve a set, and wait for up to a quarter of an hour
  mayfly.workers.archive_retrieval:
    repository: "{{ mayfly_repository }}"
    tier: expedited
    wait: 900
"""

RETURN = r"""
needed:
  description: Whether there is something to copy, and all of it can be read. In check mode whether there is something.
  returned: success
  type: bool
waiting:
  description: How many objects are not known to be there yet.
  returned: success
  type: int
"""
