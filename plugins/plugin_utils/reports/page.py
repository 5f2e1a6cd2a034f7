# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's report as one HTML file that needs nothing else: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from . import costs
from .rows import rows, seconds_of
from .timeline import timeline

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float | None) -> str:
    """Bytes for people; empty when not known."""
    if count is None:
        return ""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:
        count, power = count / 1024, power + 1
    return f"{count:.0f} {_UNITS[power]}" if power == 0 or count >= 100 else f"{count:.1f} {_UNITS[power]}"


def duration(seconds: float | None) -> str:
    """Seconds for people; empty when not known."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def moment(text: str | None) -> str:
    """A time of a report for people."""
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC") if text else ""


def environment() -> Environment:
    """Templates of this folder; every value is escaped."""
    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(size=size, duration=duration, moment=moment, seconds_of=seconds_of)
    return made


def as_page(report: Mapping[str, Any]) -> str:
    """The page of one run."""
    lines = rows(report)
    known = [row["cost_usd"] for row in lines if row["cost_usd"] is not None]
    counts: dict[str, int] = {}
    for row in lines:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    return environment().get_template("run.html.j2").render(
        report=report,
        rows=lines,
        counts=counts,
        timeline=timeline(report),
        cost=sum(known) if known else None,
        cost_note=costs.NOTE,
    )  # fmt: skip
