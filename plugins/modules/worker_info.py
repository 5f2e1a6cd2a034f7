# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: worker_info
short_description: List the live workers of the run
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Asks the keeper which workers live now.
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
"""

EXAMPLES = r"""
- name: List the workers
  mayfly.workers.worker_info:
"""

RETURN = r"""
workers:
  description: Id, address, type, zone and subnet of each.
  returned: success
  type: list
  elements: dict
"""
