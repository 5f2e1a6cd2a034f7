# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup goes on from: a volume as the parent, an earlier restore point, has it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter, itemgetter

from .blocks import FANOUT, MAXIMUM_LEVELS
from .errors import AgentError
from .job import JobVolume
from .objects import ObjectNotFound, ObjectStore
from .repository import repository
from .repository.damaged import BlockRange, Damage, read_damage
from .repository.layout import ResourceName
from .repository.manifest import Manifest, VolumeRecord
from .repository.seal import SealBroken
from .repository.trees import Entry, Node, Opened, Place, TreeReader

# Of a thousand children each, about 0.3 MiB; whoever lists and whoever writes are in neighbouring ones.
_NODES_KEPT = 4
# Beyond the last leaf that any volume has.
END = FANOUT ** (MAXIMUM_LEVELS - 1)


# The manifest, and what marks say is damaged of it.
ParentPoint = tuple[Manifest, Damage]


class ParentDamaged(Exception):
    """Nothing can be shared with the parent: a node of its tree is gone or was changed."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """Blocks of a leaf's place as the parent has them, by index; ``node`` is None when it has none there.

    ``earlier``: as an earlier attempt has them, which has read all of them from this very snapshot if ``was_read``.
    """

    position: int
    node: Node | None = None
    entries: dict[int, Entry] = field(default_factory=dict)
    earlier: Leaf | None = None
    was_read: bool = False


class Parent:
    """A volume of the parent, read as far as it is needed. For several threads."""

    def __init__(
        self,
        resource: ResourceName,
        record: VolumeRecord,
        resource_key: bytes,
        store: ObjectStore,
        damaged: tuple[BlockRange, ...] = (),
    ) -> None:
        """``damaged``: blocks of the volume, ascending, that count as if the parent did not have them."""
        self.record = record
        self._damaged = damaged
        self.place = Place(resource, record.sealed_as or record.volume_id)
        self._root = record.tree()
        self._reader = TreeReader(self.place, resource_key, self._root, store)
        self._kept = lru_cache(_NODES_KEPT)(self._open)

    def leaf(self, position: int) -> Leaf:
        """The leaf at a position; raises ParentDamaged."""
        level, at, node = self._root.levels - 1, 0, self._root.node
        while level and node is not None:
            children = self._kept(level, at, node).children
            level, at = level - 1, position // FANOUT ** (level - 1)
            found = bisect_left(children, at, key=itemgetter(0))
            node = children[found][1] if found < len(children) and children[found][0] == at else None
        if node is None:
            return Leaf(position)
        found_here = self._open(0, position, node).entries
        entries = {entry.index: entry for entry in found_here if not self._is_damaged(entry.index)}
        # What holds damage is not shared, even where the new volume has nothing in place of it.
        return Leaf(position, node if len(entries) == len(found_here) else None, entries)

    def between(self, first: int, end: int) -> Iterator[tuple[int, int, Node]]:
        """(level, position, node) of the highest nodes that hold the leaves from ``first`` to ``end`` - 1, no others.

        Raises ParentDamaged.
        """
        if self._root.node is not None:
            yield from self._between(self._root.levels - 1, 0, self._root.node, first, end)

    def _between(self, level: int, position: int, node: Node, first: int, end: int) -> Iterator[tuple[int, int, Node]]:
        span = FANOUT**level
        if first <= position * span and (position + 1) * span <= end:
            yield level, position, node
        elif level and position * span < end and first < (position + 1) * span:
            children = self._kept(level, position, node).children
            for at in range(bisect_left(children, first * FANOUT // span, key=itemgetter(0)), len(children)):
                if children[at][0] * (span // FANOUT) >= end:
                    return
                yield from self._between(level - 1, *children[at], first, end)

    def _is_damaged(self, index: int) -> bool:
        at = bisect_right(self._damaged, index, key=attrgetter("first"))
        return at > 0 and index <= self._damaged[at - 1].last

    def _open(self, level: int, position: int, node: Node) -> Opened:
        try:
            return self._reader.open(level, position, node)
        except (SealBroken, ObjectNotFound) as error:
            raise ParentDamaged(f"the parent is damaged: {error.message}") from error


def read_parent(
    store: ObjectStore, name: ResourceName, points: Mapping[str, str], wanted: str, resource_key: bytes
) -> tuple[ParentPoint | None, str]:
    """(the parent, "") or (None, why nothing can be shared with it).

    ``wanted`` is its id, "" for none; ``points``: {id: key} of the resource's restore points.
    """
    if not wanted:
        return None, ""
    key = points.get(wanted)
    if key is None:
        return None, f"the parent {wanted} is not in the repository"
    try:
        # In this order: a sweep that takes the point meanwhile deletes its marks after the manifest.
        damage = read_damage(store, name, resource_key, wanted)
        return (repository.read_manifest(store, key, resource_key), damage), ""
    except AgentError as error:
        if error.code not in ("ObjectDamaged", "ObjectNotFound", "RestorePointDamaged", "RepositoryFormat"):
            raise
        return None, f"the parent cannot be read: {error.message}"


def record_for(volume: JobVolume, manifest: Manifest, others: set[str]) -> VolumeRecord | None:
    """The volume of the parent that a volume goes on from: itself, or what was on its device before it.

    ``others`` are all volumes of the backup, whose own trees go on by themselves.
    """
    named = {record.volume_id: record for record in manifest.volumes}
    before = [record for record in manifest.volumes if record.device == volume.device]
    replaced = next((record for record in before if record.volume_id not in others), None)
    return named.get(volume.volume_id, replaced)


def why_not_changes(volume: JobVolume, record: VolumeRecord, damaged: tuple[BlockRange, ...]) -> str:
    """Why what EBS names as changed in a volume since the parent is not enough; "" when it may be."""
    if damaged:
        return "a health check has found blocks of the parent damaged"
    if volume.volume_id != record.volume_id:
        return f"it has replaced {record.volume_id}"
    if volume.size_gib != record.size_gib:
        return f"its size is {volume.size_gib} GiB and was {record.size_gib} GiB"
    if not volume.parent_snapshot_id:
        return "the parent's snapshot was not kept"
    if volume.parent_snapshot_id != record.snapshot_id:
        return f"the parent was made from {record.snapshot_id}, not from {volume.parent_snapshot_id}"
    return ""
