# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repository asks of the store that holds it."""

from __future__ import annotations

from collections.abc import Iterator
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
        """Write it; with ``create_only``, raises ObjectExists when it is there."""

    def list(self, prefix: str, *, folders: bool = False) -> Iterator[str]:
        """Keys that begin with the prefix, ascending; with ``folders``, the next part of each alone, once."""

    def delete(self, key: str) -> None:
        """Delete it; what is gone is no failure."""
