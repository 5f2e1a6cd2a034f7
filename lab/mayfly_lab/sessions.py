# SPDX-License-Identifier: GPL-3.0-or-later
"""When sessions of roles end: a small file for each access key id, written by STS, read by every service."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Sessions:
    """The sessions in one folder; the end of one never changes, so what was read once is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends: dict[str, float] = {}

    def begin(self, access_key_id: str, ends: float) -> None:
        """Let a session end at ``ends`` (seconds since the epoch)."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        unfinished = self._folder / f".{access_key_id}-{os.getpid()}"
        unfinished.write_text(repr(ends))
        unfinished.replace(self._folder / access_key_id)

    def has_expired(self, access_key_id: str) -> bool:
        """Whether this is a session's key whose time is over; a user's key has no end."""
        if not access_key_id.startswith("ASIA"):
            return False
        if access_key_id not in self._ends:
            try:
                self._ends[access_key_id] = float((self._folder / access_key_id).read_text())
            except FileNotFoundError:
                return False
        return self._ends[access_key_id] <= time.time()
