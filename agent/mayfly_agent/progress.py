# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the agent's requests are: what tells a transfer that hangs from one that AWS throttles."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import AgentError

# Of one request, from the first time that AWS said "later". S3 answers 503 for minutes while it spreads a prefix over
# more of its servers (https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html).
RETRY_TIMEOUT = 300.0
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has it, where workers run


class Clock:
    """Time as requests see it; a test has one of its own."""

    def now(self) -> float:
        """Seconds since some moment, never going back, nor standing still while the machine sleeps."""
        return time.clock_gettime(_CLOCK)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait so long, or until the event; whether it came."""
        return event.wait(seconds)


class Progress:
    """A counter of requests that did what they were for, and what those wait for that did not. For all threads.

    ``retry_timeout`` is how many seconds AWS may say "later" to one request, ``deadline`` the clock's time from when on
    none is sent any more; both are set before the first of them.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.retry_timeout = RETRY_TIMEOUT
        self.deadline = float("inf")
        self._lock = threading.Lock()
        self._halted = threading.Event()
        self._moves = 0
        self._waiting: dict[object, float] = {}

    def moved(self) -> None:
        """A block was read or written, an object stored or read, a page listed."""
        with self._lock:
            self._moves += 1

    def waits(self, request: object, since: float) -> None:
        """AWS has told a request to come again, the first time at ``since`` of the clock."""
        with self._lock:
            self._waiting.setdefault(request, since)

    def goes_on(self, request: object) -> None:
        """The request waits no longer, whatever became of it."""
        with self._lock:
            self._waiting.pop(request, None)

    def shown(self) -> dict[str, int | float]:
        """{progress, waiting}: the counter, and seconds since the first "later" to a request that still waits."""
        with self._lock:
            since = min(self._waiting.values(), default=None)
            waiting = 0.0 if since is None else max(0.0, self.clock.now() - since)
            return {"progress": self._moves, "waiting": round(waiting, 3)}

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """No request of the block is sent later than so many seconds from now.

        Raises AgentError TooLate in place of such a request. For one thread, while no other asks for anything.
        """
        before = self.deadline
        self.deadline = min(before, self.clock.now() + seconds)
        try:
            yield
        except AgentError as error:
            if error.code != "DeadlinePassed" or self.clock.now() >= before:
                raise
            message = f"Something that had to be done within {seconds:.0f} seconds took longer."
            raise AgentError("TooLate", message, "The next run tries it again.") from error
        finally:
            self.deadline = before

    def halt(self) -> None:
        """The transfer has failed: nobody waits any more, and nothing is asked again."""
        self._halted.set()

    def check_deadline(self) -> None:
        """Before each request, also one that is repeated; raises AgentError DeadlinePassed."""
        if self.clock.now() >= self.deadline:
            message = "The run's deadline has passed: nothing is asked of AWS any more."
            raise AgentError("DeadlinePassed", message, "See mayfly_deadline.")

    def pause(self, seconds: float) -> None:
        """Wait before a request; raises AgentError Stopped when the transfer has failed meanwhile."""
        if self.clock.wait(self._halted, seconds):
            raise AgentError("Stopped", "The transfer has failed already: nothing is asked again.")
