# SPDX-License-Identifier: GPL-3.0-or-later
"""An object store in memory, and stores that fail in the ways that S3 can."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, MutableMapping
from datetime import UTC, datetime

from mayfly_agent.errors import AgentError
from mayfly_agent.objects import (
    IfMatch,
    IfNoneMatch,
    Lock,
    LockedOtherwise,
    Named,
    ObjectChanged,
    ObjectExists,
    ObjectInfo,
    ObjectNotFound,
    Refusals,
    Stored,
)

Condition = IfNoneMatch | IfMatch | None
NOW = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)


def etag(body: bytes) -> str:
    """As S3 makes it of an object that was put whole."""
    return f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324 - S3's own


class MemoryObjects:
    """As the protocol ObjectStore says; ``puts`` are the keys written, ``lists`` the prefixes listed, in order."""

    def __init__(self) -> None:
        self.now = NOW
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.lists: list[str] = []
        self.locks: dict[str, Lock] = {}
        #: Keys of the requests to lock something that is there.
        self.extended: list[str] = []

    def get(self, key: str) -> Stored:
        body = self.body(key)
        return Stored(body, etag(body), NOW, NOW)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        body = self.body(key)[offset : offset + length]
        if len(body) != length:
            raise AgentError("ObjectDamaged", f"{key} has ended at byte {offset + len(body)}.")
        return body

    def body(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectNotFound(key)
        return self.objects[key]

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        if isinstance(condition, IfNoneMatch) and key in self.objects:
            raise ObjectExists(key)
        if isinstance(condition, IfMatch) and etag(self.body(key)) != condition.etag:
            raise ObjectChanged(key)
        self.objects[key] = body
        self.puts.append(key)
        if lock is not None:
            self.locks[key] = lock
        return etag(body)

    def list(self, prefix: str, *, versions: bool = False) -> Iterator[ObjectInfo]:
        self.lists.append(prefix)
        for key in sorted(self.objects):
            if key.startswith(prefix):
                body = self.objects[key]
                yield ObjectInfo(key, len(body), NOW, etag(body), "null" if versions else None, "STANDARD")

    def folders(self, prefix: str) -> Iterator[str]:
        self.lists.append(prefix)
        rests = (key.removeprefix(prefix).split("/") for key in self.objects if key.startswith(prefix))
        yield from sorted({f"{prefix}{rest[0]}/" for rest in rests if len(rest) > 1})

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def delete_many(self, objects: Iterable[Named]) -> Refusals:
        for key, _version in objects:
            self.delete(key)
        return []

    def lock(self, key: str, version: str | None) -> Lock | None:
        return self.locks.get(key)

    def extend_lock(self, key: str, lock: Lock) -> None:
        self.body(key)
        self.extended.append(key)
        found = self.locks.get(key)
        if found is not None and found.until is not None and lock.until is not None and found.until > self.now:
            if found.mode != lock.mode:
                raise LockedOtherwise(key, found.mode)
            if found.until >= lock.until:
                return
        self.locks[key] = lock


class OverwritingObjects(MemoryObjects):
    """Does not know conditional puts."""

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        return super().put(key, body, lock=lock)


class ForgetfulObjects(MemoryObjects):
    """Loses every answer: what its client then repeats meets the object of the first time."""

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        made = super().put(key, body, condition, lock)
        if condition is not None:
            raise ObjectExists(key)
        return made


class Killed(BaseException):
    """The process was killed: nothing after this runs, no handler either."""


class DyingObjects(MemoryObjects):
    """Lets a number of puts through; at the next one the writer dies."""

    def __init__(self, objects: dict[str, bytes], puts: int) -> None:
        super().__init__()
        self.objects = objects
        self._left = puts

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        if self._left <= 0:
            raise Killed
        self._left -= 1
        return super().put(key, body, condition, lock)

    def delete(self, key: str) -> None:
        if self._left <= 0:
            raise Killed
        super().delete(key)


class Below(MutableMapping[str, bytes]):
    """The objects below a folder, by the rest of their keys."""

    def __init__(self, objects: MutableMapping[str, bytes], folder: str) -> None:
        self._objects, self._folder = objects, f"{folder}/"

    def __getitem__(self, key: str) -> bytes:
        return self._objects[self._folder + key]

    def __setitem__(self, key: str, body: bytes) -> None:
        self._objects[self._folder + key] = body

    def __delitem__(self, key: str) -> None:
        del self._objects[self._folder + key]

    def __iter__(self) -> Iterator[str]:
        return (key.removeprefix(self._folder) for key in self._objects if key.startswith(self._folder))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def set_in(store: MemoryObjects, folder: str) -> MemoryObjects:
    """What lies below a folder of a store."""
    made = MemoryObjects()
    made.objects = Below(store.objects, folder)  # type: ignore[assignment]
    return made
