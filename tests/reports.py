# SPDX-License-Identifier: GPL-3.0-or-later
"""A report of a run, as a keeper leaves it."""

from __future__ import annotations

from typing import Any

HOSTILE = "=cmd|' /C calc'!A0<script>alert(1)</script>\""


def at(second: float) -> str:
    """A time of the run's hour."""
    return f"2026-11-27T10:{int(second) // 60:02}:{second % 60:06.3f}+00:00"


def stage(name: str, start: float, end: float | None) -> dict[str, Any]:
    return {"name": name, "start": at(start), "end": None if end is None else at(end)}


def report(**more: Any) -> dict[str, Any]:
    """A run with one resource that came through, one that failed, and one that was skipped."""
    good = {
        "status": "Succeeded",
        "resource": {"account": "444455556666", "region": "eu-west-1", "kind": "ec2", "id": "i-1"},
        "worker": {
            "instance_id": "i-9", "type": "c6a.large", "market": "on-demand", "availability_zone": "eu-west-1a",
            "launched": "2026-11-27T10:00:10+00:00",
        },
        "volumes": {
            "vol-1": {"blocks_done": 4, "blocks_total": 4, "bytes_read": 3 << 20, "bytes_stored": 1 << 20},
            "vol-2": {"blocks_done": 2, "blocks_total": 2, "bytes_read": 1 << 20, "bytes_stored": 0, "method": "full"},
        },
        "placement": [{"subject": "subnet subnet-1", "decision": "chosen", "reason": "the only one"}],
        "restore_point": "point-1",
        "stages": [stage("Launching", 10, 20), stage("Transferring", 20, 24), stage("Terminating", 24, 190)],
        "errors": [],
    }  # fmt: skip
    error = {"code": "NoNetwork", "message": f"Nothing leads out of {HOSTILE}.", "remedy": "Open it."}
    bad = {"status": "Failed", "stages": [stage("Placing", 0, None)], "errors": [error]}
    resources = {"web": good, HOSTILE: bad, "rest": {"status": "Skipped", "stages": [], "errors": []}}
    head = {
        "run": "r-1",
        "operation": "ec2_backup",
        "started": at(0),
        "ended": at(200),
        "status": "Failed",
        "errors": [],
    }
    return {**head, "resources": resources, **more}
