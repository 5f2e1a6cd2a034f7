# SPDX-License-Identifier: GPL-3.0-or-later
"""The AWS credentials of workers: sent over SSH into memory, and renewed before their hour ends."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from .errors import KeeperError

log = logging.getLogger(__name__)

Make = Callable[[], dict[str, Any]]

NAMES = ("source", "repository", "target")
_FOLDER = "/run/mayfly/credentials"
_RENEW_AFTER = 0.5  # of the time that is left of them: half an hour of a session's hour remains for retries
_RETRY_SECONDS = 30.0
_LOOK_SECONDS = 5.0
_AT_ONCE = 16
_WRITE = (
    "umask 077; mkdir -p {folder} && cat >{folder}/{name}.new && chown mayfly-agent: {folder}/{name}.new"
    " && mv {folder}/{name}.new {folder}/{name}.json"
)


class Reach(Protocol):
    """What is asked of the registry of workers."""

    def get(self, host: str) -> Any:
        """The host's live worker, or None."""

    def run(self, host: str, command: str, stdin: bytes = b"", timeout: float = 30) -> bytes:
        """Run a command on the host's worker as root."""


@dataclass
class _Kept:
    instance_id: str
    make: Make
    due: float


class WorkerCredentials:
    """Keeps credentials on workers fresh until the worker is gone."""

    def __init__(self, workers: Reach) -> None:
        self._workers = workers
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, host: str, name: str, make: Make) -> None:
        """Write what ``make`` gives to the host's worker as ``name`` (one of NAMES), now and before it ends.

        ``make`` returns {access_key, secret_key, token, expiry_time}. Raises KeeperError when the host has no worker
        or it cannot be written, and whatever ``make`` raises.
        """
        if name not in NAMES:
            raise ValueError(f"credentials are called {' or '.join(NAMES)}, not {name}")
        worker = self._workers.get(host)
        if worker is None:
            raise KeeperError("NoWorker", f"{host} has no worker that credentials could be sent to.")
        due = self._write(host, name, make)
        with self._lock:
            self._kept[host, name] = _Kept(worker.instance_id, make, due)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="credentials", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()

    def _write(self, host: str, name: str, make: Make) -> float:
        """Send them, and return when to do so again, in seconds of the monotonic clock."""
        credentials = make()
        command = _WRITE.format(folder=_FOLDER, name=name)
        self._workers.run(host, command, json.dumps(credentials).encode(), timeout=30)
        ends = datetime.fromisoformat(credentials["expiry_time"])
        left = (ends - datetime.now(UTC)).total_seconds()
        return time.monotonic() + max(0.0, left * _RENEW_AFTER)

    def _loop(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            self._renew_due()

    def _renew_due(self) -> None:
        with self._lock:
            due = [(key, kept) for key, kept in self._kept.items() if kept.due <= time.monotonic()]
        # Together: workers that cannot be reached must not use up the others' time.
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="credentials") as pool:
            list(pool.map(lambda each: self._renew(*each), due))

    def _renew(self, key: tuple[str, str], kept: _Kept) -> None:
        host, name = key
        worker = self._workers.get(host)
        if worker is None or worker.instance_id != kept.instance_id:
            with self._lock:
                self._kept.pop(key, None)
            return
        try:
            kept.due = self._write(host, name, kept.make)
        except Exception:  # whatever AWS or ssh say, the next try comes; the agent tells when they have run out
            log.exception("%s: the credentials %s were not renewed", host, name)
            kept.due = time.monotonic() + _RETRY_SECONDS
