# SPDX-License-Identifier: GPL-3.0-or-later
"""A run's resources as flat rows, one each: for CSV, for tables, and for sums over many runs. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .costs import worker_cost

COLUMNS = (
    "run", "operation", "host", "status", "account", "region", "kind", "id", "started", "ended", "seconds",
    "bytes_read", "bytes_stored", "bytes_per_second", "worker", "instance_type", "market", "availability_zone",
    "cost_usd", "restore_point", "errors",
)  # fmt: skip


def rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each resource, by host; what is not known is None, times are ISO 8601 UTC."""
    return [_row(report, host, entry) for host, entry in sorted((report.get("resources") or {}).items())]


def _row(report: Mapping[str, Any], host: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    resource, worker = entry.get("resource") or {}, entry.get("worker") or {}
    started, ended = span(entry)
    read, stored = (total(entry, name) for name in ("bytes_read", "bytes_stored"))
    moving = sum(seconds_of(stage) or 0 for stage in entry.get("stages") or () if stage["name"] == "Transferring")
    cost = worker_cost(entry)
    return {
        "run": report.get("run"),
        "operation": report.get("operation"),
        "host": host,
        "status": entry.get("status"),
        **{name: resource.get(name) for name in ("account", "region", "kind", "id")},
        "started": started,
        "ended": ended,
        "seconds": _between(started, ended),
        "bytes_read": read,
        "bytes_stored": stored,
        "bytes_per_second": round(read / moving) if read and moving else None,
        "worker": worker.get("instance_id"),
        "instance_type": worker.get("type"),
        **{name: worker.get(name) for name in ("market", "availability_zone")},
        "cost_usd": None if cost is None else round(cost, 5),
        "restore_point": entry.get("restore_point"),
        "errors": " ".join(error["code"] for error in entry.get("errors") or ()),
    }


def span(entry: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """When the first stage began, and when the last one ended."""
    stages = entry.get("stages") or ()
    ends = [stage["end"] for stage in stages if stage.get("end")]
    return (stages[0]["start"] if stages else None), (max(ends) if ends else None)


def seconds_of(stage: Mapping[str, Any]) -> float | None:
    """How long a stage took; None while it goes on."""
    return _between(stage.get("start"), stage.get("end"))


def total(entry: Mapping[str, Any], name: str) -> int | None:
    """A count of the transfer's over all volumes; None when nothing was transferred by volumes."""
    counts = [int(volume.get(name) or 0) for volume in (entry.get("volumes") or {}).values()]
    return sum(counts) if counts else None


def as_csv(report: Mapping[str, Any]) -> str:
    """RFC 4180 with a head; a value that a spreadsheet would take for a formula begins with an apostrophe."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS)
    writer.writeheader()
    for row in rows(report):
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    return stream.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _between(start: str | None, end: str | None) -> float | None:
    if not start or not end:
        return None
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 3)
