# SPDX-License-Identifier: GPL-3.0-or-later
"""Archived sets: a list of them, and the deletion of those that are named and of those that were never finished."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .. import sets
from ..context import Context
from ..errors import KeeperError
from ..repositories import layout, open_repository, repository
from ..sets import Set
from . import operation
from .archive import refuse_elsewhere

_READERS = 16
_DELETED_AT_ONCE = 4
_SHOWN = 1000
_SEE = "Names are those that the playbook archive_sets lists; see mayfly_archive_sets_absent."


@operation("archive_sets.list")
def list_sets(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, sets: [{resource, name, …, state}], sets_total, size_bytes, removed, not_there, …}.

    ``state`` is removed, or kept; in check mode removed is what would be. Raises KeeperError BadSetName, and after all
    else was done the first reason why a named set stays.
    """
    refuse_elsewhere(arguments["repository"])
    named = frozenset(map(str, arguments.get("absent") or ()))
    wrong = [each for each in sorted(named) if layout.parse_archive(each) is None]
    if wrong:
        raise KeeperError("BadSetName", f"{wrong[0]!r} is no name of an archived set.", _SEE)
    with context.report.stage("Listing"):
        opened = open_repository(context, arguments["repository"])
        store, now = opened.store, opened.store.get(layout.REPOSITORY).date
        wanted = set(arguments.get("resources") or ())
        names = [name for name in repository.list_resources(store) if not wanted or name.id in wanted]
        with ThreadPoolExecutor(_READERS) as pool:
            found = [each for of_one in pool.map(lambda name: list(sets.find(store, name)), names) for each in of_one]
    doomed = [each for each in found if each.name in named or (arguments["remove_unfinished"] and _is_left(each))]
    with context.report.stage("Deleting"), ThreadPoolExecutor(_DELETED_AT_ONCE) as pool:
        reasons = list(pool.map(lambda each: sets.why_kept(store, each, now), doomed))
        going = [each for each, reason in zip(doomed, reasons, strict=True) if reason is None]
        if not context.check:
            list(pool.map(lambda each: sets.delete(store, each), going))
    told = [{**each.told(now), "state": "removed" if each in going else "kept"} for each in found]
    sums = {
        "sets_total": len(found),
        "unfinished": sum(not each.whole for each in found),
        "size_bytes": sum(sum(each.sizes.values()) for each in found),
        "removed": len(going),
        "usd_early": round(sum(each["usd_early"] for each in told if each["state"] == "removed"), 4),
        "not_there": sorted(named - {each.name for each in found}),
    }
    context.report.set(archive_sets=sums)
    for each, reason in zip(doomed, reasons, strict=True):
        if reason is not None and each.name in named:
            raise reason
    return {"changed": bool(going), **sums, "sets": told[:_SHOWN]}


def _is_left(found: Set) -> bool:
    """Whether it was never finished. One whose manifest has versions was: somebody may want it back."""
    return not found.whole and not found.hidden
