# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs have left: their reports, and sums over many of them."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from mayfly import project

_GOOD = ("Succeeded", "Warning")
Report = Mapping[str, Any]


def reports_of_collection(module: str) -> Any:
    """A module of the collection's ``plugin_utils/reports``: the keeper writes reports with the same."""
    above = str(project.root() / "collections")
    if above not in sys.path:
        sys.path.append(above)
    return importlib.import_module(f"ansible_collections.mayfly.workers.plugins.plugin_utils.reports.{module}")


def load(run: str) -> dict[str, Any]:
    """The report of a run, by its id. Raises BadInput."""
    path = project.runs_folder() / run / "report.json"
    if Path(run).name != run or not path.is_file():
        raise project.BadInput(f"There is no run {run!r} in {project.runs_folder()}. `runs` lists them.")
    return _read(path)


def load_all(since: timedelta | None = None) -> list[dict[str, Any]]:
    """The reports of all runs, or of those that began within ``since``, oldest first. Raises BadInput."""
    found = [_read(path) for path in project.runs_folder().glob("*/report.json")]
    if since is not None:
        found = [each for each in found if datetime.now(UTC) - _started(each) <= since]
    return sorted(found, key=_started)


def remove_old(age: timedelta) -> list[str]:
    """Remove the folders of runs that ended longer ago than ``age``; their ids. A run that goes on stays."""
    removed = []
    for path in sorted(project.runs_folder().glob("*/report.json")):
        ended = _read(path).get("ended")
        if ended and datetime.now(UTC) - datetime.fromisoformat(ended) > age:
            shutil.rmtree(path.parent)  # by where it lies: what a report says of itself removes nothing else
            removed.append(path.parent.name)
    return removed


def overview(reports: Iterable[Report], objective: timedelta, at: datetime) -> dict[str, Any]:
    """Many runs in one: ``operations``, ``resources`` and ``stored`` by day.

    An operation has its ``runs``, ``resources``, ``succeeded`` (share of the resources, None without any), and the
    median and longest time of a resource in ``seconds``. A resource of backups has the time and the run of its newest
    restore point, its last status, and whether the point is ``fresh``: not older than ``objective`` at the time ``at``.
    ``stored`` is what backups have added to repositories, in bytes by UTC day.
    """
    rows_of = reports_of_collection("rows").rows
    lines = [row for report in reports for row in rows_of(report)]
    return {
        "at": at.isoformat(timespec="seconds"),
        "objective_hours": objective.total_seconds() / 3600,
        "operations": {name: _operation([row for row in lines if row["operation"] == name]) for name in _names(lines)},
        "resources": _resources(lines, objective, at),
        "stored": _stored(lines),
    }


def _names(lines: list[dict[str, Any]]) -> list[str]:
    return sorted({str(row["operation"]) for row in lines})


def _operation(lines: list[dict[str, Any]]) -> dict[str, Any]:
    counted = [row for row in lines if row["status"] != "Skipped"]
    times = [row["seconds"] for row in counted if row["seconds"] is not None]
    return {
        "runs": len({row["run"] for row in lines}),
        "resources": len(counted),
        "succeeded": sum(row["status"] in _GOOD for row in counted) / len(counted) if counted else None,
        "seconds": {"median": median(times), "longest": max(times)} if times else None,
        "cost_usd": round(sum(row["cost_usd"] or 0 for row in counted), 4),
    }


def _resources(lines: list[dict[str, Any]], objective: timedelta, at: datetime) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in lines:
        if row["operation"] != "ec2_backup" or row["status"] == "Skipped":
            continue
        own = found.setdefault(row["host"], {"restore_point": None, "protected": None, "run": None})
        own["status"] = row["status"]
        if row["status"] in _GOOD and row["restore_point"]:
            own |= {"restore_point": row["restore_point"], "protected": row["ended"], "run": row["run"]}
    for own in found.values():
        age = at - datetime.fromisoformat(own["protected"]) if own["protected"] else None
        own["fresh"] = age is not None and age <= objective
    return dict(sorted(found.items()))


def _stored(lines: list[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in lines:
        if row["operation"] == "ec2_backup" and row["ended"] and row["bytes_stored"]:
            day = row["ended"][:10]
            found[day] = found.get(day, 0) + row["bytes_stored"]
    return dict(sorted(found.items()))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise project.BadInput(f"{path}: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("run"), str):
        raise project.BadInput(f"{path} is no report of a run.")
    return content


def _started(report: Report) -> datetime:
    return datetime.fromisoformat(report["started"])
