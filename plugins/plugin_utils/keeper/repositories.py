# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of a run, opened: its objects, its key, and the keys of resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from ..agent_library import ensure_agent_library
from ..settings.model import SettingError, read
from ..settings.repository import Repository
from .clients import SessionClients
from .context import Context
from .errors import KeeperError

ensure_agent_library()

from mayfly_agent.errors import AgentError  # noqa: E402
from mayfly_agent.job import STORE  # noqa: E402
from mayfly_agent.objects import ObjectNotFound  # noqa: E402
from mayfly_agent.repository import fitness, keys, layout, repository  # noqa: E402
from mayfly_agent.repository.layout import ResourceName  # noqa: E402
from mayfly_agent.repository.manifest import Manifest  # noqa: E402
from mayfly_agent.repository.marks import read_marks  # noqa: E402
from mayfly_agent.repository.trees import TreeReader  # noqa: E402
from mayfly_agent.s3 import S3Objects  # noqa: E402
from mayfly_agent.stores import Endpoint, client_of  # noqa: E402

__all__ = [
    "STORE",
    "AgentError",
    "Manifest",
    "ObjectNotFound",
    "Opened",
    "ResourceName",
    "TreeReader",
    "fitness",
    "keys",
    "layout",
    "open_repository",
    "open_with",
    "place_of",
    "read_marks",
    "repository",
    "store_of",
    "wraps_for",
]

_SEE = "group_vars/all/repositories.yml says what mayfly_repository holds."


@dataclass(frozen=True)
class Opened:
    """A repository whose key is known."""

    store: S3Objects
    info: repository.RepositoryInfo
    master: bytes

    def resource_key(self, resource: ResourceName) -> bytes:
        """The key of one resource."""
        return keys.resource_key(self.master, resource)


def store_of(clients: SessionClients, setting: Mapping[str, Any]) -> S3Objects:
    """The objects; raises KeeperError when the setting lacks something."""
    for name in ("bucket", "region", "account"):
        if not setting.get(name):
            raise KeeperError("BadRepository", f"mayfly_repository has no {name}.", _SEE)
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
    credentials = Credentials(store.access_key_id or "", store.secret_access_key or "")
    client = client_of(credentials, store.signing_region or region, endpoint, trusted)
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
        raise KeeperError("BadRepository", message, _SEE) from error
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
    return Opened(store, info, _unwrap(clients, setting, repository.read_wraps(store, info), info.id))


def wraps_for(context: Context, setting: Mapping[str, Any], master: bytes, identity: str) -> list[dict[str, Any]]:
    """The wraps of a new repository's key that the setting asks for; raises KeeperError when it asks for none."""
    wraps = []
    if setting.get("kms_key_id"):
        kms = context.run.clients.client(str(setting["account"]), str(setting["region"]), "kms")
        key_arn = kms.describe_key(KeyId=setting["kms_key_id"])["KeyMetadata"]["Arn"]

        def encrypt(plain: bytes, about: dict[str, str]) -> bytes:
            sealed: bytes = kms.encrypt(KeyId=key_arn, Plaintext=plain, EncryptionContext=about)["CiphertextBlob"]
            return sealed

        wraps.append(keys.wrap_with_kms(master, key_arn, encrypt, identity))
    if setting.get("passphrase"):
        wraps.append(keys.wrap_with_passphrase(master, setting["passphrase"], identity))
    if not wraps:
        raise KeeperError("BadRepository", "mayfly_repository has neither kms_key_id nor passphrase.", _SEE)
    return wraps


def _unwrap(clients: SessionClients, setting: Mapping[str, Any], wraps: list[dict[str, Any]], identity: str) -> bytes:
    """The repository's key, from any wrap that the settings open; raises KeeperError, or why the last one does not."""
    opened = {"kms": setting.get("kms_key_id"), "passphrase": setting.get("passphrase")}
    failure: Exception | None = None
    for wrap in wraps:
        if not opened.get(wrap["kind"]):
            continue
        try:
            if wrap["kind"] == "passphrase":
                return keys.unwrap_with_passphrase(wrap, setting["passphrase"], identity)
            return keys.unwrap_with_kms(wrap, _decrypting(clients, setting), identity)
        except (AgentError, BotoCoreError, ClientError) as error:
            failure = error
    if failure is not None:
        raise failure
    kinds = ", ".join(sorted({wrap["kind"] for wrap in wraps}))
    message = f"The repository's key is wrapped by {kinds}, and the settings open none of these."
    raise KeeperError("NoRepositoryKey", message, "Set kms_key_id or passphrase of mayfly_repository.")


def _decrypting(clients: SessionClients, setting: Mapping[str, Any]) -> keys.Encrypt:
    """KMS with the setting's own key: whoever can write to the bucket must not choose another one for us."""
    kms = clients.client(str(setting["account"]), str(setting["region"]), "kms")

    def decrypt(sealed: bytes, about: dict[str, str]) -> bytes:
        answer = kms.decrypt(CiphertextBlob=sealed, EncryptionContext=about, KeyId=setting["kms_key_id"])
        return bytes(answer["Plaintext"])

    return decrypt
