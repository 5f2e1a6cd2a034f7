# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that work on one store at once, each in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mayfly_agent.errors import AgentError

from tests.unit.agent.memory import Killed
from tests.unit.agent.retention.aging import Client


class Process(threading.Thread):
    """What one process does through its ``client``; ``error`` is what ended it, ``result`` what it has given."""

    def __init__(self, client: Client, work: Callable[[Client], Any]) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.error: BaseException | None = None
        self.result: Any = None
        self._work = work
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work(self.client)
        except BaseException as error:
            self.error = error

    def until_paused(self) -> bool:
        """Whether it pauses, and has not ended before."""
        while self.is_alive():
            if self.client.paused.wait(0.01):
                return True
        return self.client.paused.is_set()

    def finish(self) -> None:
        """Let it go on, to its end."""
        self.client.go_on.set()
        self.join(600)
        assert not self.is_alive()
        if self.error is not None and not isinstance(self.error, AgentError | Killed):
            raise self.error
