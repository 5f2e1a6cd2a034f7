# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup in a process of its own, which may kill itself half way: ``python -m … FOLDER NOTES``.

The repository lies in the folder's files. The process is killed once it has made so many notes; else it prints what the
manifest says of the volume.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from mayfly_agent.objects import Lock
from mayfly_agent.progress import Progress
from mayfly_agent.repository import keys, repository

from tests.unit.agent.lines import KEY, Line, volume
from tests.unit.agent.memory import Condition, MemoryObjects
from tests.unit.agent.test_attempts import CONTENT
from tests.unit.agent.transfers import back_up


class Files(MemoryObjects):
    """Written through to a folder: what has been put outlives the process."""

    def __init__(self, folder: Path, notes: int) -> None:
        super().__init__()
        self._folder = folder
        self._notes = notes
        self.objects = {path.name.replace("|", "/"): path.read_bytes() for path in folder.iterdir()}

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        made = super().put(key, body, condition, lock)
        (self._folder / key.replace("/", "|")).write_bytes(body)
        self._notes -= "/attempts/" in key
        if not self._notes:
            os.kill(os.getpid(), signal.SIGKILL)
        return made

    def delete(self, key: str) -> None:
        super().delete(key)
        (self._folder / key.replace("/", "|")).unlink()


def main(folder: Path, notes: int) -> None:
    """One attempt at it."""
    (folder / "objects").mkdir(exist_ok=True)
    store = Files(folder / "objects", notes)
    repository.create(store, lambda identity: [keys.wrap_with_recovery_key(KEY, KEY, identity)])
    progress = Progress()
    progress.deadline = progress.clock.now() + 3600
    line = Line({"snap-0": CONTENT})
    common = {"volumes": (volume("snap-0"),), "restore_point_time": datetime(2026, 11, 24, tzinfo=UTC)}
    made = back_up(store, line, folder, progress=progress, notes_every=0, **common)
    (record,) = repository.read_manifest(store, made["manifest_key"], KEY).volumes
    print(json.dumps({**asdict(record), "read": sorted(line.read)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
