# SPDX-License-Identifier: GPL-3.0-or-later
"""How a playbook that ends waits for its keeper's word that everything of the run has ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any

from .errors import KeeperError


class Closing:
    """The wish to end a run, and its outcome. ``wished`` is a file descriptor that is readable once there is one."""

    def __init__(self) -> None:
        self.wished, self._wish = os.pipe()
        self._ended = threading.Event()
        self._left: list[dict[str, str]] = []
        self._waiting = 0
        self._lock = threading.Lock()

    def waiting(self) -> int:
        """How many calls wait for the outcome."""
        with self._lock:
            return self._waiting

    def wait(self, timeout: float) -> list[dict[str, Any]]:
        """Wish the run's end and wait for it: what could not be ended. Raises KeeperError after ``timeout`` seconds."""
        with self._lock:
            self._waiting += 1
        try:
            os.write(self._wish, b"x")
            if not self._ended.wait(timeout):
                message = f"The keeper has not ended everything after {timeout:.0f} s, and goes on."
                raise KeeperError("KeeperUnfinished", message, "The run's report says how it ends.")
            return self._left
        finally:
            with self._lock:
                self._waiting -= 1

    def done(self, errors: Iterable[KeeperError]) -> None:
        """The run has ended, but for what ``errors`` say."""
        self._left = [error.as_dict() for error in errors]
        self._ended.set()
