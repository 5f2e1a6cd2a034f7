# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a run, found by the run's id in their environments, and ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_RUN = b"MAYFLY_RUN_ID="
_FOLDER = b"MAYFLY_RUNNER_FOLDER="
_LAB = b"MAYFLY_LAB_STATE="
_KEEPER = "keeper.main"
_PLAYBOOK = "ansible-playbook"


@dataclass(frozen=True)
class Process:
    """One process: the run in its environment, the folder that runner.py made for it, its lab's state directory."""

    pid: int
    parent: int
    words: tuple[str, ...]
    run: str
    folder: str = ""
    lab: str = ""

    @property
    def keeper(self) -> bool:
        """Whether it keeps its run."""
        return any(word.endswith(_KEEPER) for word in self.words)

    @property
    def playbook(self) -> bool:
        """Whether it is ansible-playbook, or one of the forks for its tasks."""
        return any(Path(word).name == _PLAYBOOK for word in self.words[:2])


def of_run(run: str) -> list[Process]:
    """All that live of a run, and of the sweeps that runner.py has made for it."""
    return [each for each in _all() if each.run == run or each.run.startswith(f"{run}-reap-")]


def folders_of(lab: str) -> set[str]:
    """What runner.py keeps in memory for runs in a lab."""
    return {each.folder for each in _all() if each.lab == lab and each.folder}


def runs_of(lab: str) -> set[str]:
    """The runs that runner.py has under way in a lab."""
    return {each.run for each in _all() if each.lab == lab and each.folder}


def playbook(run: str) -> Process | None:
    """The playbook itself: not one of its forks, nor a sweep for it."""
    found = [each for each in of_run(run) if each.playbook and each.run == run]
    pids = {each.pid for each in found}
    return next((each for each in found if each.parent not in pids), None)


def keeper(run: str) -> Process | None:
    """The run's keeper."""
    return next((each for each in of_run(run) if each.keeper and each.run == run), None)


def task(run: str) -> Process | None:
    """The process of a task that is under way."""
    top = playbook(run)
    if top is None:
        return None
    forks = [each for each in of_run(run) if each.playbook and each.parent == top.pid]
    return forks[-1] if forks else None


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that has just ended needs none."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_all(run: str, seconds: float = 10.0) -> None:
    """As a container that is killed: every process, until none is left. Raises TimeoutError."""
    ends = time.monotonic() + seconds
    while left := of_run(run):
        for each in left:
            send(each.pid, signal.SIGKILL)
        if time.monotonic() > ends:
            raise TimeoutError(f"processes {[each.pid for each in left]} of {run} do not end")
        time.sleep(0.02)


def _all() -> list[Process]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                process = _read(folder)
                if process is not None:
                    found.append(process)
    return sorted(found, key=lambda each: each.pid)


def _read(folder: Path) -> Process | None:
    """None for a process that belongs to no run, or that has ended and is only not waited for."""
    environment = (folder / "environ").read_bytes()
    if _RUN not in environment:
        return None
    values = dict(each.split(b"=", 1) for each in environment.split(b"\0") if b"=" in each)
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    words = tuple((folder / "cmdline").read_bytes().decode(errors="replace").split("\0"))
    run = values.get(_RUN[:-1], b"").decode()
    more = (values.get(name[:-1], b"").decode() for name in (_FOLDER, _LAB))
    return Process(int(folder.name), int(fields[1]), words, run, *more)
