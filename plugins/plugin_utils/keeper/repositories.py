# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of a run, opened: its objects, its key, and the keys of resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ..agent_library import ensure_agent_library
from .clients import SessionClients
from .context import Context
from .errors import KeeperError

ensure_agent_library()

from mayfly_agent.errors import AgentError  # noqa: E402
from mayfly_agent.objects import ObjectNotFound  # noqa: E402
from mayfly_agent.repository import keys, layout, repository  # noqa: E402
from mayfly_agent.repository.layout import ResourceName  # noqa: E402
from mayfly_agent.repository.manifest import Manifest  # noqa: E402
from mayfly_agent.repository.marks import read_marks  # noqa: E402
from mayfly_agent.repository.trees import TreeReader  # noqa: E402
from mayfly_agent.s3 import S3Objects  # noqa: E402

__all__ = [
    "AgentError",
    "Manifest",
    "ObjectNotFound",
    "Opened",
    "ResourceName",
    "TreeReader",
    "keys",
    "layout",
    "open_repository",
    "open_with",
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
