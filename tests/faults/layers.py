# SPDX-License-Identifier: GPL-3.0-or-later
"""Which layer has cleaned up after a case, told from what it has left written. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

#: What a keeper says when it begins to end its run.
CLEANS_UP = "the run is to end"
_ANOTHER = "another keeper of this run has died"


def layer(
    report: Mapping[str, Any] | None,
    log: str,
    *,
    swept_by_runner: bool = False,
    powered_off: bool = False,
    reaped: int = 0,
) -> str:
    """The layer. ``report`` and ``log`` are the keeper's; ``powered_off``: a worker has ended by its lease;
    ``reaped``: what a reap of the campaign's has found.
    """
    if swept_by_runner:
        return "runner's reap"
    if powered_off or reaped:
        return " + ".join(name for name, did in (("lease", powered_off), ("reaper", reaped)) if did)
    if _ANOTHER in log:
        return "another keeper"
    if report is None:
        return "nothing was made"
    if CLEANS_UP not in log:
        return "nothing was left"
    return "always block" if _terminated(report, _time_of(log)) else "keeper"


def _terminated(report: Mapping[str, Any], ending: float) -> bool:
    """Whether the block's own termination had come through before the keeper began to end the run."""
    stages = [stage for entry in (report.get("resources") or {}).values() for stage in entry.get("stages") or ()]
    ends = [stage["end"] for stage in stages if stage["name"] == "Terminating" and stage["end"]]
    return any(datetime.fromisoformat(each).timestamp() <= ending for each in ends)


def _time_of(log: str) -> float:
    """When the last keeper began to end the run; its log has the local time of this machine."""
    line = next(each for each in reversed(log.splitlines()) if CLEANS_UP in each)
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()  # noqa: DTZ007 - local, as logged
