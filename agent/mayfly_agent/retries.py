# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which requests are repeated.

What AWS shares between all callers, and what fails on its side, is asked for again and again until a budget ends, by
all threads at a pace that falls while AWS says no. Connections and bodies that break are tried three times. All else
is final.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import TypeVar

from .errors import AgentError
from .progress import Progress

T = TypeVar("T")

TRIES = 3
_LONGEST_PAUSE = 10.0
# A connection that broke was broken for more than one moment: a NAT gateway or a name server changes over.
_MENDING_SECONDS = (1.0, 5.0)


class Busy(Exception):
    """An attempt's answer was "later": throttled, or a failure of AWS's own. ``doubtful``: it may have been done."""

    def __init__(self, error: AgentError, *, doubtful: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.doubtful = doubtful


class Broken(Exception):
    """An attempt's connection ended, or what came over it was not what was sent. It may have been carried out."""

    def __init__(self, error: AgentError) -> None:
        super().__init__(error.message)
        self.error = error


class Pace:
    """The time between two requests of all threads: none, until AWS says that they are too many."""

    # Answers to requests of one moment come together, and are one reason to slow down.
    _MOMENT = 0.25
    _SLOWER = 1.5
    _HALVED_AFTER = 2.0
    _FIRST, _LONGEST, _SHORTEST = 0.002, 0.25, 0.0005

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._gap, self._since, self._next = 0.0, float("-inf"), 0.0

    def wait(self) -> None:
        """Until it is this request's turn; raises AgentError when the transfer has failed meanwhile."""
        with self._lock:
            now = self._progress.clock.now()
            turn = max(now, self._next)
            self._next = turn + self._now(now)
        if turn > now:
            self._progress.pause(turn - now)

    def slow_down(self) -> None:
        """AWS said "later"."""
        with self._lock:
            now = self._progress.clock.now()
            if now - self._since >= self._MOMENT:
                self._gap = min(self._LONGEST, max(self._FIRST, self._SLOWER * self._now(now)))
                self._since = now

    def _now(self, now: float) -> float:
        gap = self._gap * 0.5 ** ((now - self._since) / self._HALVED_AFTER) if self._gap else 0.0
        return gap if gap >= self._SHORTEST else 0.0


class Retries:
    """Repeats the requests of one service. Safe to use from any thread."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress or Progress()
        self._pace = Pace(self._progress)

    def run(self, attempt: Callable[[bool], T]) -> T:
        """What an attempt returns in the end. It is told whether an earlier one may have been carried out.

        An attempt raises Busy or Broken to be made again; whatever else it raises is final. Raises AgentError of the
        last one when the budget or the tries are used up, DeadlinePassed when an attempt would begin after the run's
        deadline, and Stopped when the transfer has failed meanwhile.
        """
        clock, request = self._progress.clock, object()
        first_busy: float | None = None
        doubtful, broken, pauses = False, 0, 0
        try:
            while True:
                self._pace.wait()
                self._progress.check_deadline()
                try:
                    result = attempt(doubtful)
                except Busy as busy:
                    self._pace.slow_down()
                    now = clock.now()
                    first_busy = now if first_busy is None else first_busy
                    self._progress.waits(request, first_busy)
                    if now - first_busy >= self._progress.retry_timeout:
                        raise _given_up(busy.error, f"for {now - first_busy:.0f} seconds") from busy
                    doubtful, broken, pauses = doubtful or busy.doubtful, 0, pauses + 1
                    pause = random.uniform(0.05, min(_LONGEST_PAUSE, 0.1 * 2**pauses))  # noqa: S311 - jitter
                except Broken as fault:
                    doubtful, broken = True, broken + 1
                    if broken >= TRIES:
                        raise _given_up(fault.error, f"{TRIES} times") from fault
                    pause = _MENDING_SECONDS[broken - 1] * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
                else:
                    self._progress.moved()
                    return result
                self._progress.pause(pause)
        finally:
            self._progress.goes_on(request)


def _given_up(error: AgentError, how: str) -> AgentError:
    return AgentError(error.code, f"{error.message.rstrip('.')}. It was tried {how}.", error.remedy)
