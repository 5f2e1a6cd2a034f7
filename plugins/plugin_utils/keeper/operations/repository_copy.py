# SPDX-License-Identifier: GPL-3.0-or-later
"""What a copy would bring from one repository to another: each resource's restore points that are chosen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...settings.copies import LATEST, MISSING, NEW, CopyPoints
from ...settings.model import read
from ..context import Context
from ..errors import KeeperError
from ..repositories import (
    AgentError,
    Manifest,
    Opened,
    ResourceName,
    open_repository,
    read_marks,
    repository,
)
from . import operation
from .repository import lockable

_READERS = 16
_BLOCK_BYTES = 512 * 1024
# A point that could not be copied is tried again with each new one, so often in all.
_TIMES_TRIED = 5
# Shown of them one by one; the sums are of all.
_SHOWN = 1000


@operation("repository_copy.plan")
def plan(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{resources: {path: {points, chosen: [{id, bytes}], damaged, size_bytes}}, points, chosen, size_bytes, …}.

    ``size_bytes`` is an estimate: what the points have stored where they are, and of one whose parent is not copied all
    that it holds. Raises KeeperError NoTarget, SameRepository, and RestorePointMissing for an id that is nowhere.
    """
    target = arguments.get("target_repository")
    if not target:
        message = f"It is not said which repository {context.host} is copied to."
        raise KeeperError("NoTarget", message, "Set mayfly_copy_repository.")
    wanted: str | tuple[str, ...] = read(CopyPoints, "mayfly_copy_points", arguments.get("points"))
    with context.report.stage("Planning"):
        opened, second = open_repository(context, arguments["repository"]), open_repository(context, target)
        if opened.info.id == second.info.id:
            message = f"mayfly_copy_repository of {context.host} is the repository that it is copied from."
            raise KeeperError("SameRepository", message, "Name another bucket or prefix.")
        if arguments.get("object_lock") not in (None, "none"):
            context.run.once(f"lockable {second.info.id}", lambda: lockable(second.store, target))
        names = repository.list_resources(opened.store)
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda name: _resource(opened, second, name, wanted), names))
    _check_found(wanted, {each["id"] for planned in found for each in (*planned["chosen"], *planned["there"])})
    context.state.copies = [
        {
            **{part: getattr(name, part) for part in ("account", "region", "kind", "id")},
            "points": [each["id"] for each in planned["chosen"]],
            "failed": planned["failed"],
        }
        for name, planned in zip(names, found, strict=True)
        if planned["chosen"]
    ]
    sums = {
        "points": sum(each["points"] for each in found),
        "chosen": sum(len(each["chosen"]) for each in found),
        "damaged": sum(len(each["damaged"]) for each in found),
        "size_bytes": sum(each["bytes"] for planned in found for each in planned["chosen"]),
        "resources_total": len(names),
    }
    context.report.set(planned=sums)
    shown = {
        name.path: {part: planned[part] for part in ("points", "chosen", "damaged")}
        for name, planned in zip(names, found, strict=True)
        if planned["chosen"] or planned["damaged"]
    }
    return {"changed": False, **sums, "target": str(second.store), "resources": dict(list(shown.items())[:_SHOWN])}


def _check_found(wanted: str | tuple[str, ...], found: Collection[str]) -> None:
    missing = [each for each in wanted if each not in found] if not isinstance(wanted, str) else []
    if missing:
        message = f"No resource of the repository has the restore point {missing[0]}, or it is damaged there."
        raise KeeperError("RestorePointMissing", message, "See mayfly_copy_points.")


def _resource(opened: Opened, second: Opened, name: ResourceName, wanted: str | tuple[str, ...]) -> dict[str, Any]:
    """What a resource has, and what of it is copied; points that are marked damaged are not."""
    listed = repository.list_points(opened.store, name)
    there = repository.list_points(second.store, name)
    damaged = _damaged(opened, name) & listed.keys()
    good = [each for each in listed if each not in damaged]
    failed = _failed(second, name, there)
    failed = {each: times for each, times in failed.items() if each in good and each not in there}
    chosen = _chosen(good, there, wanted, failed)
    copies, known = [], set(there)
    for each in chosen:
        copies.append({"id": each, "bytes": _bytes(opened, name, listed[each], known)})
        known.add(each)
    already = [{"id": each} for each in good if each in there]
    told = [each for each in sorted(damaged) if each not in there]
    return {"points": len(listed), "chosen": copies, "damaged": told, "there": already, "failed": failed}


def _failed(second: Opened, name: ResourceName, there: Mapping[str, str]) -> dict[str, int]:
    """{id: times} of the points that copies have tried and not brought, as the newest one there says.

    None of those that were tried often enough.
    """
    if not there:
        return {}
    key = there[max(there)]
    try:
        said = repository.read_with_value(second.store, key, second.resource_key(name))[1].get("not_copied") or {}
        return {str(each): int(times) for each, times in said.items() if int(times) < _TIMES_TRIED}
    except (AgentError, AttributeError, TypeError, ValueError):
        return {}  # whoever goes on from it tells it


def _damaged(opened: Opened, name: ResourceName) -> frozenset[str]:
    """The points that a health check has found damaged; marks of other kinds are passed over, as readers do."""
    try:
        return frozenset(read_marks(opened.store, name).damaged)
    except AgentError as error:
        if error.code != "RepositoryFormat":
            raise
        return frozenset()


def _chosen(
    good: list[str], there: Collection[str], wanted: str | tuple[str, ...], failed: Collection[str] = ()
) -> list[str]:
    """The points to copy of these, oldest first; ``failed`` count as new."""
    missing = [each for each in sorted(good) if each not in there]
    if wanted == NEW:
        newest = max(there, default="")
        return [each for each in missing if each > newest or each in failed]
    if wanted == LATEST:
        return [each for each in missing if each == max(good)]
    if wanted == MISSING:
        return missing
    return [each for each in missing if each in wanted]


def _bytes(opened: Opened, name: ResourceName, key: str, known: Collection[str]) -> int:
    """About how much of a point is copied where the points ``known`` are; 0 for one that cannot be read."""
    try:
        manifest: Manifest = repository.read_manifest(opened.store, key, opened.resource_key(name))
    except AgentError:
        return 0  # the worker will say why
    total = 0
    for each in manifest.volumes:
        if manifest.parent in known or not each.blocks:
            total += each.bytes_stored
        elif each.blocks_stored:
            total += each.bytes_stored * each.blocks // each.blocks_stored
        else:
            total += each.blocks * _BLOCK_BYTES
    return total
