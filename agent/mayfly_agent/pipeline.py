# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that many threads do and one takes in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from .progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def pools(progress: Progress, **sizes: int) -> Iterator[list[ThreadPoolExecutor]]:
    """Pools of so many threads. When the block is left, nothing runs in them any more, whatever happened.

    After an error what has not begun never does, and what waits for AWS waits no longer: nobody may say that the
    transfer has failed while a thread of it still writes.
    """
    made = [ThreadPoolExecutor(size, name) for name, size in sizes.items()]
    try:
        yield made
    except BaseException:
        progress.halt()
        raise
    finally:
        for pool in made:
            pool.shutdown(wait=False, cancel_futures=True)
        try:
            _join(made)
        finally:  # a signal can end the first wait; it comes once
            _join(made)


def _join(made: list[ThreadPoolExecutor]) -> None:
    for pool in made:
        pool.shutdown(wait=True)


def ordered(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], window: int) -> Iterator[Result]:
    """Results in the order of the items, with at most ``window`` of them begun and not yet taken."""
    begun: deque[Future[Result]] = deque()
    for item in items:
        begun.append(pool.submit(function, item))
        if len(begun) >= window:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


class Uploads:
    """Things being written, at most so many at once; an error comes up at the next one, or at the end."""

    def __init__(self, pool: Executor, at_once: int) -> None:
        self._pool = pool
        self._at_once = at_once
        self._begun: deque[Future[None]] = deque()

    def add(self, function: Callable[[], None]) -> None:
        """Begin one; waits for the oldest when there are enough."""
        while len(self._begun) >= self._at_once:
            self._begun.popleft().result()
        self._begun.append(self._pool.submit(function))

    def finish(self) -> None:
        """Wait for all."""
        while self._begun:
            self._begun.popleft().result()
