# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the work is: counters, and a file that the controller polls.

It holds {serial, state: running | succeeded | failed, stage, error, result, volumes: {volume: VolumeCounters},
snapshots: {volume: snapshot that was started for it}, progress, waiting}. ``progress`` moves whenever a request did
what it was for. ``waiting`` is how many seconds ago AWS first put off one of the requests that still wait, 0 when none
does. So a transfer hangs when ``progress`` stands and ``waiting`` is 0.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import AgentError
from .progress import Progress

_WRITE_SECONDS = 1.0


@dataclass
class VolumeCounters:
    """Of one volume: blocks that have data, those done, bytes read from the source and written to the target."""

    blocks_total: int = 0
    blocks_done: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    seconds: float = 0.0


class Status:
    """Written to ``path`` once a second while the block goes on, and at its end; replaced as a whole."""

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self._path = path
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._volumes: dict[str, VolumeCounters] = {}
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

    def stage(self, name: str, volume_id: str | None = None) -> None:
        """What is being done; of a volume, its clock begins. Raises AgentError when nobody would hear of it."""
        with self._lock:
            self._check()
            self._value["stage"] = f"{name} {volume_id}" if volume_id else name
            if volume_id:
                self._volumes.setdefault(volume_id, VolumeCounters())
                self._began[volume_id] = time.monotonic()

    def count(self, volume_id: str, **more: int) -> None:
        """Add to a volume's counters. Raises as stage: what nobody hears of must not be committed."""
        with self._lock:
            self._check()
            counters = self._volumes[volume_id]
            for name, number in more.items():
                setattr(counters, name, getattr(counters, name) + number)
            counters.seconds = round(time.monotonic() - self._began[volume_id], 3)

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

    def volume(self, volume_id: str) -> VolumeCounters:
        """A volume's counters as they are now."""
        with self._lock:
            return VolumeCounters(**asdict(self._volumes[volume_id]))

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
                volumes = {name: asdict(counters) for name, counters in self._volumes.items()}
                parts = {"volumes": volumes, "snapshots": self._snapshots, **self.progress.shown()}
                text = json.dumps({**self._value, **parts})
            unfinished = self._path.with_suffix(".new")
            unfinished.write_text(text)
            unfinished.replace(self._path)


def _unwritable(error: OSError) -> AgentError:
    return AgentError("StatusUnwritable", f"The state of the transfer cannot be written: {error}.")
