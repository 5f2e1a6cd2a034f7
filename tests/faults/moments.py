# SPDX-License-Identifier: GPL-3.0-or-later
"""The moments of an operation, how each is held open, and how it is seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mayfly_lab.accounts import BACKUP

HOLD_SECONDS = 4.0
_BOOT_SECONDS = 6.0
# So few requests to EBS in a second that a transfer of some 100 blocks is still under way when it is hurt.
_SLOW_RATE = 4.0
# A call that is answered late is done all the same, so it would leave nothing to the lease.
REFUSED_TERMINATE = "a refused terminate"


@dataclass(frozen=True)
class Moment:
    """``holds`` are faults (kind, times, options), the first of which is used up when the moment has come; without
    any, ``stage`` of the report tells it. ``seconds``: how long what is held may still go on afterwards.
    """

    holds: tuple[tuple[str, int | None, Mapping[str, Any]], ...] = ()
    stage: str = ""
    seconds: float = 0.0
    either: bool = False

    def late(self, number: int) -> bool:
        """Whether what is held is done first: where both orders are of interest, every other case has the other."""
        return number % 2 == 0 if self.either else True


def _slow(call: str, service: str = "ec2", **more: Any) -> tuple[str, int, Mapping[str, Any]]:
    return "slow", 1, {"service": service, "call": call, "seconds": HOLD_SECONDS, **more}


def _refused(call: str, times: int | None) -> tuple[str, int | None, Mapping[str, Any]]:
    return "error", times, {"service": "ec2", "call": call, "code": "RequestLimitExceeded", "status": 503}


# The network of the source's account is described before its snapshots are taken; the worker's is when it is placed.
MOMENTS: dict[str, Moment] = {
    "snapshot": Moment((_slow("CreateSnapshots"),), seconds=HOLD_SECONDS, either=True),
    "place": Moment((_slow("DescribeRouteTables", account=BACKUP),), seconds=HOLD_SECONDS),
    "launch before the answer": Moment((_slow("RunInstances", before=True),), seconds=HOLD_SECONDS),
    "launch after it": Moment((_slow("RunInstances"),), seconds=HOLD_SECONDS),
    "boot": Moment((("slow-boot", 1, {"seconds": _BOOT_SECONDS}),), seconds=_BOOT_SECONDS),
    "configure": Moment(stage="Configuring"),
    "transfer": Moment(
        (
            ("slow", 1, {"service": "ebs", "call": "GetSnapshotBlock", "seconds": 0.1}),
            ("throttle", None, {"service": "ebs", "call": "GetSnapshotBlock", "rate": _SLOW_RATE}),
        )
    ),
    "commit": Moment(
        (_slow("PutObject", "s3", resource="*/points/*"),), seconds=HOLD_SECONDS, either=True
    ),
    "terminate": Moment((_slow("TerminateInstances"),), seconds=HOLD_SECONDS, either=True),
    "a restore's transfer": Moment(
        (
            ("slow", 1, {"service": "ebs", "call": "PutSnapshotBlock", "seconds": 0.1}),
            ("throttle", None, {"service": "ebs", "call": "PutSnapshotBlock", "rate": _SLOW_RATE}),
        )
    ),
    "a restore's volumes": Moment((_slow("CreateVolume"),), seconds=HOLD_SECONDS),
    "a restore's hand-over": Moment((_slow("DeleteTags"),), seconds=HOLD_SECONDS, either=True),
    REFUSED_TERMINATE: Moment((_refused("TerminateInstances", 1), _refused("TerminateInstances", None))),
}  # fmt: skip
RESTORE_MOMENTS = ("a restore's transfer", "a restore's volumes", "a restore's hand-over")
BACKUP_MOMENTS = tuple(name for name in MOMENTS if name not in (*RESTORE_MOMENTS, REFUSED_TERMINATE))


def holds(name: str, *, late: bool) -> list[tuple[str, int | None, dict[str, Any]]]:
    """The faults that hold a moment open; unless ``late``, what they hold is not yet done."""
    made = [(kind, times, dict(options)) for kind, times, options in MOMENTS[name].holds]
    if not late:
        made[0][2]["before"] = True
    return made


def in_stage(report: Mapping[str, Any] | None, stage: str) -> bool:
    """Whether a resource of the report is in that stage now."""
    entries = ((report or {}).get("resources") or {}).values()
    last = [entry["stages"][-1] for entry in entries if entry.get("stages")]
    return any(each["name"] == stage and each["end"] is None for each in last)
