# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository as a whole: made, opened, listed, and added to."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from ..errors import AgentError
from ..objects import IfNoneMatch, ObjectExists, ObjectNotFound, ObjectStore
from . import layout
from .keys import FIRST_KEY
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

    The key goes first, so that a repository without one is never seen. Raises AgentError when another format is there.
    Whether the store is fit for one, fitness.check_fit says.
    """
    try:
        return open_info(store), False
    except ObjectNotFound:
        pass
    identity, now = secrets.token_hex(16), datetime.now(UTC).isoformat(timespec="seconds")
    name = f"{layout.KEYS}{identity}.{FIRST_KEY}"
    common = {"format": FORMAT, "created": now}
    write_once(store, name, _json({**common, "repository": identity, "key": FIRST_KEY, "wraps": wraps(identity)}))
    try:
        write_once(store, layout.REPOSITORY, _json({**common, "id": identity, "cipher": CIPHER}))
    except ObjectExists:
        store.delete(name)
        return open_info(store), False
    return RepositoryInfo(identity, now), True


def open_info(store: ObjectStore) -> RepositoryInfo:
    """Read repository.json; raises ObjectNotFound, or AgentError RepositoryFormat."""
    try:
        head = json.loads(store.get(layout.REPOSITORY).body)
        version, cipher = head["format"], head["cipher"]
        info = RepositoryInfo(str(head["id"]), str(head["created"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AgentError(
            "RepositoryFormat",
            f"repository.json in {store} is not one of ours.",
            "Name another prefix in mayfly_repository.",
        ) from error
    if version != FORMAT or cipher != CIPHER:
        message = (
            f"The repository in {store} has format {version} with {cipher}; only {FORMAT} with {CIPHER} can be read."
        )
        raise AgentError(
            "RepositoryFormat", message, "Use a version of mayfly that knows that format, or another mayfly_repository."
        )
    return info


def read_wraps(store: ObjectStore, info: RepositoryInfo) -> list[dict[str, Any]]:
    """All wraps of the repository's key.

    Raises AgentError RepositoryDamaged when there is none or one cannot be read, and RepositoryFormat when the key was
    changed for another: one key is all that is known here.
    """
    wraps: list[dict[str, Any]] = []
    for found in store.list(layout.KEYS):
        wraps += _wraps_in(found.key, store.get(found.key).body, info)
    if not wraps:
        raise AgentError("RepositoryDamaged", f"The repository {info.id} has lost its keys/ objects.")
    return wraps


def _wraps_in(name: str, body: bytes, info: RepositoryInfo) -> list[dict[str, Any]]:
    try:
        value = json.loads(body)
        version, repository, key, wraps = (value[each] for each in ("format", "repository", "key", "wraps"))
        if not isinstance(wraps, list) or not all(isinstance(each, dict) and "kind" in each for each in wraps):
            raise ValueError("its wraps are none")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AgentError("RepositoryDamaged", f"{name} cannot be read: {error!r}.") from error
    if repository != info.id:  # left by somebody who began to make the repository and was not the first
        return []
    if version != FORMAT or key != FIRST_KEY:
        message = f"{name} has format {version} and key {key}; only {FORMAT} and {FIRST_KEY} can be read."
        raise AgentError(
            "RepositoryFormat", message, "Use a version of mayfly that knows that format, or another mayfly_repository."
        )
    return wraps


def check_writable(store: ObjectStore) -> None:
    """Write and delete a small object; raises what the store says."""
    key = check_key()
    write_once(store, key, b"")
    store.delete(key)


def list_resources(store: ObjectStore) -> list[ResourceName]:
    """The resources that have restore points or traces of one."""
    found: list[ResourceName] = []
    for account in filter(layout.is_account_folder, store.folders("")):
        for region in store.folders(account):
            for kind in store.folders(region):
                names = (layout.parse_resource(folder) for folder in store.folders(kind))
                found += [name for name in names if name is not None]
    return found


def list_points(store: ObjectStore, resource: ResourceName) -> dict[str, str]:
    """{id: key} of a resource's restore points, oldest first; of several generations the newest."""
    newest: dict[str, tuple[int, str]] = {}
    prefix = layout.points_prefix(resource)
    for found in store.list(prefix):
        parsed = layout.parse_point(found.key.removeprefix(prefix))
        if parsed and parsed[1] >= newest.get(parsed[0], (-1, ""))[0]:
            newest[parsed[0]] = (parsed[1], found.key)
    return {identity: newest[identity][1] for identity in sorted(newest)}


def read_manifest(store: ObjectStore, key: str, resource_key: bytes) -> Manifest:
    """Open a restore point.

    Raises AgentError RestorePointDamaged when it is not what was written, RepositoryFormat when its format is another.
    """
    try:
        return open_manifest(store.get(key).body, resource_key, key)
    except (SealBroken, ValueError) as error:
        message = f"The restore point {key} is damaged: {error}"
        raise AgentError(
            "RestorePointDamaged", message, "Restore another one; mayfly_restore_point names it."
        ) from error


def commit(store: ObjectStore, manifest: Manifest, resource_key: bytes) -> tuple[str, str]:
    """Write the manifest, which makes the restore point; its key, and the object's SHA-256 in hexadecimal digits.

    Raises ObjectExists for a second one of that id, ValueError for one that could not be read again.
    """
    key = layout.point_key(manifest.name, manifest.id)
    body = seal_manifest(manifest, resource_key, key)
    write_once(store, key, body)
    return key, sha256(body).hexdigest()


def write_once(store: ObjectStore, key: str, body: bytes) -> None:
    """Create an object; raises ObjectExists when another one is there.

    When the answer to a request is lost, its repetition meets what the first one has written: that is no failure.
    """
    try:
        store.put(key, body, IfNoneMatch())
    except ObjectExists:
        if store.get(key).body != body:
            raise


def check_key() -> str:
    """The key of a new object that tests the store, and that anybody may delete."""
    return f"{layout.CHECKS}{secrets.token_hex(8)}"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
