# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the work is: counters, and a file that the controller polls.

It holds {serial, state: running | succeeded | failed, stage, error, result, units: {unit: {counter: number}},
snapshots: {volume: snapshot that was started for it}, progress, waiting}. A unit is a part of the work that has a name,
as a volume; its operation chooses what is counted of it, and ``seconds`` is always there. ``progress`` moves whenever a
request did what it was for. ``waiting`` is how many seconds ago AWS first put off one of the requests that still wait,
0 when none does. So a transfer hangs when ``progress`` stands and ``waiting`` is 0.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import AgentError
from .progress import Progress

_WRITE_SECONDS = 1.0


class Status:
    """Written to ``path`` once a second while the block goes on, and at its end; replaced as a whole."""

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self._path = path
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._units: dict[str, dict[str, float]] = {}
        self._began: dict[str, float] = {}
        self._snapshots: dict[str, str] = {}
        self._value: dict[str, Any] = {"serial": 0, "state": "running", "stage": "", "error": None, "result": None}
        self._unwritable: OSError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="status", daemon=True)

    def __enter__(self) -> Status:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._write()

    def stage(self, name: str) -> None:
        """What is being done. Raises AgentError when nobody would hear of it."""
        with self._lock:
            self._check()
            self._value["stage"] = name

    def begin(self, name: str, unit: str, counters: Iterable[str]) -> None:
        """What is being done with a unit: its clock begins, and what is counted of it stands at 0. Raises as stage."""
        self.stage(f"{name} {unit}")
        with self._lock:
            self._units[unit] = {**dict.fromkeys(counters, 0), "seconds": 0.0}
            self._began[unit] = time.monotonic()

    def count(self, unit: str, **more: int) -> None:
        """Add to a unit's counters. Raises as stage: what nobody hears of must not be committed."""
        with self._lock:
            self._check()
            counters = self._units[unit]
            for name, number in more.items():
                counters[name] += number
            counters["seconds"] = round(time.monotonic() - self._began[unit], 3)

    def started(self, volume_id: str, snapshot_id: str) -> None:
        """A snapshot was started for a volume. Said at once: from now on there is something to remove.

        Raises as stage.
        """
        with self._lock:
            self._check()
            self._snapshots[volume_id] = snapshot_id
        try:
            self._write()
        except OSError as error:
            raise _unwritable(error) from error

    def unit(self, unit: str) -> dict[str, float]:
        """A unit's counters as they are now."""
        with self._lock:
            return dict(self._units[unit])

    def succeeded(self, result: dict[str, Any]) -> None:
        """The end that was wanted."""
        with self._lock:
            self._value |= {"state": "succeeded", "result": result}

    def failed(self, error: AgentError) -> None:
        """The other one."""
        with self._lock:
            self._value |= {"state": "failed", "error": error.as_dict()}

    def _loop(self) -> None:
        while not self._ended.wait(_WRITE_SECONDS):
            try:
                self._write()
            except OSError as error:
                self._unwritable = error
                return

    def _check(self) -> None:
        if self._unwritable is not None:
            raise _unwritable(self._unwritable) from self._unwritable

    def _write(self) -> None:
        with self._writing:
            with self._lock:
                self._value["serial"] += 1
                parts = {"units": self._units, "snapshots": self._snapshots, **self.progress.shown()}
                text = json.dumps({**self._value, **parts})
            unfinished = self._path.with_suffix(".new")
            unfinished.write_text(text)
            unfinished.replace(self._path)


def _unwritable(error: OSError) -> AgentError:
    return AgentError("StatusUnwritable", f"The state of the transfer cannot be written: {error}.")
