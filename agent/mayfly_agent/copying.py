# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore points of one resource into another repository, sealed anew with its key: see volume_copy.

An incremental restore point shares nodes and packs there as it does at home. A copy is a writer like a backup: what it
puts nothing refers to before the manifest is there, which comes last; it goes on from notes, and locks by the same
rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .errors import DAMAGED, AgentError
from .locking import why_not_shared
from .objects import ObjectExists, ObjectStore
from .parents import ParentPoint, read_parent
from .pipeline import ordered
from .repository import layout, repository
from .repository.manifest import Manifest, open_with_value, seal_value
from .repository.trees import Place, TreeReader
from .repository_jobs import Copied
from .status import Status
from .volume_copy import Base, Side, VolumeCopy
from .writing import Means, NotShareable, Where, Writing

UNIT = "copy"
_RANGES_AT_ONCE = 4
_LOCKS_AT_ONCE = 32
# In one manifest: whoever copies what is new tries these again.
_NOT_COPIED_TOLD = 100
# Of a restore point at its source; the others can be copied.
_OF_ONE = ("RestorePointDamaged", "RepositoryFormat", "RestorePointMissing")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Done:
    """What was copied of a resource: ids of restore points, and of those that could not be, why."""

    points: list[str] = field(default_factory=list)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    blocks_copied: int = 0
    blocks_reused: int = 0
    bytes_stored: int = 0


class ResourceCopy:
    """One resource of a copy."""

    def __init__(
        self,
        chosen: Copied,
        source: ObjectStore,
        target: ObjectStore,
        means: Means,
        status: Status,
        *,
        readers: Executor,
        writers: Executor,
    ) -> None:
        self._chosen, self._name = chosen, chosen.resource
        self._source, self._target = source, target
        self._means, self._status = means, status
        self._readers, self._writers = readers, writers
        self.done = Done()

    def run(self, origin: str) -> None:
        """Copy the points, oldest first; ``origin`` is the id of the source. Raises AgentError.

        A point that is damaged at its source is told, and the others are copied.
        """
        for identity in sorted(self._chosen.points):
            try:
                self._point(identity, origin)
            except AgentError as error:
                if error.code not in _OF_ONE:
                    raise
                self.done.failed[identity] = error.as_dict()
            self._status.count(UNIT, points_done=1)

    def _point(self, identity: str, origin: str) -> None:
        there = repository.list_points(self._target, self._name)
        if identity in there:
            return
        key = repository.list_points(self._source, self._name).get(identity)
        if key is None:
            raise AgentError("RestorePointMissing", f"The restore point {identity} of {self._name.path} is gone.")
        self._status.stage(f"Copying {identity} of {self._name.path}")
        base = self._base(there, identity)
        where = Where(self._target, self._name, self._chosen.target_key)
        parent = base[0] if base else None
        writing = Writing(where, identity, self._means, self._readers, points=there, parent=parent)
        try:
            value = self._copied(identity, key, origin, base, writing)
        except NotShareable as error:
            writing.begin_anew(resume=error.resume)
            value = self._copied(identity, key, origin, None, writing)
        self._commit(identity, value, writing)

    def _copied(
        self, identity: str, key: str, origin: str, base: ParentPoint | None, writing: Writing
    ) -> dict[str, Any]:
        """What is to be committed, when all that it refers to is locked as it must be; raises NotShareable."""
        copied, reused, stored = 0, 0, 0
        volumes, shares = [], False
        try:
            manifest, value = open_with_value(self._source.get(key).body, self._chosen.key, key)
            for record, said in zip(manifest.volumes, value["volumes"], strict=True):
                place = manifest.place(record)
                copy = VolumeCopy(
                    Side(self._source, self._chosen.key, place),
                    Side(self._target, self._chosen.target_key, place),
                    writing,
                    self._status,
                    UNIT,
                    readers=self._readers,
                    writers=self._writers,
                    at_once=_RANGES_AT_ONCE,
                    base=self._base_of(place, base),
                )
                made = copy.run(record)
                writing.end(made.record)
                new = made.record
                volumes.append(
                    {**said, "root": new.root, "bytes_stored": new.bytes_stored, "blocks_stored": new.blocks_stored}
                )
                shares = shares or made.shares
                copied, reused = copied + new.blocks_stored, reused + new.blocks_resumed
                stored += new.bytes_stored
        except (AgentError, ValueError) as error:
            if isinstance(error, AgentError) and error.code not in DAMAGED:
                raise
            message = f"{identity} of {self._name.path} is damaged where it is copied from: {error}"
            raise AgentError("RestorePointDamaged", message, "Run a health check of that repository.") from error
        parent = base[0].id if base is not None and shares else None
        value |= {"volumes": volumes, "parent": parent, "copied_from": origin}
        value.pop("first", None)  # it is about objects of the source, and so are locks
        value |= dict.fromkeys(("locked_until", "lock_mode", "objects_locked_until"))
        value |= writing.lock.said if writing.lock else {}
        value["not_copied"] = self._not_copied()
        writing.lock_shared(Manifest.from_dict(value), self._at_once, with_parent=shares)
        self.done.blocks_copied += copied
        self.done.blocks_reused += reused
        self.done.bytes_stored += stored
        return value

    def _not_copied(self) -> dict[str, int]:
        """Of the points before that could not be copied, how often that was tried: the newest of them."""
        before = self._chosen.failed
        tried = {each: before.get(each, 0) + 1 for each in self.done.failed}
        found = {each: times for each, times in (before | tried).items() if each not in self.done.points}
        return dict(sorted(found.items())[-_NOT_COPIED_TOLD:])

    def _at_once(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return ordered(self._readers, function, items, _LOCKS_AT_ONCE)

    def _commit(self, identity: str, value: dict[str, Any], writing: Writing) -> None:
        key = layout.point_key(self._name, identity)
        sealed = seal_value(value, self._chosen.target_key, key)
        try:
            repository.write_once(self._target, key, sealed, writing.lock.point if writing.lock else None)
        except ObjectExists:
            return  # another copy was first: what this one has put, nothing refers to
        self.done.points.append(identity)

    def _base(self, there: dict[str, str], identity: str) -> ParentPoint | None:
        """The restore point of the other repository that is nearest in time, and what is damaged of it.

        None when there is none that may be shared with.
        """
        before = [each for each in there if each < identity]
        for wanted in [*sorted(before, reverse=True), *sorted(set(there) - set(before))][:2]:
            found, _why = read_parent(self._target, self._name, there, wanted, self._chosen.target_key)
            if found is not None:
                return None if why_not_shared(self._means.lock, found[0]) else found
        return None

    def _base_of(self, place: Place, base: ParentPoint | None) -> Base | None:
        """The volume of the base whose nodes belong to the same place."""
        if base is None:
            return None
        manifest, damage = base
        for each in manifest.volumes:
            if manifest.place(each) == place:
                tree = each.tree()
                reader = TreeReader(place, self._chosen.target_key, tree, self._target)
                return Base(reader, tree, damage.of(each.volume_id))
        return None
