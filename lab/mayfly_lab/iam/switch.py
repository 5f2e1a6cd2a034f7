# SPDX-License-Identifier: GPL-3.0-or-later
"""On and off: the process that evaluates policies runs while they count."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path

from mayfly_lab.iam import engine

_START_SECONDS = 30.0
_END_SECONDS = 10.0


class Switch:
    """Of one lab, held by its supervisor; ``folder`` is `Paths.iam`, ``log`` takes what the process prints."""

    def __init__(self, folder: Path, log: Path) -> None:
        self._folder = folder
        self._log = log
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def turn(self, on: bool) -> None:
        """Let policies count from now on, or no more; raises EngineMissing or TimeoutError."""
        with self._guard:
            flag = self._folder / "enforced"
            if not on:
                flag.unlink(missing_ok=True)
                self._end()
                return
            if self._process is None or self._process.poll() is not None:
                self._start()
            flag.touch()

    def services(self) -> dict[str, int | None]:
        """The process by its name, and its exit code when it has ended; nothing while none is wanted."""
        return {} if self._process is None else {"iam": self._process.poll()}

    def _start(self) -> None:
        path = self._folder / "engine.sock"
        command = engine.command(path)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path.unlink(missing_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        ends = time.monotonic() + _START_SECONDS
        while not _answers(path):
            if self._process.poll() is not None or time.monotonic() > ends:
                self._end()
                raise TimeoutError(f"what evaluates policies did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_END_SECONDS)


def _answers(path: Path) -> bool:
    """Whether somebody takes connections; a socket is in its folder before that."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
