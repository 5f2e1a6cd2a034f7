# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run is ended early: gently first, then by force."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# ansible-playbook ends its own tasks on SIGINT; one that has not after this time is killed, with its process group.
GRACE_SECONDS = 15.0
_LOOK_SECONDS = 0.1
# Programs that wrap this one hand a signal on that the terminal has sent to it already.
_SAME_SECONDS = 1.0


class Stop:
    """The wish to end a run, by whoever had it first, and the signals that carry it out. Safe from any thread."""

    def __init__(self, timeout: float | None = None, above: Stop | None = None) -> None:
        """``timeout`` is in seconds, None for no limit. What ``above`` has given up, this one has as well."""
        self._above = above
        self._timeout = timeout
        self._ends = None if timeout is None else time.monotonic() + timeout
        self._reason: str | None = None
        self._hard_at: float | None = None
        self._interrupted: float | None = None
        self._given_up = False
        self._lock = threading.Lock()

    @property
    def reason(self) -> str | None:
        """Why the run ends early, None while it may go on."""
        with self._lock:
            if self._reason is None and self._ends is not None and time.monotonic() > self._ends:
                self._reason = f"the time-out of {self._timeout:.0f} s has passed"
            return self._reason

    @property
    def given_up(self) -> bool:
        """Whether nobody waits any more for the end of what has been told to end."""
        return self._given_up or (self._above is not None and self._above.given_up)

    def wish(self, reason: str) -> None:
        """End the run; of several reasons the first one holds. Returns at once."""
        with self._lock:
            self._reason = self._reason or reason

    def kill_now(self, process: int | None) -> bool:
        """Whether the playbook has to be killed now. ``process``, its id, is interrupted first and gets its grace."""
        if self.given_up:
            return True
        if self.reason is None:
            return False
        if self._hard_at is None:
            self._hard_at = time.monotonic() + GRACE_SECONDS
            if process is None:
                return True  # it has not begun: nothing to be gentle with
            try:
                os.kill(process, signal.SIGINT)
            except ProcessLookupError:
                return False  # it has just ended by itself
        return time.monotonic() > self._hard_at

    @contextmanager
    def signals(self) -> Iterator[None]:
        """In the main thread, take SIGINT and SIGTERM as this wish; the caller's handlers are back afterwards.

        A second SIGINT, a second or more after the first, gives up waiting.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, _frame: FrameType | None) -> None:
            self._reason = self._reason or f"canceled by {signal.Signals(number).name}"  # a handler must not wait
            if number == signal.SIGINT:
                now = time.monotonic()
                self._interrupted = self._interrupted or now
                self._given_up = self._given_up or now - self._interrupted >= _SAME_SECONDS

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def end(process: int | None) -> None:
    """End a child that leads a process group, as :class:`Stop` does; return when it has ended. None: there is none."""
    if process is None:
        return
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGINT)
    hard_at = time.monotonic() + GRACE_SECONDS
    while not _ended(process):
        if time.monotonic() > hard_at:
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)


def _ended(child: int) -> bool:
    """Whether it has ended; how is left to whoever has started it."""
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
