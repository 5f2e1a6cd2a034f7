# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repository asks of the store that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Protocol

from .errors import AgentError


class ObjectNotFound(AgentError):
    """There is no object of that key."""

    def __init__(self, key: str) -> None:
        super().__init__("ObjectNotFound", f"The repository has no object {key}.")
        self.key = key


class ObjectExists(AgentError):
    """An object that is only ever created is there already."""

    def __init__(self, key: str) -> None:
        super().__init__("ObjectExists", f"The repository already has an object {key}.")
        self.key = key


class ObjectStore(Protocol):
    """Keys are relative to the repository's prefix. Anything but the two errors above is raised as AgentError."""

    def get(self, key: str) -> bytes:
        """The whole object; raises ObjectNotFound."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """A part of it; raises ObjectNotFound, or AgentError when it is shorter."""

    def put(self, key: str, body: bytes, *, create_only: bool = False) -> None:
        """Write it; with ``create_only``, raises ObjectExists when it is there.

        That can be the work of this very call: when the answer to a try of it was lost, the next one meets its object.
        """

    def list(self, prefix: str, *, folders: bool = False) -> Iterator[str]:
        """Keys that begin with the prefix, ascending; with ``folders``, the next part of each alone, once."""

    def delete(self, key: str) -> None:
        """Delete it; what is gone is no failure."""


class NotedObjects:
    """A store that notes what is put into it: ``sha256`` has the hexadecimal digest of each object, by key."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.sha256: dict[str, str] = {}
        self.get = store.get
        self.get_range = store.get_range
        self.list = store.list
        self.delete = store.delete

    def put(self, key: str, body: bytes, *, create_only: bool = False) -> None:
        """As ObjectStore says."""
        self.sha256[key] = sha256(body).hexdigest()
        self._store.put(key, body, create_only=create_only)
