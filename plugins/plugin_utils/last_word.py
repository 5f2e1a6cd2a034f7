# SPDX-License-Identifier: GPL-3.0-or-later
"""A say in the exit code of ``ansible-playbook``, for what is only known when everything else has ended.

Ansible fixes its exit code before a callback hears of a playbook's end, and Python lets no exit handler change it.
Between the two, every version of ansible-core hands the code to ``sys.exit``: for that moment alone, from the
statistics on, it stands in the way.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

#: Ansible's own code for an error that is no host's.
NOT_CLEAN = 1


class LastWord:
    """Calls ``closing`` once, when this process ends; that gives whether everything is in order."""

    def __init__(self, closing: Callable[[], bool]) -> None:
        self._closing = closing
        self._process = os.getpid()
        self._exit: Any = None
        self._said = False
        atexit.register(self._say)  # of a playbook that was interrupted: its code says so already

    def await_exit(self) -> None:
        """The next call of ``sys.exit`` is the program's end, as far as is known."""
        if self._exit is None:
            self._exit, sys.exit = sys.exit, self._leave  # type: ignore[assignment]

    def go_on(self) -> None:
        """It was not: there is another playbook."""
        if self._exit is not None:
            sys.exit, self._exit = self._exit, None

    def _leave(self, code: Any = None) -> None:
        leave = self._exit
        if threading.current_thread() is threading.main_thread():
            self.go_on()
            clean = self._say()
            code = code if clean or code else NOT_CLEAN
        leave(code)

    def _say(self) -> bool:
        if self._said or os.getpid() != self._process:  # a fork of a task
            return True
        self._said = True
        return self._closing()
