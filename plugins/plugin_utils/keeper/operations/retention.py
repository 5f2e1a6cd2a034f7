# SPDX-License-Identifier: GPL-3.0-or-later
"""What retention would remove from a repository: each resource's restore points and marks, and the policy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from ...retention import Point, Points, Policy, removable
from ...settings.schema import Settings
from ..context import Context
from ..errors import KeeperError
from ..repositories import AgentError, Manifest, Opened, ResourceName, layout, open_repository, read_marks, repository
from . import operation

_READERS = 16
_RULES = ("count", "days", "daily", "weekly", "monthly", "yearly")
# Shown of them one by one; the sums are of all.
_SHOWN = 1000


@operation("retention.plan")
def plan(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{resources: {path: {points, remove, locked, keep, damaged, size_bytes}}, points, remove, locked, size_bytes,
    resources_total}. What is ``locked`` would go if its lock did not last.

    ``size_bytes`` is what the points that go have stored: the most that can become free, since later points may share
    some of it. The time is S3's own. Raises KeeperError NoRetention without a rule, and when a resource cannot be read.
    """
    policy = _policy(arguments)
    with context.report.stage("Planning"):
        opened = open_repository(context, arguments["repository"])
        now = opened.store.get(layout.REPOSITORY).date
        names = repository.list_resources(opened.store)
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda name: _resource(opened, name, policy, now), names))
    context.state.retention = [
        {
            "account": name.account,
            "region": name.region,
            "kind": name.kind,
            "id": name.id,
            "remove": [each["id"] for each in planned["remove"]],
        }
        for name, planned in zip(names, found, strict=True)
    ]
    sums = {
        "points": sum(each["points"] for each in found),
        "remove": sum(len(each["remove"]) for each in found),
        "locked": sum(len(each["locked"]) for each in found),
        "size_bytes": sum(each["size_bytes"] for each in found),
        "resources_total": len(names),
    }
    context.report.set(planned=sums)
    shown = {name.path: each for name, each in zip(names, found, strict=True) if each["remove"] or each["locked"]}
    return {"changed": False, **sums, "resources": dict(list(shown.items())[:_SHOWN])}


def _policy(arguments: dict[str, Any]) -> Policy:
    given = {name: arguments.get(name) or 0 for name in _RULES}
    if not any(given.values()):
        message = "No rule says which restore points are kept, and without one none is removed."
        raise KeeperError("NoRetention", message, "Set one of mayfly_retention_count, _days, _daily and so on.")
    settings = Settings.from_call(
        {f"retention_{name}": value for name, value in (*given.items(), ("time_zone", arguments.get("time_zone")))}
    )
    return Policy(**given, zone=ZoneInfo(settings.retention_time_zone))


def _resource(opened: Opened, name: ResourceName, policy: Policy, now: datetime) -> dict[str, Any]:
    """What a resource has, and what of it goes; the size is that of points which can be read."""
    listed = repository.list_points(opened.store, name)
    try:
        marks = read_marks(opened.store, name)
    except AgentError as error:
        if error.code != "RepositoryFormat":
            raise
        # Of what is not understood nothing is chosen, and its sweep will say why it stops.
        return {"points": len(listed), "remove": [], "locked": [], "keep": 0, "damaged": 0, "size_bytes": 0}
    points = Points(
        tuple(Point(each, layout.point_time(each)) for each in listed), damaged=marks.damaged, keep=marks.keep
    )
    remove, locked = [], []
    for each in removable(policy, points, now):
        manifest = _manifest(opened, name, listed[each.id])
        # Somebody may have lifted the lock that the manifest tells of: the store knows.
        lock = opened.store.lock(listed[each.id], None) if manifest and manifest.lock else None
        if lock and lock.until and lock.until > now:
            locked.append({"id": each.id, "until": lock.until.isoformat(), "mode": lock.mode})
        else:
            remove.append({"id": each.id, "bytes": manifest and sum(one.bytes_stored for one in manifest.volumes)})
    return {
        "points": len(listed),
        "remove": remove,
        "locked": locked,
        "keep": len(marks.keep & listed.keys()),
        "damaged": len(marks.damaged & listed.keys()),
        "size_bytes": sum(each["bytes"] or 0 for each in remove),
    }


def _manifest(opened: Opened, name: ResourceName, key: str) -> Manifest | None:
    """A point's, None for one that cannot be read: the sweep of its resource will say so."""
    try:
        return repository.read_manifest(opened.store, key, opened.resource_key(name))
    except AgentError:
        return None
