# SPDX-License-Identifier: GPL-3.0-or-later
"""A store with a clock, versions and locks, and clients of it that pause, come late, and are killed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from mayfly_agent.errors import AgentError
from mayfly_agent.objects import Lock, Named, ObjectInfo, ObjectNotFound, Refusals, Refused, Stored
from mayfly_agent.progress import Clock, Progress

from tests.unit.agent.memory import Condition, Killed, MemoryObjects, etag

# From when on S3 refuses what was signed (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html):
# the signer's clock may be 15 minutes ahead.
REFUSED_AFTER = timedelta(minutes=30)


class AgingObjects(MemoryObjects):
    """Knows when what was written. ``versioned``: what is overwritten or deleted without a version is kept."""

    def __init__(self, *, versioned: bool = False) -> None:
        super().__init__()
        self.versioned = versioned
        self.modified: dict[str, datetime] = {}
        #: Of each key what is not current: (version, body, time); None for the body of a delete marker.
        self.older: dict[str, list[tuple[str, bytes | None, datetime]]] = {}
        self._number = 0
        self._current: dict[str, str] = {}

    def get(self, key: str) -> Stored:
        body = self.body(key)
        return Stored(body, etag(body), self.modified.get(key, self.now), self.now)

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        before = self.objects.get(key)
        made = super().put(key, body, condition, lock)
        self._keep(key, before)
        self.modified[key] = self.now
        return made

    def list(self, prefix: str, *, versions: bool = False) -> Iterator[ObjectInfo]:
        self.lists.append(prefix)
        for key in sorted(each for each in self.objects if each.startswith(prefix)):
            if key in self.objects:  # S3's pages are as old as the question, its next ones are not
                body, version = self.objects[key], self._version(key) if versions else None
                yield ObjectInfo(key, len(body), self.modified[key], etag(body), version, "STANDARD")
        for key in sorted(each for each in self.older if versions and each.startswith(prefix)):
            for version, old, when in list(self.older.get(key, ())):
                yield ObjectInfo(key, len(old or b""), when, "", version, "")

    def delete(self, key: str) -> None:
        before = self.objects.pop(key, None)
        if self.versioned:
            self._keep(key, before)
            self._number += 1
            self.older.setdefault(key, []).append((f"v{self._number}", None, self.now))

    def delete_many(self, objects: Iterable[Named]) -> Refusals:
        refused: Refusals = []
        for key, version in objects:
            if version is not None and self.is_locked(key):
                refused.append(Refused(key, version, "AccessDenied", "it is locked"))
            elif version is None:
                self.delete(key)
            elif key in self.objects and self._version(key) == version:
                del self.objects[key]
            else:
                self.older[key] = [each for each in self.older.get(key, ()) if each[0] != version]
        return refused

    def is_locked(self, key: str) -> bool:
        """Whether none of its versions can be deleted now."""
        lock = self.locks.get(key)
        return lock is not None and (lock.until is None or lock.until > self.now)

    def everything(self) -> set[str]:
        """Keys of all versions and markers."""
        return self.objects.keys() | {key for key, kept in self.older.items() if kept}

    def _version(self, key: str) -> str:
        return self._current.get(key, "null")

    def _keep(self, key: str, before: bytes | None) -> None:
        if not self.versioned:
            return
        if before is not None:
            self.older.setdefault(key, []).append((self._version(key), before, self.modified[key]))
        self._number += 1
        self._current[key] = f"v{self._number}"


class StoreClock(Clock):
    """A worker's clock that runs as the store's does."""

    def __init__(self, store: AgingObjects) -> None:
        self._store = store

    def now(self) -> float:
        return self._store.now.timestamp()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.is_set()


class Client:
    """The store as one process sees it. It is killed at its call ``dies``: before it is done, or (``late``) after.

    At call number ``pauses`` it waits for ``go_on``: before it sends the request, or (``sent``) with the request under
    way, which S3 refuses when that took too long. None is sent ``until`` a time or later, or if ``progress`` forbids.
    """

    def __init__(
        self, store: AgingObjects, *, dies: int = -1, late: bool = False, pauses: int = -1, sent: bool = False
    ) -> None:
        self._store = store
        self._dies = dies
        self._late = late
        self._pauses = pauses
        self._sent = sent
        self._lock = threading.RLock()
        self.until: datetime | None = None
        self.progress: Progress | None = None
        self.calls = 0
        self.paused = threading.Event()
        self.go_on = threading.Event()
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        def made(*words: Any, **more: Any) -> Any:
            with self._lock:
                number = self._begin()
                if name == "list":
                    return iter(self._end(number, list(call(*words, **more))))
                return self._end(number, call(*words, **more))

        return made

    def _begin(self) -> int:
        number, self.calls = self.calls, self.calls + 1
        if self.dead or (number == self._dies and not self._late):
            self.dead = True
            raise Killed
        if number == self._pauses and not self._sent:
            self._pause()
        if self.progress is not None:
            self.progress.check_deadline()
        if self.until is not None and self._store.now >= self.until:
            raise AgentError("DeadlinePassed", "The run's deadline has passed.")
        sent = self._store.now
        if number == self._pauses and self._sent:
            self._pause()
            if self._store.now > sent + REFUSED_AFTER:
                raise AgentError("RequestTimeTooSkewed", "The request was signed too long ago.")
        return number

    def _pause(self) -> None:
        self.paused.set()
        assert self.go_on.wait(600)

    def _end(self, number: int, result: Any) -> Any:
        if number == self._dies:
            self.dead = True
            raise Killed
        return result


__all__ = ["AgingObjects", "Client", "ObjectNotFound", "StoreClock"]
