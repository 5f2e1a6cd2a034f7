# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: repository
short_description: Make a repository, check one, or see to its keys
version_added: 0.1.0
author: The mayfly project (@mayfly)
description:
  - Writes the format into a bucket and wraps its key.
  - A store that does not put on conditions, or does not show at once what was written, is refused.
  - Or looks whether a repository is there, of a known format, and writable.
  - Any one of a key's wraps opens it. What is named in O(repository) must open the keys that are there.
options:
  state:
    description:
      - V(present) makes it where it is missing, V(checked) only looks.
      - V(wrapped) adds wraps to the repository's keys, by all that is named and does not open them yet.
      - V(rotated) does the same, and adds a key, which seals what is written from now on. What was written before stays
        as it is, and readable. In the new key's wraps, what is named anew takes the place of the same of
        O(repository). It changes something each time.
    type: str
    choices: [present, checked, wrapped, rotated]
    default: present
  object_lock:
    description: For V(checked), how restore points are to be locked; the bucket must have Object Lock.
    type: str
    choices: [none, governance, compliance]
    default: none
  new_kms_key_id:
    description: For V(wrapped) and V(rotated), a further KMS key.
    type: str
  new_passphrase:
    description: For V(wrapped) and V(rotated), a further passphrase.
    type: str
  new_recovery_key:
    description:
      - Make a recovery key, and show it once on the screen. It is in no result and no log.
      - Refused under ansible-runner and AWX, which keep all that is shown.
      - With V(present), one is made only if the repository is made.
    type: bool
    default: false
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

- name: Let a passphrase open it as well
  mayfly.workers.repository:
    state: wrapped
    repository: "{{ mayfly_repository }}"
    new_passphrase: "{{ mayfly_new_passphrase }}"
"""

RETURN = r"""
repository:
  description: Id of the repository, and with V(wrapped) and V(rotated) the number of its newest C(key).
  returned: success
  type: dict
store:
  description:
    - What the store can do, which V(present) tries with a small object; C(name) is bucket and prefix.
    - C(conditional_puts) is true, since a store without them is refused, and null in check mode, in which nothing is
      tried. C(versions) and C(locks) (Object Lock) are those of the bucket.
  returned: when O(state=present)
  type: dict
added:
  description: Kinds of the wraps that were added, of V(kms), V(passphrase) and V(recovery).
  returned: when O(state) is V(wrapped) or V(rotated)
  type: list
  elements: str
"""
