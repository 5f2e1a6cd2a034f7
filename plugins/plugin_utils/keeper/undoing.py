# SPDX-License-Identifier: GPL-3.0-or-later
"""What is undone when it does not come to its end: the run's end waits for it, and another keeper does it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

Place = tuple[str, str]


class Undoable(Protocol):
    """An exchange of volumes, see swaps.py."""

    def as_dict(self) -> dict[str, Any]:
        """A JSON value."""


class Notes(Protocol):
    """What outlives this keeper: the journal."""

    def note_exchange(self, place: Place, value: Mapping[str, Any]) -> None:
        """Keep an exchange."""

    def forget_exchange(self, place: Place, value: Mapping[str, Any]) -> None:
        """It has come to its end, or was undone."""


class Undoing:
    """The exchanges that are under way."""

    def __init__(self, notes: Notes) -> None:
        """``notes`` are told of each before its first step."""
        self._notes = notes
        self._count = 0
        self._idle = threading.Condition()

    @contextmanager
    def __call__(self, place: Place, exchange: Undoable) -> Iterator[None]:
        """Meanwhile it is under way, its undoing included."""
        value = exchange.as_dict()
        with self._idle:
            self._count += 1
        try:
            self._notes.note_exchange(place, value)
            yield
        finally:
            with self._idle:
                self._count -= 1
                self._idle.notify_all()
            self._notes.forget_exchange(place, value)

    def wait(self, timeout: float) -> bool:
        """Wait until none is under way, ``timeout`` seconds at most; whether it is so."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._count, timeout)
