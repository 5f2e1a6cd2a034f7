# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository as a whole: made, opened, listed, and added to."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from typing import Any

from ..errors import AgentError
from ..objects import IfNoneMatch, Lock, ObjectExists, ObjectNotFound, ObjectStore
from . import layout
from .keys import FIRST_KEY
from .layout import ResourceName
from .manifest import FORMAT, Manifest, open_with_value, seal_manifest
from .seal import OtherKey, SealBroken

CIPHER = "AES-256-GCM"
# A rotation a day for a year, or as many wraps: who can write to the bucket must not fill the memory of who opens it.
_KEYS_READ = 400
_KEY_BYTES_READ = 64 * 1024
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
    key = _write_key(store, identity, FIRST_KEY, wraps(identity))
    try:
        head = {"format": FORMAT, "created": now, "id": identity, "cipher": CIPHER}
        write_once(store, layout.REPOSITORY, _json(head))
    except ObjectExists:
        forget(store, key)
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


def read_wraps(store: ObjectStore, info: RepositoryInfo) -> dict[int, list[dict[str, Any]]]:
    """The wraps of each of the repository's keys, by their numbers: all from 1 to the newest.

    Raises AgentError RepositoryDamaged when a key is missing or one cannot be read, and RepositoryFormat.
    """
    wraps: dict[int, list[dict[str, Any]]] = {}
    for found in islice(store.list(f"{layout.KEYS}{info.id}."), _KEYS_READ):
        number = layout.parse_key(found.key, info.id)
        if number is None:
            continue
        if found.size > _KEY_BYTES_READ:
            raise AgentError("RepositoryDamaged", f"{found.key} cannot be read: it has {found.size} bytes.")
        wraps.setdefault(number, []).extend(_wraps_in(found.key, store.get(found.key).body, info, number))
    numbers = range(FIRST_KEY, max(wraps, default=FIRST_KEY) + 1)
    lost = next((number for number in numbers if not wraps.get(number)), None)
    if lost is not None:
        message = f"The repository {info.id} has lost its keys/ objects of key {lost}."
        raise AgentError("RepositoryDamaged", message, "Put them back, from a version or a copy of the bucket.")
    return wraps


def add_wraps(store: ObjectStore, info: RepositoryInfo, number: int, wraps: list[dict[str, Any]]) -> None:
    """Add further wraps of a key that the repository has."""
    _write_key(store, info.id, number, wraps, secrets.token_hex(4))


def add_key(store: ObjectStore, info: RepositoryInfo, number: int, wraps: list[dict[str, Any]]) -> None:
    """Add the next key, which is the one for new data from now on.

    Raises AgentError KeyRotated when somebody else has added one of that number.
    """
    try:
        _write_key(store, info.id, number, wraps)
    except ObjectExists as error:
        message = f"The repository {info.id} has a key {number} by now: somebody else has rotated its key meanwhile."
        raise AgentError("KeyRotated", message, "Rotate it again if that was not what was wanted.") from error


def _write_key(store: ObjectStore, identity: str, number: int, wraps: list[dict[str, Any]], digits: str = "") -> str:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    value = {"format": FORMAT, "created": now, "repository": identity, "key": number, "wraps": wraps}
    name = layout.wraps_key(identity, number, digits)
    write_once(store, name, _json(value))
    return name


def _wraps_in(name: str, body: bytes, info: RepositoryInfo, number: int) -> list[dict[str, Any]]:
    try:
        value = json.loads(body)
        version, repository, key, wraps = (value[each] for each in ("format", "repository", "key", "wraps"))
        if version == FORMAT and (repository, key) != (info.id, number):
            raise ValueError(f"it is of key {key} of {repository}")
        if not isinstance(wraps, list) or not all(isinstance(each, dict) and "kind" in each for each in wraps):
            raise ValueError("its wraps are none")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AgentError("RepositoryDamaged", f"{name} cannot be read: {error!r}.") from error
    if version != FORMAT:
        raise AgentError(
            "RepositoryFormat",
            f"{name} has format {version}; only {FORMAT} can be read.",
            "Use a version of mayfly that knows that format, or another mayfly_repository.",
        )
    return wraps


def check_writable(store: ObjectStore) -> None:
    """Write and delete a small object; raises what the store says."""
    key = check_key()
    write_once(store, key, b"")
    forget(store, key)


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

    Raises AgentError RestorePointDamaged when it is not what was written, RepositoryFormat when its format is another,
    and RepositoryKeyMissing when it names a key that is not at hand: keys/ was set back, or it was changed itself.
    """
    return read_with_value(store, key, resource_key)[0]


def read_with_value(store: ObjectStore, key: str, resource_key: bytes) -> tuple[Manifest, dict[str, Any]]:
    """As read_manifest, with all that was sealed: fields too that this version does not know."""
    try:
        return open_with_value(store.get(key).body, resource_key, key)
    except OtherKey as error:
        message = f"The repository has no key that opens the restore point {key}: {error}"
        raise AgentError(
            "RepositoryKeyMissing", message, "Put back what is missing in keys/; if nothing is, remove this object."
        ) from error
    except (SealBroken, ValueError) as error:
        message = f"The restore point {key} is damaged: {error}"
        raise AgentError(
            "RestorePointDamaged", message, "Restore another one; mayfly_restore_point names it."
        ) from error


def first_digest(store: ObjectStore, key: str, resource_key: bytes) -> str:
    """SHA-256 of a restore point's manifest as it was first written, generation 0; raises as read_manifest."""
    body = store.get(key).body
    manifest = read_manifest(store, key, resource_key)
    if key == layout.point_key(manifest.name, manifest.id):
        return sha256(body).hexdigest()
    return str(open_with_value(body, resource_key, key)[1].get("first"))


def commit(store: ObjectStore, manifest: Manifest, resource_key: bytes, lock: Lock | None = None) -> tuple[str, str]:
    """Write the manifest, which makes the restore point; its key, and the object's SHA-256 in hexadecimal digits.

    Raises ObjectExists for a second one of that id, ValueError for one that could not be read again.
    """
    key = layout.point_key(manifest.name, manifest.id)
    body = seal_manifest(manifest, resource_key, key)
    write_once(store, key, body, lock)
    return key, sha256(body).hexdigest()


def write_once(store: ObjectStore, key: str, body: bytes, lock: Lock | None = None) -> None:
    """Create an object; raises ObjectExists when another one is there.

    When the answer to a request is lost, its repetition meets what the first one has written: that is no failure.
    """
    try:
        store.put(key, body, IfNoneMatch(), lock)
    except ObjectExists:
        if store.get(key).body != body:
            raise


def forget(store: ObjectStore, key: str) -> None:
    """Delete all versions of an object; where that is not allowed, hide it as a bucket with versions does."""
    if store.delete_many((each.key, each.version) for each in store.list(key, versions=True) if each.key == key):
        store.delete(key)


def check_key() -> str:
    """The key of a new object that tests the store, and that anybody may delete."""
    return f"{layout.CHECKS}{secrets.token_hex(8)}"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode()
