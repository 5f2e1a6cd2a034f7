# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the bars of a timeline lie: the stages of each resource over the time of the run. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_TICKS = 6
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True)
class Bar:
    """One stage: ``left`` and ``width`` in percent of the whole time."""

    name: str
    left: float
    width: float
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """``lanes`` of each host, ``ticks`` as (percent, label), and the names of all stages in their order."""

    lanes: dict[str, list[Bar]]
    ticks: list[tuple[float, str]]
    names: list[str]


def timeline(report: Mapping[str, Any]) -> Timeline | None:
    """The bars of a run; None when no stage has begun. A stage that never ended goes to the end of the run."""
    stages = {host: entry.get("stages") or [] for host, entry in sorted((report.get("resources") or {}).items())}
    times = [
        _time(each[key]) for found in stages.values() for each in found for key in ("start", "end") if each.get(key)
    ]
    if not times:
        return None
    began, ended = min(times), max([*times, *([_time(report["ended"])] if report.get("ended") else [])])
    whole = max((ended - began).total_seconds(), 0.001)
    lanes = {host: [_bar(each, began, ended, whole) for each in found] for host, found in stages.items()}
    names = list(dict.fromkeys(bar.name for lane in lanes.values() for bar in lane))
    step = next((each for each in _STEPS if whole / each <= _TICKS), _STEPS[-1])
    ticks = [(100 * at / whole, str(timedelta(seconds=at))) for at in range(0, int(whole) + 1, step)]
    return Timeline(lanes, ticks[: _TICKS + 1], names)


def _bar(stage: Mapping[str, Any], began: datetime, ended: datetime, whole: float) -> Bar:
    start = _time(stage["start"])
    end = _time(stage["end"]) if stage.get("end") else ended
    seconds = max(0.0, (end - start).total_seconds())
    return Bar(stage["name"], 100 * (start - began).total_seconds() / whole, 100 * seconds / whole, seconds)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
