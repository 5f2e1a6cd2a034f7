# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a repository, look whether one can be used, and add wraps of its keys, and keys."""

from __future__ import annotations

from typing import Any

from ..context import Context
from ..errors import KeeperError
from ..repositories import (
    AgentError,
    ObjectNotFound,
    Opened,
    fitness,
    keys,
    open_repository,
    open_with,
    repository,
    store_of,
)
from ..wraps import NAMES, Means, means_of, opens, recovery, wrapped
from . import operation


@operation("repository.create")
def create(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, repository: {id, created}, store: {name, conditional_puts, versions, locks}}

    With ``recovery_key`` when one was to be made and the repository was. ``conditional_puts`` is None in check mode, in
    which nothing is tried; what lacks them is refused.
    """
    setting = arguments["repository"]
    with context.report.stage("Creating"):
        store = store_of(context.run.clients, setting)
        told = {"name": str(store), **_kept(store, setting)}
        if context.check:
            told["conditional_puts"] = None
            try:
                return {"changed": False, "repository": {"id": repository.open_info(store).id}, "store": told}
            except ObjectNotFound:
                return {"changed": True, "repository": {"id": None}, "store": told}
        fitness.check_fit(store)
        means, secret = means_of(context.run.clients, setting), _new_recovery_key(arguments)
        means += [recovery(secret)] if secret else []
        info, changed = repository.create(
            store, lambda identity: wrapped(means, keys.new_key(), identity, keys.FIRST_KEY)
        )
    made = {"changed": changed, "repository": {"id": info.id, "created": info.created}, "store": told}
    return {**made, **_told(secret)} if changed else made


@operation("repository.check")
def check(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, repository: {id}}; raises what would stop a backup, before anything is launched."""
    setting = arguments["repository"]
    opened = open_repository(context, setting)
    if arguments.get("object_lock") not in (None, "none"):
        context.run.once(f"lockable {opened.info.id}", lambda: lockable(opened.store, setting))
    if not context.check:
        context.run.once(f"writable {opened.info.id}", lambda: _writable(opened.store))
    return {"changed": False, "repository": {"id": opened.info.id}}


@operation("repository.wrap")
def wrap(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, repository: {id, key}, added: kinds of wraps}: every key opens with all that is named, old and new.

    With ``recovery_key`` when a new one was to be made.
    """
    with context.report.stage("Wrapping"):
        opened, new, secret = _opened(context, arguments)
        added = _add_wraps(context, arguments, opened, new)
    changed = {"changed": bool(added), "added": added, "repository": _named(opened)}
    return {**changed, **_told(None if context.check else secret)}


@operation("repository.rotate")
def rotate(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, repository: {id, key}, added}: the repository has a new key for new data; the others stay.

    With ``recovery_key`` as wrap gives it. Raises KeeperError WrapMissing when the new key would lack a kind of wrap
    that the one before it has.
    """
    with context.report.stage("Rotating"):
        opened, new, secret = _opened(context, arguments)
        # What is new takes the place of what was: who changes a passphrase does not trust the one before.
        kinds = {each.kind: each for each in (*means_of(context.run.clients, arguments["repository"]), *new)}
        newest = max(opened.masters)
        before = {str(each["kind"]) for each in repository.read_wraps(opened.store, opened.info)[newest]}
        if lacking := sorted((before & NAMES.keys()) - kinds.keys()):
            names = " and ".join(f"{NAMES[kind]} of mayfly_repository or mayfly_new_{NAMES[kind]}" for kind in lacking)
            message = (
                f"Key {newest} of the repository has a wrap by {', '.join(lacking)}, and a new key would have none."
            )
            raise KeeperError("WrapMissing", message, f"Set {names}.")
        added = _add_wraps(context, arguments, opened, new)
        if not context.check:
            wraps = wrapped(list(kinds.values()), keys.new_key(), opened.info.id, newest + 1)
            repository.add_key(opened.store, opened.info, newest + 1, wraps)
    named = {"id": opened.info.id, "key": newest + 1}
    return {"changed": True, "added": added, "repository": named, **_told(None if context.check else secret)}


def _opened(context: Context, arguments: dict[str, Any]) -> tuple[Opened, list[Means], bytes | None]:
    """(the repository as it is now, what is named anew to open it, a recovery key that was made)."""
    setting, clients = arguments["repository"], context.run.clients
    named = {"kms_key_id": arguments.get("new_kms_key_id"), "passphrase": arguments.get("new_passphrase")}
    new = means_of(clients, {"account": setting["account"], "region": setting["region"], **named})
    secret = _new_recovery_key(arguments)
    return open_with(clients, setting), [*new, *([recovery(secret)] if secret else [])], secret


def _add_wraps(context: Context, arguments: dict[str, Any], opened: Opened, new: list[Means]) -> list[str]:
    """Wrap every key by all that is named, where it is not; the kinds of what was added."""
    means = [*means_of(context.run.clients, arguments["repository"]), *new]
    added: dict[str, None] = {}
    for number, wraps in repository.read_wraps(opened.store, opened.info).items():
        key, identity = opened.masters[number], opened.info.id
        missing = [each for each in means if opens(each, wraps, identity, number) != key]
        if missing and not context.check:
            repository.add_wraps(opened.store, opened.info, number, wrapped(missing, key, identity, number))
        added |= dict.fromkeys(each.kind for each in missing)
    return list(added)


def _named(opened: Opened) -> dict[str, Any]:
    return {"id": opened.info.id, "key": max(opened.masters)}


def _new_recovery_key(arguments: dict[str, Any]) -> bytes | None:
    return keys.new_key() if arguments.get("new_recovery_key") else None


def _told(secret: bytes | None) -> dict[str, str]:
    """For the person alone who runs the playbook: it is kept nowhere."""
    return {"recovery_key": keys.recovery_text(secret)} if secret else {}


def _writable(store: Any) -> bool:
    repository.check_writable(store)
    return True


def _kept(store: Any, setting: dict[str, Any]) -> dict[str, Any]:
    """What the bucket can do; raises KeeperError when there is none, or when it would lock leases."""
    try:
        kept = store.kept()
    except AgentError as error:
        if error.code != "NoSuchBucket":
            raise
        message = f"There is no bucket {setting['bucket']}."
        raise KeeperError("NoSuchBucket", message, "Make it first, or mend bucket of mayfly_repository.") from error
    if kept.default_retention:
        message = f"The bucket {setting['bucket']} has a default retention, which would lock leases too."
        raise KeeperError("DefaultRetention", message, "Take the bucket's default retention away.")
    return {"conditional_puts": True, "versions": kept.versions, "locks": kept.locks}


def lockable(store: Any, setting: dict[str, Any]) -> bool:
    """Raises KeeperError NoObjectLock for a bucket whose objects cannot be locked, and as _kept does."""
    if not _kept(store, setting)["locks"]:
        message = f"The bucket {setting['bucket']} has no Object Lock, which mayfly_object_lock asks for."
        raise KeeperError(
            "NoObjectLock", message, "Enable it on the bucket, with versions, or set the setting to none."
        )
    return True
