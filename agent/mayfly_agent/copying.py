# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore points of one resource into another repository: every block is opened and its SHA-256 compared, then sealed
anew with the other repository's key.

What the other repository has already is shared there, told by the digests of nodes and blocks, whoever has written it.
So an incremental restore point shares nodes and packs as it does at home. A copy is a writer like a backup: what it
puts nothing refers to before the manifest is there, which comes last.

Memory: 5 ranges of packs (each 32 blocks and at most 8 MiB), 5 packs, 16 leaves, and of each block of unfinished packs
that is used again about 300 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from .errors import DAMAGED, AgentError
from .job import Copied
from .objects import ObjectExists, ObjectNotFound, ObjectStore
from .parents import read_parent
from .pipeline import ordered
from .repository import layout, repository
from .repository.damaged import BlockRange
from .repository.manifest import Manifest, VolumeRecord, open_with_value, seal_value
from .repository.packs import PackReader
from .repository.seal import SealBroken
from .repository.trees import Entry, Node, Opened, Place, TreeReader
from .restore import Range, ranges
from .status import Status
from .unfinished import Unfinished
from .volumes import VolumeWriter

UNIT = "copy"
_NODES_AHEAD = 4
_RANGES_AT_ONCE = 4


@dataclass
class Done:
    """What was copied of a resource: ids of restore points, and of those that could not be, why."""

    points: list[str] = field(default_factory=list)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    blocks_copied: int = 0
    blocks_reused: int = 0
    bytes_stored: int = 0


@dataclass(frozen=True)
class _Base:
    """A volume as the other repository has it at another point in time; ``damaged``: blocks that it has not."""

    reader: TreeReader
    levels: int
    root: Node | None
    damaged: tuple[BlockRange, ...]


@dataclass(frozen=True)
class _Shared:
    """A node of the other repository that holds what the source has there."""

    level: int
    position: int
    node: Node


@dataclass(frozen=True)
class _Leaf:
    """A leaf of the source, and by index what the other repository has in its place."""

    opened: Opened
    known: dict[int, Entry]


# What is taken apart in order: a node to share, a range of blocks to copy, and a leaf when all of its blocks are there.
_Piece = _Shared | Range | _Leaf


_Known = tuple[Manifest, dict[str, tuple[BlockRange, ...]]]


class ResourceCopy:
    """One resource of a copy."""

    def __init__(
        self,
        chosen: Copied,
        source: ObjectStore,
        target: ObjectStore,
        status: Status,
        *,
        readers: Executor,
        writers: Executor,
    ) -> None:
        self._chosen, self._name = chosen, chosen.resource
        self._source, self._target = source, target
        self._status, self._readers, self._writers = status, readers, writers
        self._unfinished: Unfinished | None = None
        self.done = Done()

    def run(self, origin: str) -> None:
        """Copy the points, oldest first; ``origin`` is the id of the source. Raises AgentError.

        A point that is damaged at its source is told, and the others are copied.
        """
        for identity in sorted(self._chosen.points):
            try:
                self._point(identity, origin)
            except AgentError as error:
                if error.code not in ("RestorePointDamaged", "RepositoryFormat", "RestorePointMissing"):
                    raise
                self.done.failed[identity] = error.as_dict()
            self._status.count(UNIT, points_done=1)

    def _point(self, identity: str, origin: str) -> None:
        there = repository.list_points(self._target, self._name)
        if identity in there:
            return
        if self._unfinished is None:
            self._unfinished = Unfinished(self._target, self._name, self._chosen.target_key)
            self._unfinished.read(there.values(), self._readers)
        key = repository.list_points(self._source, self._name).get(identity)
        if key is None:
            raise AgentError("RestorePointMissing", f"The restore point {identity} of {self._name.path} is gone.")
        self._status.stage(f"Copying {identity} of {self._name.path}")
        try:
            manifest, value = open_with_value(self._source.get(key).body, self._chosen.key, key)
            base, volumes, shares = self._base(there, identity), [], False
            for record, said in zip(manifest.volumes, value["volumes"], strict=True):
                made, shared = self._volume(manifest, record, base)
                volumes.append({**said, **made})
                shares = shares or shared
        except (AgentError, ValueError) as error:
            if isinstance(error, AgentError) and error.code not in DAMAGED:
                raise
            message = f"{identity} of {self._name.path} is damaged where it is copied from: {error}"
            raise AgentError("RestorePointDamaged", message, "Run a health check of that repository.") from error
        parent = base[0].id if base is not None and shares else None
        new = {**value, "volumes": volumes, "parent": parent, "copied_from": origin}
        new.pop("first", None)  # it is about objects of the source, and so are locks
        new |= dict.fromkeys(("locked_until", "lock_mode", "objects_locked_until"))
        self._commit(identity, new)

    def _commit(self, identity: str, value: dict[str, Any]) -> None:
        key = layout.point_key(self._name, identity)
        try:
            repository.write_once(self._target, key, seal_value(value, self._chosen.target_key, key))
        except ObjectExists:
            return  # another copy was first: what this one has put, nothing refers to
        self.done.points.append(identity)

    def _base(self, there: dict[str, str], identity: str) -> _Known | None:
        """The restore point of the other repository that is nearest in time, and what is damaged in each volume."""
        before = [each for each in there if each < identity]
        for wanted in [*sorted(before, reverse=True), *sorted(set(there) - set(before))][:2]:
            found, _why = read_parent(self._target, self._name, there, wanted, self._chosen.target_key)
            if found is not None:
                manifest, damage = found
                return manifest, {each.volume_id: damage.of(each.volume_id) for each in manifest.volumes}
        return None

    def _volume(
        self,
        manifest: Manifest,
        record: VolumeRecord,
        base: _Known | None,
    ) -> tuple[dict[str, Any], bool]:
        """(What the new manifest says of a volume, whether anything of the base is shared)."""
        place, status = manifest.place(record), self._status
        stored = 0

        def put(key: str, body: bytes) -> None:
            nonlocal stored
            self._target.put(key, body)
            stored += len(body)
            status.count(UNIT, bytes_stored=len(body))

        root = record.tree()
        writer = VolumeWriter(place, self._chosen.target_key, root.size, put, self._writers)
        source = TreeReader(place, self._chosen.key, root, self._source)
        known = self._base_of(place, base)
        shared = False
        pieces = self._pieces(self._walked(source, record, known), place)
        copied: dict[int, Entry] = {}
        for piece, read in ordered(self._readers, lambda each: self._read(place, each), pieces, _RANGES_AT_ONCE):
            if isinstance(piece, _Shared):
                writer.share(piece.level, piece.position, piece.node)
                shared = True
            elif isinstance(piece, Range):
                for entry, compressed in read:
                    copied[entry.index] = writer.store(entry.index, entry.digest, compressed)
                status.count(UNIT, blocks_done=len(read), bytes_read=piece.length)
            else:
                shared = self._finish(piece, place, copied, writer) or shared
                copied = {}
        made = writer.finish()
        if made.digest != record.digest or made.blocks != record.blocks:
            raise SealBroken(f"{record.volume_id} of {manifest.id}", "is not what its manifest promises")
        self.done.blocks_copied += writer.blocks_stored
        self.done.bytes_stored += stored
        return {"root": made.id, "bytes_stored": stored, "blocks_stored": writer.blocks_stored}, shared

    def _base_of(self, place: Place, base: _Known | None) -> _Base | None:
        """The volume of the base whose nodes belong to the same place."""
        if base is None:
            return None
        manifest, damaged = base
        for each in manifest.volumes:
            if manifest.place(each) == place:
                tree = each.tree()
                reader = TreeReader(place, self._chosen.target_key, tree, self._target)
                return _Base(reader, tree.levels, tree.node, damaged[each.volume_id])
        return None

    def _walked(self, source: TreeReader, record: VolumeRecord, base: _Base | None) -> Iterator[_Shared | _Leaf]:
        root = record.tree()
        if root.node is None:
            return
        top, below = root.levels - 1, None
        if base is not None:
            level, below = base.levels - 1, base.root
            while level > top and below is not None:  # the volume was larger then
                opened = self._opened(base, level, 0, below)
                below = dict(opened.children).get(0) if opened else None
                level -= 1
        yield from self._walk(source, top, ((0, root.node, below),), base)

    def _walk(
        self, source: TreeReader, level: int, nodes: Iterable[tuple[int, Node, Node | None]], base: _Base | None
    ) -> Iterator[_Shared | _Leaf]:
        """The source's nodes from this level down, each with what the base has in its place.

        Of a base with fewer levels, the root comes in its own level's first place.
        """

        def look(found: tuple[int, Node, Node | None]) -> _Shared | tuple[Opened, Opened | None]:
            position, node, known = found
            if base is not None and level == base.levels - 1 and position == 0:
                known = known or base.root
            same = known is not None and (known.digest, known.blocks) == (node.digest, node.blocks)
            if known is not None and same and base is not None and not base.damaged:
                return _Shared(level, position, known)
            opened = source.open(level, position, node)
            return opened, self._opened(base, level, position, known) if base and known else None

        for found in ordered(self._readers, look, nodes, _NODES_AHEAD):
            if isinstance(found, _Shared):
                yield found
                continue
            opened, before = found
            if level:
                known = dict(before.children) if before else {}
                below = ((at, child, known.get(at)) for at, child in opened.children)
                yield from self._walk(source, level - 1, below, base)
            else:
                entries = before.entries if before else ()
                damaged = base.damaged if base else ()
                kept = {each.index: each for each in entries if not _is_in(damaged, each.index)}
                yield _Leaf(opened, kept)

    def _opened(self, base: _Base, level: int, position: int, node: Node) -> Opened | None:
        """A node of the base; what is damaged there is copied anew."""
        try:
            return base.reader.open(level, position, node)
        except (SealBroken, ObjectNotFound):
            return None

    def _pieces(self, walked: Iterator[_Shared | _Leaf], place: Place) -> Iterator[_Piece]:
        for found in walked:
            if isinstance(found, _Leaf):
                missing = (each for each in found.opened.entries if self._known(found, place, each) is None)
                yield from ranges(missing)
            yield found

    def _known(self, leaf: _Leaf, place: Place, entry: Entry) -> Entry | None:
        """The block as the other repository has it: in the base, or in a pack of a copy that was not finished."""
        known = leaf.known.get(entry.index)
        if known is not None and known.digest == entry.digest:
            return known
        assert self._unfinished is not None
        location = self._unfinished.find(place.volume_id, entry.index, entry.digest)
        return None if location is None else Entry(entry.index, entry.digest, location)

    def _finish(self, leaf: _Leaf, place: Place, copied: dict[int, Entry], writer: VolumeWriter) -> bool:
        """Add a leaf's blocks to the tree; whether the base has given any of them."""
        shares = False
        for each in leaf.opened.entries:
            entry = copied.get(each.index)
            if entry is None:
                entry = self._known(leaf, place, each)
                assert entry is not None
                of_base = leaf.known.get(each.index) == entry
                shares = shares or of_base
                self.done.blocks_reused += int(not of_base)
            writer.add(entry)
        return shares

    def _read(self, place: Place, piece: _Piece) -> tuple[_Piece, list[tuple[Entry, bytes]]]:
        """A piece, and of a range its blocks: compressed as they were, and verified."""
        if not isinstance(piece, Range):
            return piece, []
        pack = piece.entries[0].location.pack
        body = self._source.get_range(layout.pack_key(self._name, pack), piece.start, piece.length)
        reader = PackReader(self._name, self._chosen.key, pack)
        read = []
        for entry in piece.entries:
            at = entry.location
            frame = body[at.offset - piece.start : at.offset - piece.start + at.length]
            read.append((entry, reader.frame(at, frame, place.volume_id, entry.index, entry.digest)[0]))
        return piece, read


def _is_in(damaged: tuple[BlockRange, ...], index: int) -> bool:
    return any(each.first <= index <= each.last for each in damaged)
