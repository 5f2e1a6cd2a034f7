# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repository asks of the store that holds it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
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


class ObjectChanged(AgentError):
    """An object is another than the one that was to be replaced."""

    def __init__(self, key: str) -> None:
        super().__init__("ObjectChanged", f"The object {key} is another one by now.")
        self.key = key


class LockedOtherwise(AgentError):
    """An object is locked in another mode than is wanted, which S3 does not change."""

    def __init__(self, key: str, mode: str) -> None:
        super().__init__("LockedOtherwise", f"The object {key} is locked in mode {mode} already.")
        self.mode = mode


@dataclass(frozen=True)
class ObjectInfo:
    """An object in a list; ``size`` in bytes, ``modified`` by the store's clock.

    ``version`` is None where versions were not asked for. A delete marker has size 0 and neither ETag nor class.
    """

    key: str
    size: int
    modified: datetime
    etag: str
    version: str | None
    storage_class: str


@dataclass(frozen=True)
class Stored:
    """An object; ``modified`` and ``date``, when it was given out, are both by the store's clock."""

    body: bytes
    etag: str
    modified: datetime
    date: datetime


@dataclass(frozen=True)
class IfNoneMatch:
    """Put only where there is no object of that key."""


@dataclass(frozen=True)
class IfMatch:
    """Put only in place of the object with this ETag."""

    etag: str


@dataclass(frozen=True)
class Refused:
    """An object that the store did not delete, and why."""

    key: str
    version: str | None
    code: str
    message: str


@dataclass(frozen=True)
class Lock:
    """What keeps an object from being deleted: a time (Object Lock), None when somebody must lift it (legal hold).

    ``mode`` is GOVERNANCE or COMPLIANCE, "" of a legal hold.
    """

    until: datetime | None
    mode: str = ""


@dataclass(frozen=True)
class Kept:
    """What a bucket keeps beside objects: their versions, their locks, and whether it locks all of them by itself."""

    versions: bool
    locks: bool
    default_retention: bool = False


# The protocol has a method called list.
Refusals = list[Refused]
Named = tuple[str, str | None]


class ObjectStore(Protocol):
    """Keys are relative to the repository's prefix. Anything but the four errors above is raised as AgentError."""

    def get(self, key: str) -> Stored:
        """The whole object; raises ObjectNotFound."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """A part of it; raises ObjectNotFound, or AgentError when it is shorter."""

    def put(
        self, key: str, body: bytes, condition: IfNoneMatch | IfMatch | None = None, lock: Lock | None = None
    ) -> str:
        """Write it, locked when ``lock`` says so; its ETag.

        Raises ObjectExists, ObjectChanged or ObjectNotFound when the condition does not hold.

        That can be the work of this very call: when the answer to a try of it was lost, the next one meets its object.
        """

    def list(self, prefix: str, *, versions: bool = False) -> Iterator[ObjectInfo]:
        """Objects whose keys begin with the prefix, ascending.

        With ``versions``, every version and delete marker of each, in no order.
        """

    def folders(self, prefix: str) -> Iterator[str]:
        """What keys begin with the prefix, up to the next slash, ascending, each once."""

    def delete(self, key: str) -> None:
        """Delete it; what is gone is no failure."""

    def delete_many(self, objects: Iterable[Named]) -> Refusals:
        """Delete (key, version) each, None for the version of a bucket that has none; what is gone is no failure.

        Gives every one that the store refused; the others are gone. Raises AgentError when it is not known of some.
        """

    def lock(self, key: str, version: str | None) -> Lock | None:
        """What keeps the object from being deleted, None for nothing; raises ObjectNotFound."""

    def extend_lock(self, key: str, lock: Lock) -> None:
        """Lock the newest version of it at least until then; raises ObjectNotFound.

        Raises LockedOtherwise for one that is locked in another mode, however long.
        """
