# SPDX-License-Identifier: GPL-3.0-or-later
"""What a writer of a restore point notes down of itself while it goes on, so that another can go on from it when it
dies (docs/repository-format.md, 14). A backup is one, and so are a copy, an archiving and the way back.

Nothing but time keeps sweeps from deleting what an attempt has put. So whoever goes on from it counts as a part of it,
and must have come to its end as if it had begun when that one did.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from .errors import DAMAGED, AgentError
from .job import LONGEST_RUN
from .objects import Lock, ObjectNotFound, ObjectStore
from .parents import Leaf, Parent, ParentDamaged
from .pipeline import ordered
from .progress import Clock, Progress
from .repository import layout
from .repository.layout import ResourceName
from .repository.manifest import VolumeRecord
from .repository.marks import open_mark, write_mark
from .repository.seal import SealBroken

# What a writer loses at most when it dies. A note costs a short pack, one or two nodes and a small object.
EVERY_SECONDS = 300.0
# Of one note, some 800 KiB of text; when more is put, another one is due.
_OBJECTS_AT_MOST = 10_000
# The newest ones: from those before, little can be left to gain.
_ATTEMPTS_LOOKED_AT = 3
_CHECKED_AT_ONCE = 32
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
_ARCHIVED = "InvalidObjectState"


@dataclass(frozen=True)
class Window:
    """A run by the store's clock: when it began, and when it has sent its last request."""

    began: datetime
    ends: datetime

    @classmethod
    def of(cls, store: ObjectStore, progress: Progress) -> Window:
        """Of a run that has not listed anything yet."""
        asked = progress.clock.now()
        date = store.get(layout.REPOSITORY).date
        left = min(progress.deadline - asked, 2 * LONGEST_RUN)  # without a deadline, longer than any attempt allows
        return cls(date, date + timedelta(seconds=left))


@dataclass(frozen=True)
class Part:
    """A volume as far as it was backed up: all before the leaf at ``until``."""

    record: VolumeRecord
    until: int


@dataclass(frozen=True)
class Attempt:
    """What writers have left that did not come to their end, and when the first of them began.

    ``lock_mode`` is that of what they have put, None without a lock.
    """

    began: datetime
    parts: tuple[Part, ...]
    lock_mode: str | None = None

    def part(self, volume_id: str, sealed_as: str, *, full: bool) -> Part | None:
        """What can be used for a volume that is sealed as another one or itself; or None.

        ``full``: it is backed up in full, and shares nothing with a parent.
        """
        for each in self.parts:
            record = each.record
            fits = not full or record.method == "full"
            if fits and record.volume_id == volume_id and (record.sealed_as or record.volume_id) == sealed_as:
                return each
        return None


class Earlier:
    """A volume of an attempt, beside its parent. For several threads."""

    def __init__(
        self, part: Part, snapshot_id: str, name: ResourceName, resource_key: bytes, store: ObjectStore
    ) -> None:
        self._tree = Parent(name, part.record, resource_key, store)
        self._until = part.until if part.record.snapshot_id == snapshot_id else 0

    def beside(self, leaf: Leaf) -> Leaf:
        """The leaf with what the attempt has in its place; without, when that cannot be read."""
        try:
            found = self._tree.leaf(leaf.position)
        except ParentDamaged:
            return leaf
        return replace(leaf, earlier=found, was_read=leaf.position < self._until)


class Notes:
    """Written every ``every`` seconds at most. ``began``: when the writer did, or what it goes on from."""

    def __init__(
        self,
        store: ObjectStore,
        name: ResourceName,
        resource_key: bytes,
        point: str,
        began: datetime,
        *,
        clock: Clock,
        every: float,
        lock: Lock | None = None,
    ) -> None:
        """``lock``: how objects of the point are put."""
        self._store = store
        self._objects_lock = lock
        self._name = name
        self._key = resource_key
        self._point = point
        self._began = began
        self._clock = clock
        self._every = every
        self._writer = secrets.token_hex(4)
        self._number = 0
        self._objects: list[tuple[str, int]] = []
        self._last = clock.now()
        self._lock = threading.Lock()

    def put(self, key: str, body: bytes) -> None:
        """Put an object of the point; for any thread."""
        self._store.put(key, body, lock=self._objects_lock)
        with self._lock:
            self._objects.append((key.removeprefix(f"{self._name.path}/"), len(body)))

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return self._clock.now() >= self._last + self._every or len(self._objects) >= _OBJECTS_AT_MOST

    def write(self, parts: Sequence[Part]) -> None:
        """Note down what is done. All that was put must have been answered."""
        self._number += 1
        with self._lock:
            objects, self._objects = self._objects, []
        value = {
            "began": self._began.isoformat(),
            "volumes": [{**asdict(each.record), "until": each.until} for each in parts],
            "objects": objects,
            "lock_mode": self._objects_lock.mode if self._objects_lock else None,
        }
        key = layout.attempt_key(self._name, self._point, self._writer, self._number)
        write_mark(self._store, self._key, key, value)
        self._last = self._clock.now()


@dataclass(frozen=True)
class _Listed:
    key: str
    attempt: tuple[str, str]
    number: int
    modified: datetime


class Attempts:
    """The attempts of a resource."""

    def __init__(self, store: ObjectStore, name: ResourceName, resource_key: bytes, readers: Executor) -> None:
        self._store = store
        self._name = name
        self._key = resource_key
        self._readers = readers

    def newest(self, points: Collection[str], point: str, ends: datetime) -> Attempt | None:
        """What the newest has left, as far as all that it has put is there; None when there is none to go on from.

        ``points``: ids of the restore points that are listed; attempts at older ones are over, but for those at
        ``point``, the one that is to be made. ``ends``: when whoever goes on from it has sent its last request, by the
        store's clock.
        """
        prefix, found, over = layout.attempts_prefix(self._name), [], max(points, default="")
        for each in self._store.list(prefix):
            parsed = layout.parse_attempt(each.key.removeprefix(prefix))
            if parsed is not None and (parsed[0] > over or parsed[0] == point):
                found.append(_Listed(each.key, parsed[:2], parsed[2], each.modified))
        found.sort(key=attrgetter("attempt", "number"))
        attempts = [list(notes) for _, notes in groupby(found, attrgetter("attempt"))]
        attempts.sort(key=lambda notes: notes[-1].modified, reverse=True)
        # What was found damaged since an attempt began may be a part of it.
        damage = self._store.list(layout.damaged_prefix(self._name)) if attempts else ()
        after = max((each.modified for each in damage), default=datetime.min.replace(tzinfo=UTC))
        for notes in islice(attempts, _ATTEMPTS_LOOKED_AT):
            last = None
            for note in notes:
                read = self._read(note.key, after, ends)
                if read is None:
                    break
                last = read
            if last is not None:
                return last
        return None

    def _read(self, key: str, after: datetime, ends: datetime) -> Attempt | None:
        """A note of what began ``after``, when what it names is there, and no sweep deletes that before ``ends``."""
        try:
            # With the newest key alone: what was sealed before a rotation may be of somebody who knew that key.
            value = open_mark(self._store, bytes(self._key), key)
            began = datetime.fromisoformat(value["began"])
            parts = tuple(_part(each) for each in value["volumes"])
            objects = [(f"{self._name.path}/{each}", int(size)) for each, size in value["objects"]]
            mode = value.get("lock_mode")
            kept = began > after and ends <= began + timedelta(seconds=LONGEST_RUN)
        except (SealBroken, ObjectNotFound, KeyError, TypeError, ValueError):
            return None
        return Attempt(began, parts, mode) if kept and self._are_there(objects) else None

    def _are_there(self, objects: Iterable[tuple[str, int]]) -> bool:
        """Whether all objects are there and no shorter than they were written."""

        def check(found: tuple[str, int]) -> bool:
            key, size = found
            try:
                self._store.get_range(key, size - 1, 1)
            except AgentError as error:
                if error.code == _ARCHIVED:  # what lies in an archive class is listed and cannot be read
                    return any(each.key == key and each.size >= size for each in self._store.list(key))
                if error.code not in DAMAGED:
                    raise
                return False
            return True

        return all(list(ordered(self._readers, check, objects, _CHECKED_AT_ONCE)))


def _part(value: dict[str, Any]) -> Part:
    return Part(VolumeRecord.from_dict(value), int(value["until"]))
