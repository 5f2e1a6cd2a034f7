# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent without threads: what it would have done by another is done when it is asked for.

So most of what a machine does takes one order, the same each time, and no time for changes from thread to thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from mayfly_agent import pipeline
from mayfly_agent.status import Status

_HERE = threading.local()


class _Inline(Executor):
    def submit(self, function: Callable[..., Any], /, *words: Any, **more: Any) -> Future[Any]:
        made: Future[Any] = Future()
        try:
            made.set_result(function(*words, **more))
        except BaseException as error:
            made.set_exception(error)
        return made


class Untold(Status):
    """Of what nobody polls."""

    def __init__(self, folder: Path, progress: Any) -> None:
        super().__init__(folder / "status.json", progress)

    def __enter__(self) -> Untold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _write(self) -> None:
        pass


def _executor(size: int, name: str) -> Executor:
    return _Inline() if getattr(_HERE, "inline", False) else ThreadPoolExecutor(size, name)


@contextmanager
def threads(wanted: bool) -> Iterator[None]:
    """Whether pools that this thread makes in the block have threads."""
    _HERE.inline = not wanted
    try:
        yield
    finally:
        _HERE.inline = False


pipeline.ThreadPoolExecutor = _executor  # type: ignore[misc,assignment]
