# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on request, from a file that tests write.

{"throttle": {ACCOUNT or SNAPSHOT: requests a second}, "missing_after_start_seconds": n, "token_seconds": n,
"empty_pages": true, "corrupt": {SNAPSHOT: [indexes]},
"fail": {OPERATION: {"count": n, "status": 500, "code": NAME, "reason": REASON, "message": TEXT}}}

A file that is written again starts its counts anew. Write it whole (by a rename): it is read at every request.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from mayfly_lab.ebs.errors import DirectError

# https://docs.aws.amazon.com/ebs/latest/userguide/error-retries.html: who throws RequestThrottledException.
_OF_A_SNAPSHOT = ("GetSnapshotBlock", "PutSnapshotBlock")


class Faults:
    """What is to go wrong."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
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
                code, message = fail.get("code", "InternalServerException"), fail.get("message", "This was to fail.")
                raise DirectError(int(fail.get("status", 500)), code, fail.get("reason"), message)
            if self._exceeds(account):
                raise DirectError(400, "ThrottlingException", None, "Rate exceeded.")
            if operation in _OF_A_SNAPSHOT and self._exceeds(snapshot_id):
                raise DirectError(400, "RequestThrottledException", "RESOURCE_LEVEL_THROTTLE", "Rate exceeded.")

    def _exceeds(self, name: str) -> bool:
        rate = self._value.get("throttle", {}).get(name)
        return rate is not None and not self._take(name, float(rate))

    def _take(self, name: str, rate: float) -> bool:
        """A token bucket that holds one second's worth, one request at least."""
        now, size = time.monotonic(), max(rate, 1.0)
        held, then = self._used.get(name, (size, now))
        held = min(size, held + (now - then) * rate)
        self._used[name] = (held - 1 if held >= 1 else held, now)
        return held >= 1

    def _read(self) -> None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - asked at every request, and a Path costs more than the call
        except FileNotFoundError:
            self._seen, self._value = None, {}
            return
        if self._seen != (found.st_mtime_ns, found.st_ino):
            self._seen = (found.st_mtime_ns, found.st_ino)
            self._value = json.loads(Path(self._path).read_text() or "{}")
