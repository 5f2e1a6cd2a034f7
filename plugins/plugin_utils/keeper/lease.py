# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper's half of a worker's lease: a loop on the worker, fed a line at a time over its master connection.

The worker's half is the unit in ``roles/worker/templates/user_data.sh.j2``, which counts by its own monotonic clock.
"""

from __future__ import annotations

import logging
import os
import select
import subprocess
import threading
import time
from typing import Protocol

log = logging.getLogger(__name__)

# Each line read writes the worker's own uptime into the lease and is answered. It ends with its input.
RENEW = """\
umask 022
mkdir -p /run/mayfly && cd /run/mayfly || exit 1
while read -r line; do
  read -r up rest </proc/uptime && echo "${up%%.*}" >lease.new && mv lease.new lease && echo renewed || exit 1
done
"""
_ANSWER = b"renewed\n"
_LONGEST_INTERVAL = 60.0
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 15.0


def interval(lease: float) -> float:
    """Seconds between two renewals of a lease of so many seconds: a tenth, so that several may be lost."""
    return min(_LONGEST_INTERVAL, max(0.5, lease / 10))


class Beat:
    """The two ends of the loop's pipe: one line in, one answer out."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the loop needs its input and output as pipes")
        self._in = process.stdin.fileno()
        self._out = process.stdout.fileno()

    def renew(self, timeout: float) -> None:
        """Renew once and wait for the answer; raises TimeoutError, or OSError when the loop has ended."""
        os.write(self._in, b"renew\n")
        ends = time.monotonic() + timeout
        waiting = select.poll()  # select() itself refuses descriptors from 1024 on
        waiting.register(self._out, select.POLLIN)
        answer = b""
        while not answer.endswith(_ANSWER):
            if not waiting.poll(max(0.0, ends - time.monotonic()) * 1000):
                raise TimeoutError(f"the worker did not renew its lease in {timeout:.0f} s")
            part = os.read(self._out, 4096)
            if not part:
                raise ConnectionResetError("the worker's lease loop has ended")
            answer += part


class Master(Protocol):
    """What is renewed: a worker's connection."""

    def open(self) -> None:
        """Make the connection again if it is lost."""

    def renew(self, timeout: float) -> None:
        """Renew the lease once."""


class Renewer:
    """A thread that renews one worker's lease until it is stopped, and makes a lost connection again, not too often."""

    def __init__(self, name: str, master: Master, lease: float) -> None:
        self._name = name
        self._master = master
        self._interval = interval(lease)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"lease-{name}", daemon=True)
        self.last = time.monotonic()

    def start(self) -> None:
        """Begin; the lease has just been renewed by the connection itself."""
        self._thread.start()

    def stop(self) -> None:
        """Renew no more; returns at once, a renewal under way may still end."""
        self._stopped.set()

    def _loop(self) -> None:
        pause = _FIRST_PAUSE
        wait = self._interval
        while not self._stopped.wait(wait):
            try:
                self._once()
            except Exception as error:  # whatever it is (no process, no file, no way): the worker's life hangs on this
                log.warning("%s: the lease was not renewed: %r", self._name, error)
                wait = pause
                pause = min(_LONGEST_PAUSE, pause * 2)
            else:
                wait, pause = self._interval, _FIRST_PAUSE

    def _once(self) -> None:
        self._master.open()
        if not self._stopped.is_set():
            self._master.renew(max(5.0, self._interval))
            self.last = time.monotonic()
