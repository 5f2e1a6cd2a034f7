# SPDX-License-Identifier: GPL-3.0-or-later
"""The death of a run's keeper, seen from the playbook: during a long task nothing asks it, and leases would end."""

from __future__ import annotations

import time
from collections.abc import Callable

from .keeper import start
from .keeper.errors import KeeperError

# Between two tries to start another one: each has its own time limits.
_AGAIN_SECONDS = 30.0


class KeeperWatch:
    """Starts another keeper, which ends the run, when the one in the folder of ``keeper`` has died."""

    def __init__(
        self, keeper: start.Keeper, warn: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        """``warn`` shows a line to the user."""
        self._keeper = keeper
        self._warn = warn
        self._now = now
        self._next = 0.0
        self._over = False

    def stop(self) -> None:
        """The keeper may end from now on."""
        self._over = True

    def look(self) -> None:
        """Look once, in any thread."""
        if self._over or self._now() < self._next or not start.is_dead(self._keeper.folder):
            return
        self._next = self._now() + _AGAIN_SECONDS
        try:
            start.replace()
        except (KeeperError, OSError) as error:
            if not self._over:
                self._warn(f"The keeper of the run {self._keeper.run} has died, and no other was started: {error}")
            self._over = self._over or (isinstance(error, KeeperError) and error.code == "KeeperGone")
            return
        if not self._over:
            self._warn(f"The keeper of the run {self._keeper.run} has died; another one ends the run.")
