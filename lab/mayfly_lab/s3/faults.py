# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors on request, from a file that tests write: {"status": 503, "count": 3, "operation": "PUT"}.

``operation`` is an HTTP method (all of them without it), ``key`` a piece of the object's key; ``count`` says how many
requests fail (without it: all, for as long as the file is there). A file that is written again starts anew.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from mayfly_lab.s3.errors import S3Error

_CODES = {500: "InternalError", 503: "SlowDown", 403: "AccessDenied"}


class Faults:
    """What is to fail."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._fault: dict[str, Any] = {}
        self._lock = threading.Lock()

    def check(self, method: str, key: str) -> None:
        """Raises the S3Error that this request is to get, if any."""
        with self._lock:
            self._read()
            fault = self._fault
            if not fault or fault.get("operation", method) != method or fault.get("key", "") not in key:
                return
            count = fault.get("count")
            if count is not None:
                if count <= 0:
                    return
                fault["count"] = count - 1
        status = int(fault["status"])
        raise S3Error(status, _CODES.get(status, "InternalError"), "This request was to fail.")

    def _read(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._fault = None, {}
            return
        if self._seen != (found.st_mtime_ns, found.st_ino):
            self._seen = (found.st_mtime_ns, found.st_ino)
            self._fault = json.loads(self._path.read_text() or "{}")
