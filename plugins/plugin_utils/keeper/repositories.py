# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of a run, opened: its objects, its key, and the keys of resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..agent_library import ensure_agent_library
from ..settings.model import SettingError, read
from ..settings.repository import Repository
from .clients import SessionClients
from .context import Context
from .errors import KeeperError
from .wraps import SEE, means_of, opened

ensure_agent_library()

from mayfly_agent.clients import client_at  # noqa: E402
from mayfly_agent.credentials import FixedCredentials  # noqa: E402
from mayfly_agent.errors import AgentError  # noqa: E402
from mayfly_agent.job import STORE, Endpoint, LockJob  # noqa: E402
from mayfly_agent.locking import lock_repository  # noqa: E402
from mayfly_agent.objects import ObjectInfo, ObjectNotFound  # noqa: E402
from mayfly_agent.repository import fitness, keys, layout, repository  # noqa: E402
from mayfly_agent.repository.layout import ResourceName  # noqa: E402
from mayfly_agent.repository.manifest import Manifest  # noqa: E402
from mayfly_agent.repository.marks import read_marks  # noqa: E402
from mayfly_agent.repository.seal import ResourceKey  # noqa: E402
from mayfly_agent.repository.trees import TreeReader  # noqa: E402
from mayfly_agent.s3 import S3Objects  # noqa: E402
from mayfly_agent.sweep import GRACE  # noqa: E402

__all__ = [
    "GRACE",
    "STORE",
    "AgentError",
    "LockJob",
    "Manifest",
    "ObjectInfo",
    "ObjectNotFound",
    "Opened",
    "ResourceKey",
    "ResourceName",
    "TreeReader",
    "fitness",
    "keys",
    "layout",
    "lock_repository",
    "open_repository",
    "open_with",
    "place_of",
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
    bucket, prefix = setting["bucket"], setting.get("prefix") or ""
    if not setting.get("endpoint_url"):
        client = clients.once_client(account, region, "s3")  # the objects' own retries are enough
        return S3Objects(client, bucket, prefix, account)
    try:
        store: Repository = read(Repository, "mayfly_repository", {**setting, "account": account})
    except SettingError as error:  # what inventories say is checked here alone
        raise KeeperError("BadRepository", error.message, error.remedy) from error
    endpoint, trusted = _endpoint(store), Path(store.ca_file) if store.ca_file else None
    credentials = FixedCredentials(store.access_key_id or "", store.secret_access_key or "")
    client = client_at(endpoint, credentials, store.signing_region or region, lambda: None, trusted)
    return S3Objects(client, bucket, prefix, None, endpoint_url=endpoint.url)


def place_of(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Where a repository is, as a job says it; raises KeeperError when the authorities of its store cannot be read."""
    place = {"bucket": setting["bucket"], "prefix": setting.get("prefix") or ""}
    if not setting.get("endpoint_url"):
        return {**place, "region": setting["region"], "owner": str(setting["account"])}
    store: Repository = read(Repository, "mayfly_repository", {**setting, "account": str(setting["account"])})
    return {**place, "region": store.signing_region or store.region, "endpoint": asdict(_endpoint(store))}


def _endpoint(store: Repository) -> Endpoint:
    authorities = ""
    try:
        if store.ca_file:
            authorities = Path(store.ca_file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        message = f"ca_file of mayfly_repository cannot be read: {error}."
        raise KeeperError("BadRepository", message, SEE) from error
    return Endpoint(store.endpoint_url or "", store.addressing_style == "path", authorities)


def open_repository(context: Context, setting: Mapping[str, Any]) -> Opened:
    """Open it once a run; raises KeeperError RepositoryMissing, or the library's AgentError."""
    store = f"{setting['endpoint_url']} " if setting.get("endpoint_url") else ""
    name = f"repository {store}{setting.get('bucket')}/{setting.get('prefix')}"
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
