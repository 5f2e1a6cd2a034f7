# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner above a playbook (mayfly/): who reads what the playbook says, and whose folder in memory it was given."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
from contextlib import suppress
from pathlib import Path

from .start import RUNNER_LOCK

_FOLDER_VARIABLE = "MAYFLY_RUNNER_FOLDER"


class Runner:
    """A runner, to be waited for: for ``select``, it is readable once it has died."""

    def __init__(self, folder: Path, died: int) -> None:
        """``folder`` is in memory; ``died`` is a file descriptor that is readable once the runner has died."""
        self._folder = folder
        self._died = died

    def fileno(self) -> int:
        """For ``select``."""
        return self._died

    @property
    def dead(self) -> bool:
        """Whether it has died."""
        return bool(select.select([self], [], [], 0)[0])

    def forget(self) -> None:
        """Remove its folder, when it has died before it could."""
        if self.dead:
            shutil.rmtree(self._folder, ignore_errors=True)


def find_runner() -> Runner | None:
    """The runner of this process's playbook; None when there is none, as of a playbook that was started by itself."""
    named = os.environ.get(_FOLDER_VARIABLE)
    if not named:
        return None
    try:
        with (Path(named) / RUNNER_LOCK).open() as lock:
            died = os.pidfd_open(int(lock.read()))
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                # Nobody holds it: its owner has died, and another process may have got the id by now.
                os.close(died)
                died = os.eventfd(1)
    except ProcessLookupError:  # a fork of it may hold the lock still
        died = os.eventfd(1)
    except (OSError, ValueError):
        return None
    return Runner(Path(named), died)
