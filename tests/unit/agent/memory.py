# SPDX-License-Identifier: GPL-3.0-or-later
"""An object store in memory, and stores that fail in the ways that S3 can."""

from __future__ import annotations

from collections.abc import Iterator

from mayfly_agent.errors import AgentError
from mayfly_agent.objects import ObjectExists, ObjectNotFound


class MemoryObjects:
    """As the protocol ObjectStore says; ``puts`` are the keys written, ``lists`` the prefixes listed, in order."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.lists: list[str] = []

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectNotFound(key)
        return self.objects[key]

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        body = self.get(key)[offset : offset + length]
        if len(body) != length:
            raise AgentError("ObjectDamaged", f"{key} has ended at byte {offset + len(body)}.")
        return body

    def put(self, key: str, body: bytes, *, create_only: bool = False) -> None:
        if create_only and key in self.objects:
            raise ObjectExists(key)
        self.objects[key] = body
        self.puts.append(key)

    def list(self, prefix: str, *, folders: bool = False) -> Iterator[str]:
        self.lists.append(prefix)
        found = sorted(key for key in self.objects if key.startswith(prefix))
        if folders:
            rests = (key.removeprefix(prefix).split("/") for key in found)
            found = sorted({f"{prefix}{rest[0]}/" for rest in rests if len(rest) > 1})
        return iter(found)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


class OverwritingObjects(MemoryObjects):
    """Does not know conditional puts."""

    def put(self, key: str, body: bytes, *, create_only: bool = False) -> None:
        super().put(key, body)


class ForgetfulObjects(MemoryObjects):
    """Loses every answer: what its client then repeats meets the object of the first time."""

    def put(self, key: str, body: bytes, *, create_only: bool = False) -> None:
        super().put(key, body, create_only=create_only)
        if create_only:
            raise ObjectExists(key)


class Killed(BaseException):
    """The process was killed: nothing after this runs, no handler either."""


class DyingObjects(MemoryObjects):
    """Lets a number of puts through; at the next one the writer dies."""

    def __init__(self, objects: dict[str, bytes], puts: int) -> None:
        super().__init__()
        self.objects = objects
        self._left = puts

    def put(self, key: str, body: bytes, *, create_only: bool = False) -> None:
        if self._left <= 0:
            raise Killed
        self._left -= 1
        super().put(key, body, create_only=create_only)

    def delete(self, key: str) -> None:
        if self._left <= 0:
            raise Killed
        super().delete(key)
