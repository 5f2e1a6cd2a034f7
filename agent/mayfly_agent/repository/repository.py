# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository as a whole: made, opened, listed, and added to."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import AgentError
from ..objects import ObjectExists, ObjectNotFound, ObjectStore
from . import layout
from .layout import ResourceName
from .manifest import FORMAT, Manifest, open_manifest, seal_manifest
from .seal import SealBroken

CIPHER = "AES-256-GCM"
Wraps = Callable[[str], list[dict[str, Any]]]


@dataclass(frozen=True)
class RepositoryInfo:
    """What repository.json says."""

    id: str
    created: str


def create(store: ObjectStore, wraps: Wraps) -> tuple[RepositoryInfo, bool]:
    """Make the repository; (what it is, whether it was made now). ``wraps`` gives the key's wraps for an id.

    The key goes first, so that a repository without one is never seen. Raises AgentError when another format is there,
    or when the store does not keep the promise that an object is created once.
    """
    try:
        return open_info(store), False
    except ObjectNotFound:
        pass
    _check_create_only(store)
    identity, now = secrets.token_hex(16), datetime.now(UTC).isoformat(timespec="seconds")
    key = {"format": FORMAT, "id": identity, "created": now, "wraps": wraps(identity)}
    store.put(f"{layout.KEYS}{identity}", _json(key), create_only=True)
    head = {"format": FORMAT, "id": identity, "cipher": CIPHER, "created": now}
    try:
        store.put(layout.REPOSITORY, _json(head), create_only=True)
    except ObjectExists:
        store.delete(f"{layout.KEYS}{identity}")
        return open_info(store), False
    return RepositoryInfo(identity, now), True


def open_info(store: ObjectStore) -> RepositoryInfo:
    """Read repository.json; raises ObjectNotFound, or AgentError RepositoryFormat."""
    try:
        head = json.loads(store.get(layout.REPOSITORY))
        version, cipher = head["format"], head["cipher"]
        info = RepositoryInfo(str(head["id"]), str(head["created"]))
    except (ValueError, KeyError, TypeError) as error:
        raise AgentError(
            "RepositoryFormat", f"repository.json in {store} is not one of ours.", "Name another prefix."
        ) from error
    if version != FORMAT or cipher != CIPHER:
        message = (
            f"The repository in {store} has format {version} with {cipher}; only {FORMAT} with {CIPHER} can be read."
        )
        raise AgentError("RepositoryFormat", message, "Use a version of mayfly that knows that format.")
    return info


def read_wraps(store: ObjectStore, info: RepositoryInfo) -> list[dict[str, Any]]:
    """All wraps of the repository's key, of all rotations; raises AgentError when there is none."""
    wraps: list[dict[str, Any]] = []
    for key in store.list(layout.KEYS):
        value = json.loads(store.get(key))
        if value.get("id") == info.id:
            wraps += value["wraps"]
    if not wraps:
        raise AgentError("RepositoryDamaged", f"The repository {info.id} has lost its keys/ objects.")
    return wraps


def check_writable(store: ObjectStore) -> None:
    """Write and delete a small object; raises what the store says."""
    key = f"checks/{secrets.token_hex(8)}"
    store.put(key, b"", create_only=True)
    store.delete(key)


def list_resources(store: ObjectStore) -> list[ResourceName]:
    """The resources that have restore points or traces of one."""
    found: list[ResourceName] = []
    for account in store.list("", folders=True):
        if not account.strip("/").isdigit():
            continue
        for region in store.list(account, folders=True):
            for kind in store.list(region, folders=True):
                found += [ResourceName(*each.strip("/").split("/")) for each in store.list(kind, folders=True)]
    return found


def list_points(store: ObjectStore, resource: ResourceName) -> dict[str, str]:
    """{id: key} of a resource's restore points, oldest first; of several generations the newest."""
    newest: dict[str, tuple[int, str]] = {}
    prefix = layout.points_prefix(resource)
    for key in store.list(prefix):
        parsed = layout.parse_point(key.removeprefix(prefix))
        if parsed and parsed[1] >= newest.get(parsed[0], (-1, ""))[0]:
            newest[parsed[0]] = (parsed[1], key)
    return {identity: newest[identity][1] for identity in sorted(newest)}


def read_manifest(store: ObjectStore, key: str, resource_key: bytes) -> Manifest:
    """Open a restore point; raises AgentError RestorePointDamaged when it is not what was written."""
    try:
        return open_manifest(store.get(key), resource_key, key)
    except (SealBroken, ValueError, KeyError, TypeError) as error:
        message = f"The restore point {key} is damaged: {error}"
        raise AgentError(
            "RestorePointDamaged", message, "Restore another one; mayfly_restore_point names it."
        ) from error


def commit(store: ObjectStore, manifest: Manifest, resource_key: bytes) -> str:
    """Write the manifest, which makes the restore point; its key. Raises ObjectExists for a second one of that id."""
    key = layout.point_key(manifest.name, manifest.id)
    store.put(key, seal_manifest(manifest, resource_key, key), create_only=True)
    return key


def _check_create_only(store: ObjectStore) -> None:
    """A store without conditional writes would let two writers overwrite each other."""
    key = f"checks/{secrets.token_hex(8)}"
    store.put(key, b"first", create_only=True)
    try:
        store.put(key, b"second", create_only=True)
    except ObjectExists:
        return
    finally:
        store.delete(key)
    message = "The store overwrites objects although it was asked to create them only (If-None-Match)."
    raise AgentError("StoreUnfit", message, "Use a store that has conditional writes.")


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
