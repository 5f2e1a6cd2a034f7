# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a store keeps the promises that a repository rests on; tried with a small object, when one is made."""

from __future__ import annotations

from typing import NoReturn

from ..errors import AgentError
from ..objects import IfMatch, IfNoneMatch, ObjectChanged, ObjectExists, ObjectNotFound, ObjectStore
from .repository import check_key, forget, write_once

# What stores say of a condition that they do not know.
_NOT_KNOWN = ("InvalidArgument", "InvalidRequest", "MethodNotAllowed", "NotImplemented", "UnsupportedOperation")
_FIRST, _SECOND, _OTHER = b"the first", b"the second", b"another"
_CREATE_ONLY = "create-only puts (If-None-Match)"
_NO_ETAG = f'"{0:032x}"'


def check_fit(store: ObjectStore) -> None:
    """Raises AgentError StoreUnfit for a store that a repository must not be made in, or what the store says.

    Two writers are told apart by conditional puts, and what may be deleted is found by lists: without the one they
    would overwrite each other, and without the other data in use would go.
    """
    key = check_key()
    try:
        write_once(store, key, _FIRST)
    except AgentError as error:
        _not_known(store, _CREATE_ONLY, error)
    try:
        _create_only(store, key)
        _replace_only(store, key)
        _shown(store, key)
    finally:
        refused = store.delete_many([(key, None)])
    if refused:
        _unfit(store, f"does not delete what was written there ({refused[0].message})")
    if _listed(store, key) or _read(store, key) is not None:
        _unfit(store, "shows objects that were deleted (DeleteObjects)")
    forget(store, key)  # of a bucket with versions, they are there still


def _create_only(store: ObjectStore, key: str) -> None:
    try:
        store.put(key, _OTHER, IfNoneMatch())
    except ObjectExists:
        return
    except AgentError as error:
        _not_known(store, _CREATE_ONLY, error)
    _unfit(store, "overwrites objects although it was asked to create them only (If-None-Match)")


def _replace_only(store: ObjectStore, key: str) -> None:
    etag = store.get(key).etag
    try:
        store.put(key, _OTHER, IfMatch(_NO_ETAG))
    except ObjectChanged:
        pass
    except AgentError as error:
        _not_known(store, "conditional puts (If-Match)", error)
    else:
        _unfit(store, "overwrites objects although it was asked to replace another one (If-Match)")
    try:
        store.put(key, _SECOND, IfMatch(etag))
    except (ObjectChanged, ObjectExists):
        if _read(store, key) != _SECOND:  # else the answer was lost, and the repetition met the first one's object
            _unfit(store, "does not replace an object by its ETag (If-Match)")


def _shown(store: ObjectStore, key: str) -> None:
    if _read(store, key) != _SECOND:
        _unfit(store, "does not show at once what was written")
    if store.get_range(key, 4, len(_SECOND) - 4) != _SECOND[4:]:
        _unfit(store, "does not give out parts of objects (Range)")
    if not _listed(store, key):
        _unfit(store, "does not list at once what was written")


def _read(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key).body
    except ObjectNotFound:
        return None


def _listed(store: ObjectStore, key: str) -> bool:
    return any(found.key == key for found in store.list(key))


def _not_known(store: ObjectStore, what: str, error: AgentError) -> NoReturn:
    if error.code not in _NOT_KNOWN:
        raise error
    _unfit(store, f"does not know {what}: {error.message}")


def _unfit(store: ObjectStore, why: str) -> NoReturn:
    message = f"A repository cannot be in {store}: the store {why}."
    raise AgentError("StoreUnfit", message, "Use a store that has conditional puts and strong consistency, as S3 has.")
