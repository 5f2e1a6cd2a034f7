# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on request, from a file that tests write.

{"throttle": {ACCOUNT or SNAPSHOT: requests a second}, "missing_after_start_seconds": n, "token_seconds": n,
"empty_pages": true, "corrupt": {SNAPSHOT: [indexes]}, "fail": {OPERATION: {"count": n, "status": 500}}}
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from mayfly_lab.ebs.errors import DirectError


class Faults:
    """What is to go wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._value: dict[str, Any] = {}
        self._used: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def get(self, name: str, default: Any = None) -> Any:
        """One of the settings."""
        with self._lock:
            self._read()
            return self._value.get(name, default)

    def check(self, operation: str, account: str, snapshot_id: str) -> None:
        """Raises the DirectError that this request is to get, if any."""
        with self._lock:
            self._read()
            if not self._value:
                return
            fail = self._value.get("fail", {}).get(operation)
            if fail and fail.get("count", 1) > 0:
                fail["count"] = fail.get("count", 1) - 1
                raise DirectError(int(fail.get("status", 500)), "InternalServerException", None, "This was to fail.")
            limits = self._value.get("throttle", {})
            for name, reason in ((account, "ACCOUNT_THROTTLED"), (snapshot_id, "RESOURCE_LEVEL_THROTTLE")):
                if name in limits and not self._take(name, float(limits[name])):
                    raise DirectError(400, "RequestThrottledException", reason, "Rate exceeded.")

    def _take(self, name: str, rate: float) -> bool:
        """A token bucket that holds one second's worth."""
        now = time.monotonic()
        held, then = self._used.get(name, (rate, now))
        held = min(rate, held + (now - then) * rate)
        self._used[name] = (held - 1 if held >= 1 else held, now)
        return held >= 1

    def _read(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._value = None, {}
            return
        if self._seen != (found.st_mtime_ns, found.st_ino):
            self._seen = (found.st_mtime_ns, found.st_ino)
            self._value = json.loads(self._path.read_text() or "{}")
