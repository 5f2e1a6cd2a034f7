# SPDX-License-Identifier: GPL-3.0-or-later
"""What the table of permissions is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Condition = Mapping[str, Mapping[str, Any]]

DEPLOYMENT = "mayfly:deployment"
TEMPORARY = "mayfly:temporary"


@dataclass(frozen=True)
class Right:
    """Actions on resources under a condition; ``operations`` are the playbooks that need it, none for all of them.

    ``parameter`` names the parameter of the template that must be true for it.
    """

    why: str
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    condition: Condition = field(default_factory=dict, hash=False)
    operations: tuple[str, ...] = ()
    parameter: str = ""


@dataclass(frozen=True)
class Role:
    """A role of the templates: its name, who assumes it, the setting that it goes into, and what it may do.

    ``more`` are rights in a managed policy of their own, since all inline policies of a role together have a limit.
    """

    name: str
    purpose: str
    setting: str
    assumed_by: str
    rights: tuple[Right, ...]
    more: tuple[Right, ...] = ()

    @property
    def all_rights(self) -> tuple[Right, ...]:
        """Those of both policies."""
        return (*self.rights, *self.more)


# Parameters of the templates that say what an account is for; one may be all three.
BACKUP_ACCOUNT = "BackupAccount"
WORKER_DEPLOYMENT = "WorkerDeployment"
PRODUCTION_ACCOUNT = "ProductionAccount"


def where(parameter: str, *rights: Right) -> tuple[Right, ...]:
    """The rights, for stacks in which that parameter is true alone."""
    return tuple(replace(each, parameter=each.parameter or parameter) for each in rights)
