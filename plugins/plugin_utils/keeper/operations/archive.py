# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be archived or brought back, what that costs, and the retrieval of sets from S3's archive classes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ... import archive_prices
from ..archives import Archiving, Packs, Planned
from ..context import Context
from ..errors import KeeperError
from ..repositories import Opened, ResourceName, layout, open_repository, read_marks, repository
from . import operation

_BLOCK_BYTES = 512 * 1024
_READERS = 16
_SHOWN = 1000
_BACK = "return"
# Of one question; the action asks again.
_SECONDS = 20.0
_AT_ONCE = 160
_PAUSE_SECONDS = 2.0
_KNOWN = "there already"
_SEE = "See mayfly_archive_point and mayfly_archive_resources."


@operation("archive.plan")
def plan(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{action, points: [{resource, name, size_bytes}], points_total, size_bytes, known, cost, source, date}.

    ``known``: how many of the chosen restore points are where they would be copied to already. Of what is to be
    archived, the size is the most that it can be, before compression. Raises KeeperError RestorePointMissing and
    WrongTier, and NotAws where the repository is in a store without archive classes.
    """
    refuse_elsewhere(arguments["repository"])
    back = arguments["action"] == _BACK
    with context.report.stage("Planning"):
        opened = open_repository(context, arguments["repository"])
        wanted = set(arguments.get("resources") or ())
        names = [name for name in repository.list_resources(opened.store) if not wanted or name.id in wanted]
        choose = partial(_set if back else _point, opened, arguments)
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(choose, names))
    chosen = [each for each in found if isinstance(each, Planned)]
    known = sum(each == _KNOWN for each in found)
    if not chosen and not known:
        what = "archived restore point" if back else "restore point"
        raise KeeperError(
            "RestorePointMissing", f"{context.host} has no {what} that is {arguments['point']} or older.", _SEE
        )
    told = {
        "action": arguments["action"],
        "points_total": len(chosen),
        "size_bytes": sum(each.size_bytes for each in chosen),
        "known": known,
        "cost": _cost(chosen, arguments),
        "source": archive_prices.SOURCE,
        "date": archive_prices.DATE,
    }
    archived = [key for each in chosen for key, kind in each.packs.items() if kind in archive_prices.CLASSES]
    context.state.archive = Archiving(chosen, deque(archived), deque(archived))
    context.report.set(planned=told)
    shown = [{"resource": each.path, "name": each.name, "size_bytes": each.size_bytes} for each in chosen]
    return {"changed": False, **told, "points": shown[:_SHOWN]}


@operation("archive.retrieve")
def retrieve(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, needed, unasked, waiting}: ask S3 for the packs of the sets that were planned, and look whether they
    are there; for about 20 s, or ``wait`` seconds. ``needed``: whether there is something to copy, all of it readable.
    Raises KeeperError NotPlanned.
    """
    state = context.state.archive
    if state is None:
        raise KeeperError("NotPlanned", f"What {context.host} brings back was not planned in this run.")
    if context.check or not state.waiting:
        return {"changed": bool(state.unasked), "needed": bool(state.points), "unasked": 0, "waiting": 0}
    setting, asked = arguments["repository"], 0
    client = context.run.clients.client(str(setting["account"]), str(setting["region"]), "s3")
    place = {"Bucket": setting["bucket"], "ExpectedBucketOwner": str(setting["account"])}
    packs = Packs(client, place, arguments["tier"], int(arguments["days"]), context.run.pause)
    ends = time.monotonic() + _SECONDS
    looks_until = time.monotonic() + min(_SECONDS, float(arguments["wait"]))
    if not state.begun:
        context.report.begin("Retrieving")
    state.begun = True
    with ThreadPoolExecutor(_READERS) as pool:
        while state.unasked and time.monotonic() < ends:
            asked += sum(pool.map(packs.ask_for, _taken(state.unasked, _AT_ONCE)))
        while not state.unasked and state.waiting:
            batch = _taken(state.waiting, _READERS)
            there = list(pool.map(packs.is_there, batch))
            missing = [key for key, is_there in zip(batch, there, strict=True) if not is_there]
            state.waiting.extendleft(reversed(missing))
            if missing and time.monotonic() >= looks_until:
                break
            if missing:
                context.run.pause(_PAUSE_SECONDS)
    ready = not state.unasked and not state.waiting
    if ready:
        context.report.end("Retrieving")
    elif not state.unasked and not arguments["wait"]:
        message = f"{context.host}: S3 has not retrieved all of it yet, so nothing came back."
        context.report.warning(KeeperError("NotRetrieved", message, "Run the playbook again later: it goes on."))
    return {"changed": asked > 0, "needed": ready, "unasked": len(state.unasked), "waiting": len(state.waiting)}


def refuse_elsewhere(setting: dict[str, Any]) -> None:
    """Raises KeeperError NotAws: sets are put in AWS's classes, and AWS is asked to retrieve them."""
    if url := setting.get("endpoint_url"):
        message = f"mayfly_repository is in the store {url}, and only AWS's S3 has the classes that sets are put in."
        remedy = "Archive a repository in AWS's S3; mayfly_copy_repository can be one to copy restore points to."
        raise KeeperError("NotAws", message, remedy)


def _taken(keys: deque[str], most: int) -> list[str]:
    return [keys.popleft() for _ in range(min(most, len(keys)))]


def _point(opened: Opened, arguments: dict[str, Any], name: ResourceName) -> Planned | str | None:
    """The restore point of a resource that is chosen, or _KNOWN, or None when there is no such."""
    listed = repository.list_points(opened.store, name)
    latest = arguments["point"] == "latest"
    damaged = read_marks(opened.store, name).damaged if latest else frozenset[str]()
    point = _choose((each for each in listed if each not in damaged), str(arguments["point"]))
    if point is None:
        return None
    if point in _archived(opened, name):
        return _KNOWN
    manifest = repository.read_manifest(opened.store, listed[point], opened.resource_key(name))
    return Planned(asdict(name), point, sum(each.blocks for each in manifest.volumes) * _BLOCK_BYTES)


def _set(opened: Opened, arguments: dict[str, Any], name: ResourceName) -> Planned | str | None:
    """The same of sets, by the restore points that they hold; what came back has the time of its snapshots, too."""
    sets = _archived(opened, name)
    point = _choose(sets, str(arguments["point"]))
    if point is None:
        return None
    good = repository.list_points(opened.store, name).keys() - read_marks(opened.store, name).damaged
    if layout.point_time(point) in map(layout.point_time, good):
        return _KNOWN
    prefix = str(arguments["repository"].get("prefix") or "").strip("/")
    base = f"{prefix}/" if prefix else ""
    packs: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for each in opened.store.list(f"{layout.archive_folder(name, sets[point])}/{name.path}/packs/"):
        packs[base + each.key] = each.storage_class
        sizes[each.storage_class] = sizes.get(each.storage_class, 0) + each.size
    return Planned(asdict(name), sets[point], sum(sizes.values()), packs, sizes)


def _archived(opened: Opened, name: ResourceName) -> dict[str, str]:
    """{restore point: set} of the sets of a resource that are whole: whose manifest is there."""
    found = {}
    prefix = layout.archives_prefix(name)
    for folder in opened.store.folders(prefix):
        made = folder.removeprefix(prefix).removesuffix("/")
        point = layout.parse_archive(made)
        if point is not None:
            key = f"{layout.archive_folder(name, made)}/{layout.point_key(name, point)}"
            if any(each.key == key for each in opened.store.list(key)):
                found[point] = made
    return found


def _choose(points: Iterable[str], wanted: str) -> str | None:
    """The point that latest, an id or a time names: the newest at or before it."""
    known = sorted(points)
    if wanted in known:
        return wanted
    if wanted == "latest":
        return known[-1] if known else None
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return next((each for each in reversed(known) if layout.point_time(each) <= moment), None)


def _cost(chosen: list[Planned], arguments: dict[str, Any]) -> dict[str, Any]:
    """What it costs, and how long a retrieval takes; raises KeeperError WrongTier."""
    if arguments["action"] != _BACK:
        return archive_prices.of_archiving(arguments["storage_class"], sum(each.size_bytes for each in chosen))
    objects: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for each in chosen:
        for kind in each.packs.values():
            objects[kind] = objects.get(kind, 0) + 1
        for kind, size in each.sizes.items():
            sizes[kind] = sizes.get(kind, 0) + size
    try:
        return archive_prices.of_return(arguments["tier"], objects, sizes, int(arguments["days"]))
    except KeyError as error:
        message = f"What is archived in DEEP_ARCHIVE has no {arguments['tier']} retrieval, only standard and bulk."
        raise KeeperError("WrongTier", message, "See mayfly_archive_tier.") from error
