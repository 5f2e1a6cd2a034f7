# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a repository, and look whether one can be used."""

from __future__ import annotations

from typing import Any

from ..context import Context
from ..errors import KeeperError
from ..repositories import AgentError, ObjectNotFound, fitness, keys, open_repository, repository, store_of, wraps_for
from . import operation


@operation("repository.create")
def create(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, repository: {id, created}, store: {name, conditional_puts, versions, locks}}

    ``conditional_puts`` is None in check mode, in which nothing is tried; what lacks them is refused.
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
        info, changed = repository.create(store, lambda identity: wraps_for(context, setting, keys.new_key(), identity))
    return {"changed": changed, "repository": {"id": info.id, "created": info.created}, "store": told}


@operation("repository.check")
def check(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, repository: {id}}; raises what would stop a backup, before anything is launched."""
    opened = open_repository(context, arguments["repository"])
    if not context.check:
        context.run.once(f"writable {opened.info.id}", lambda: _writable(opened.store))
    return {"changed": False, "repository": {"id": opened.info.id}}


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
