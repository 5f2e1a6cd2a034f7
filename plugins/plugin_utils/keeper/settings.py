# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that come with every call: the same for all hosts of a run, or nearly so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import KeeperError

_ACCOUNT_ID = re.compile(r"^[0-9]{12}$")
_DEPLOYMENT = re.compile(r"^[A-Za-z0-9-]{1,64}$")
# Retention counts on no run being longer than this (docs/repository-format.md).
_DEADLINES = (60, 7 * 86400)
# Several renewals must be able to fail; a worker's clock counts in seconds.
_LEASES = (15, 86400)
_SEE = "group_vars/all/accounts.yml says what mayfly_accounts holds."


@dataclass(frozen=True)
class Account:
    """One of ``mayfly_accounts``; ``name`` is backup or production."""

    name: str
    id: str
    role_arn: str | None = None
    external_id: str | None = None
    worker_role_arn: str | None = None

    @classmethod
    def from_setting(cls, name: str, value: Any) -> Account:
        """An entry as users write it; raises KeeperError for one that says nothing sensible."""
        if not isinstance(value, Mapping):
            raise KeeperError("BadAccounts", f"mayfly_accounts.{name} is not a dictionary.", _SEE)
        unknown = sorted(set(value) - {"id", "role_arn", "external_id", "worker_role_arn"})
        if unknown:
            raise KeeperError("BadAccounts", f"mayfly_accounts.{name} has the unknown key {unknown[0]}.", _SEE)
        account_id = str(value.get("id", ""))
        if not _ACCOUNT_ID.match(account_id):
            message = f"mayfly_accounts.{name}.id is {account_id!r}, not an account id of 12 digits in quotes."
            raise KeeperError("BadAccounts", message, _SEE)
        texts = {key: str(value[key]) for key in ("role_arn", "external_id", "worker_role_arn") if value.get(key)}
        return cls(name, account_id, **texts)


@dataclass(frozen=True)
class Settings:
    """``deadline`` and ``lease`` are in seconds."""

    deployment: str
    operation: str
    deadline: int
    lease: int
    accounts: dict[str, Account] = field(default_factory=dict)

    @classmethod
    def from_call(cls, value: Mapping[str, Any]) -> Settings:
        """What a task sent along; raises KeeperError that names the setting at fault."""
        deployment = str(value.get("deployment", "default"))
        if not _DEPLOYMENT.match(deployment):
            message = f"mayfly_deployment is {deployment!r}, not 1 to 64 letters, digits and dashes."
            raise KeeperError("BadDeployment", message)
        accounts = value.get("accounts") or {}
        if not isinstance(accounts, Mapping):
            raise KeeperError("BadAccounts", "mayfly_accounts is not a dictionary.", _SEE)
        return cls(
            deployment=deployment,
            operation=str(value.get("operation") or "unknown"),
            deadline=_seconds("mayfly_deadline", value.get("deadline", 86400), _DEADLINES),
            lease=_seconds("mayfly_lease", value.get("lease", 600), _LEASES),
            accounts={name: Account.from_setting(name, each) for name, each in accounts.items()},
        )


def _seconds(name: str, value: Any, bounds: tuple[int, int]) -> int:
    try:
        seconds = int(value)
    except (TypeError, ValueError):
        seconds = 0
    least, most = bounds
    if not least <= seconds <= most:
        message = f"{name} is {value!r}, not a number of seconds from {least} to {most}."
        raise KeeperError("BadSetting", message, "group_vars/all/workers.yml explains it.")
    return seconds
