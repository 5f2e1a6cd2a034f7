# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """The protected resource, and what holds for every module that asks the keeper."""

    DOCUMENTATION = """
options:
  resource:
    description: The protected resource, as the inventory composes it in C(mayfly_resource).
    type: dict
    required: true
    suboptions:
      account:
        description: Id of the account that owns it, 12 digits.
        type: str
        required: true
      region:
        description: Region that it is in.
        type: str
        required: true
      kind:
        description: Kind of resource.
        type: str
        required: true
      id:
        description: Id that AWS gave it.
        type: str
        required: true
      name:
        description: Name for people.
        type: str
author: The mayfly project (@mayfly)
requirements:
  - The callback P(mayfly.workers.guard#callback), which starts the run's keeper
"""
