# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: repository
short_description: Make a repository, or check one
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Writes the format into a bucket and wraps its key.
  - A store that does not put on conditions, or does not show at once what was written, is refused.
  - Or looks whether a repository is there, of a known format, and writable.
options:
  state:
    description: V(present) makes it where it is missing, V(checked) only looks.
    type: str
    choices: [present, checked]
    default: present
attributes:
  check_mode:
    description: Whether it can run in check mode and say what it would do.
    support: full
extends_documentation_fragment:
  - mayfly.workers.repository
"""

EXAMPLES = r"""
- name: Make the repository
  mayfly.workers.repository:
    repository: "{{ mayfly_repository }}"
"""

RETURN = r"""
repository:
  description: Id of the repository.
  returned: success
  type: dict
store:
  description:
    - What the store can do, which V(present) tries with a small object; C(name) is bucket and prefix.
    - C(conditional_puts) is true, since a store without them is refused, and null in check mode, in which nothing is
      tried. C(versions) and C(locks) (Object Lock) are those of the bucket.
  returned: when O(state=present)
  type: dict
"""
