# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the page lives: until it is ended, nobody has used it for a while, or its time is over.

state.json in the state folder tells the controller: {state: running | ended, reason: asked | idle | deadline | stopped,
by, began, used, idle_left, time_left, sessions, downloads, put_back}. Times are seconds of the worker's monotonic
clock, which goes on when the page is started again; so does its life.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

NAME = "state.json"
_WRITE_SECONDS = 1.0


class Life:
    """Its clock begins with the first start. Raises OSError when the folder cannot be written."""

    def __init__(
        self,
        folder: Path,
        idle_seconds: float,
        lifetime_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = folder / NAME
        self._idle = idle_seconds
        self._lifetime = lifetime_seconds
        self._clock = clock
        before = _read(self._path)
        self.began = float(before.get("began", clock()))  # type: ignore[arg-type]
        self.used_at = clock()
        # What was stopped, as for another setting, may be started again; what has ended stays so.
        self.reason = "" if before.get("reason") == "stopped" else str(before.get("reason", ""))
        self.by = str(before.get("by", ""))
        self.over = asyncio.Event()
        self.shows: Callable[[], dict[str, object]] = dict
        self.busy: Callable[[], bool] = bool
        if self.reason:
            self.over.set()
        self.write()

    def used(self) -> None:
        """Somebody is there."""
        self.used_at = self._clock()

    @property
    def idle_left(self) -> float:
        """Seconds until it ends when nobody uses it."""
        return max(0.0, self.used_at + self._idle - self._clock())

    @property
    def time_left(self) -> float:
        """Seconds until it ends whatever is done."""
        return max(0.0, self.began + self._lifetime - self._clock())

    def end(self, reason: str, by: str = "") -> None:
        """It is over; the first reason counts."""
        if not self.reason:
            self.reason, self.by = reason, by
        self.over.set()

    async def live(self) -> None:
        """Until it is over; the state is written every second."""
        while not self.over.is_set():
            if self.busy():
                self.used()
            self.write()
            if self.time_left <= 0:
                self.end("deadline")
            elif self.idle_left <= 0:
                self.end("idle")
            else:
                wait = min(_WRITE_SECONDS, self.idle_left, self.time_left)
                try:
                    await asyncio.wait_for(self.over.wait(), max(wait, 0.05))
                except TimeoutError:
                    continue
        self.write()

    def write(self) -> None:
        """The state file, replaced as a whole."""
        value = {
            "state": "ended" if self.reason else "running",
            "reason": self.reason,
            "by": self.by,
            "began": self.began,
            "used": self.used_at,
            "idle_left": round(self.idle_left, 1),
            "time_left": round(self.time_left, 1),
            **self.shows(),
        }
        unfinished = self._path.with_suffix(".new")
        unfinished.write_text(json.dumps(value))
        unfinished.replace(self._path)


def _read(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
