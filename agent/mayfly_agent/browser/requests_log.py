# SPDX-License-Identifier: GPL-3.0-or-later
"""What was requested, when, and by whom: a line of JSON each, in requests.log. Never a token, a cookie or a raw URL.

What a session asks for has a line each. Requests of strangers, who need no token to make them, are counted together
once there are more than so many a minute, so they can fill nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

NAME = "requests.log"
# Bytes; some 400,000 requests.
LONGEST_LOG = 100_000_000
_STRANGERS_A_MINUTE = 60
_MINUTE = 60.0


class RequestsLog:
    """Appends to the file of the state folder; raises OSError when it cannot."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = (folder / NAME).open("ab", buffering=0)
        self._size = self._file.tell()
        self._clock = clock
        self._minute = clock()
        self._strangers = 0

    @property
    def full(self) -> bool:
        """Whether nothing more fits in; then nothing more is done either."""
        return self._size >= LONGEST_LOG

    def write(self, who: str, address: str, what: Mapping[str, object]) -> None:
        """One request; ``who`` is the session's name, "" for a stranger. Raises OSError."""
        if who or not self._counted():
            self._append({"who": who, "address": address, **what})

    def close(self) -> None:
        """The last that is written."""
        self._tell_strangers()
        self._file.close()

    def _counted(self) -> bool:
        if self._clock() - self._minute >= _MINUTE:
            self._tell_strangers()
            self._minute = self._clock()
        self._strangers += 1
        return self._strangers > _STRANGERS_A_MINUTE

    def _tell_strangers(self) -> None:
        more = self._strangers - _STRANGERS_A_MINUTE
        self._strangers = 0
        if more > 0:
            self._append({"who": "", "address": "", "action": "refused", "requests": more})

    def _append(self, line: Mapping[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps({"time": now, **line}).encode() + b"\n"
        if self._size < LONGEST_LOG:
            self._file.write(text)
            self._size += len(text)
