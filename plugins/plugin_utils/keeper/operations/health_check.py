# SPDX-License-Identifier: GPL-3.0-or-later
"""What a health check would look at: each resource of a repository, and how much of its data would be read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..context import Context
from ..repositories import Opened, ResourceName, layout, open_repository, repository
from . import operation

_READERS = 16
_SHARES = {"quick": 0.0, "full": 100.0}
# Shown of them one by one; the sums are of all.
_SHOWN = 1000


@operation("health_check.plan")
def plan(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{mode, percent, resources: {path: {points, bytes}}, points, bytes, size_bytes, resources_total}.

    ``bytes`` is what lies in packs, ``size_bytes`` what would be read of it.
    """
    mode = arguments["mode"]
    percent = _SHARES.get(mode, float(arguments["percent"]))
    with context.report.stage("Planning"):
        opened = open_repository(context, arguments["repository"])
        names = repository.list_resources(opened.store)
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda name: _resource(opened, name), names))
    context.state.health_check = {"mode": mode, "percent": percent, "resources": names}
    sums = {name: sum(each[name] for each in found) for name in ("points", "bytes")}
    told = {
        "mode": mode,
        "percent": percent,
        **sums,
        "size_bytes": int(sums["bytes"] * percent / 100),
        "resources_total": len(names),
    }
    context.report.set(planned=told)
    shown = {name.path: each for name, each in zip(names, found, strict=True)}
    return {"changed": False, **told, "resources": dict(list(shown.items())[:_SHOWN])}


def _resource(opened: Opened, name: ResourceName) -> dict[str, int]:
    packs, _trees = layout.objects_prefixes(name)
    return {
        "points": len(repository.list_points(opened.store, name)),
        "bytes": sum(each.size for each in opened.store.list(packs)),
    }
