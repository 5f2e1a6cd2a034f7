# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of a run, opened: its objects, its key, and the keys of resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..agent_library import ensure_agent_library
from .clients import SessionClients
from .context import Context
from .errors import KeeperError
from .wraps import SEE, means_of, opened

ensure_agent_library()

from mayfly_agent.errors import AgentError  # noqa: E402
from mayfly_agent.objects import ObjectNotFound  # noqa: E402
from mayfly_agent.repository import keys, layout, repository  # noqa: E402
from mayfly_agent.repository.layout import ResourceName  # noqa: E402
from mayfly_agent.repository.manifest import Manifest  # noqa: E402
from mayfly_agent.repository.marks import read_marks  # noqa: E402
from mayfly_agent.repository.seal import ResourceKey  # noqa: E402
from mayfly_agent.repository.trees import TreeReader  # noqa: E402
from mayfly_agent.s3 import S3Objects  # noqa: E402

__all__ = [
    "AgentError",
    "Manifest",
    "ObjectNotFound",
    "Opened",
    "ResourceKey",
    "ResourceName",
    "TreeReader",
    "keys",
    "layout",
    "open_repository",
    "open_with",
    "read_marks",
    "repository",
    "store_of",
]


@dataclass(frozen=True)
class Opened:
    """A repository whose keys are known, by their numbers."""

    store: S3Objects
    info: repository.RepositoryInfo
    masters: Mapping[int, bytes] = field(repr=False)

    def resource_key(self, resource: ResourceName) -> ResourceKey:
        """The keys of one resource."""
        return keys.resource_keys(self.masters, resource)


def store_of(clients: SessionClients, setting: Mapping[str, Any]) -> S3Objects:
    """The objects; raises KeeperError when the setting lacks something."""
    for name in ("bucket", "region", "account"):
        if not setting.get(name):
            raise KeeperError("BadRepository", f"mayfly_repository has no {name}.", SEE)
    account, region = str(setting["account"]), str(setting["region"])
    client = clients.once_client(account, region, "s3")  # the objects' own retries are enough
    return S3Objects(client, setting["bucket"], setting.get("prefix") or "", account)


def open_repository(context: Context, setting: Mapping[str, Any]) -> Opened:
    """Open it once a run; raises KeeperError RepositoryMissing, or the library's AgentError."""
    name = f"repository {setting.get('bucket')}/{setting.get('prefix')}"
    return context.run.once(name, lambda: open_with(context.run.clients, setting))


def open_with(clients: SessionClients, setting: Mapping[str, Any]) -> Opened:
    """Open it without a run; raises as open_repository."""
    store = store_of(clients, setting)
    try:
        info = repository.open_info(store)
    except ObjectNotFound as error:
        message = f"There is no repository in {store}."
        raise KeeperError(
            "RepositoryMissing", message, "Run the playbook repository_create first, or correct mayfly_repository."
        ) from error
    return Opened(store, info, opened(means_of(clients, setting), repository.read_wraps(store, info), info.id))
