# SPDX-License-Identifier: GPL-3.0-or-later
"""An operation's own part of a job, and what those have in common that move data."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..context import Context
from ..policies import partition_of, repository_policy
from ..repositories import ResourceKey, ResourceName, open_repository


@dataclass(frozen=True)
class Session:
    """Credentials for the agent: a session of the account's ``worker_role_arn``, narrowed by a policy."""

    account: str
    policy: dict[str, Any]


@dataclass(frozen=True)
class Keys:
    """Credentials for the agent at a store that is not AWS's: those of the settings, which nothing narrows."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class Part:
    """``fields`` of the job, which come before those that all jobs have.

    ``repository`` is the session for the repository, ``source`` the one for everything else, ``target`` that for a
    second repository, where there is one.
    """

    fields: dict[str, Any]
    repository: Session | Keys
    source: Session | Keys
    target: Session | Keys | None = None


def data_fields(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the agent needs to move a resource's data: its key in the repository, which is opened for that."""
    opened = open_repository(context, arguments["repository"])
    context.state.repository = opened.info.id
    key = opened.resource_key(ResourceName.from_dict(arguments["resource"]))
    return {**key_fields(key), "concurrency": arguments["concurrency"]}


def key_fields(key: ResourceKey, newest: str = "resource_key") -> dict[str, Any]:
    """A resource's keys as the agent takes them: the ``newest`` under that name, and those before it."""
    first, *before = (base64.b64encode(each).decode() for each in (key, *key.before))
    return {newest: first, "keys_before": before}


def keys_of(setting: Mapping[str, Any]) -> Keys | None:
    """The credentials of a repository's own store, None for AWS's."""
    if not setting.get("endpoint_url"):
        return None
    return Keys(str(setting.get("access_key_id") or ""), str(setting.get("secret_access_key") or ""))


def repository_session(
    context: Context, arguments: dict[str, Any], *, write: bool, lock: bool = False
) -> Session | Keys:
    """Credentials for the resource's part of the repository."""
    setting, name = arguments["repository"], ResourceName.from_dict(arguments["resource"])
    if (keys := keys_of(setting)) is not None:
        return keys
    account = str(setting["account"])
    policy = repository_policy(
        partition(context, account), setting["bucket"], setting.get("prefix") or "", name.path, write=write, lock=lock
    )
    return Session(account, policy)


def whole_session(
    context: Context, setting: Mapping[str, Any], policy: Callable[[str, str, str], dict[str, Any]]
) -> Session | Keys:
    """Credentials for all resources of a repository; ``policy`` is made of partition, bucket and prefix."""
    if (keys := keys_of(setting)) is not None:
        return keys
    account = str(setting["account"])
    return Session(account, policy(partition(context, account), setting["bucket"], setting.get("prefix") or ""))


def partition(context: Context, account_id: str) -> str:
    """The partition that an account is in."""
    return partition_of(context.owner(account_id).worker_role_arn)
