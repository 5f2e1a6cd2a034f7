# SPDX-License-Identifier: GPL-3.0-or-later
"""When a transfer agent counts as hung: it says nothing new, or moves nothing although nothing makes it wait. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import KeeperError

# Two polls of up to a minute each (DESIGN): the agent writes its status once a second.
SILENT_SECONDS = 60.0


class Watchdog:
    """Watches one transfer; times are of the monotonic clock."""

    def __init__(self, what: str, stall_seconds: float, now: float) -> None:
        """``what`` names the resource; ``stall_seconds`` is how long nothing may move."""
        self._what = what
        self._stall_seconds = stall_seconds
        self._serial: Any = None
        self._heard = now
        self._progress: Any = None
        self._moved = now

    def look(self, status: Mapping[str, Any], now: float) -> None:
        """Take a running agent's status; raises KeeperError when it hangs or moves nothing."""
        if status.get("serial") != self._serial:
            self._serial, self._heard = status.get("serial"), now
        waiting = bool(status.get("waiting"))
        if status.get("progress") != self._progress or waiting:  # what AWS paces, the agent's own time limits end
            self._progress, self._moved = status.get("progress"), now
        if now - self._heard >= SILENT_SECONDS:
            message = f"{self._what}: the transfer agent has said nothing for {now - self._heard:.0f} s: it hangs."
            raise KeeperError("AgentHung", message, "Start the operation again for this resource.")
        if now - self._moved >= self._stall_seconds:
            message = f"{self._what}: the transfer has moved nothing for {now - self._moved:.0f} s."
            remedy = "Look at the worker's way to EBS and S3; see mayfly_transfer_stall_timeout."
            raise KeeperError("TransferStalled", message, remedy)
