# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume of a restore point, copied: every block is opened and its SHA-256 compared, then sealed anew where it goes.

What is there already is shared, told by the digests of nodes and blocks, whoever has written it: another restore point
of the same resource, or an attempt at this one that died.

Memory: so many ranges of packs as are read at once and one more (each 32 blocks and at most 8 MiB), 5 packs, 16 leaves,
and 6 of the attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from .attempts import Earlier
from .objects import ObjectNotFound, ObjectStore
from .parents import Leaf
from .pipeline import ordered
from .repository import layout
from .repository.damaged import BlockRange
from .repository.manifest import VolumeRecord
from .repository.packs import PackReader
from .repository.seal import SealBroken
from .repository.trees import Entry, Node, Opened, Place, Root, TreeReader
from .restore import Range, ranges
from .status import Status
from .volumes import VolumeWriter
from .writing import Writing

_NODES_AHEAD = 4


@dataclass(frozen=True)
class Side:
    """Where a volume is copied from or to: a store, the key of the resource's data, and what its seals are bound to."""

    store: ObjectStore
    key: bytes = field(repr=False)
    place: Place


@dataclass(frozen=True)
class Base:
    """A volume as it is there at another point in time; ``damaged``: blocks of it that are not."""

    reader: TreeReader
    root: Root
    damaged: tuple[BlockRange, ...]


@dataclass(frozen=True)
class Made:
    """What became of a volume; ``shares``: whether anything of the base is in it."""

    record: VolumeRecord
    shares: bool


@dataclass(frozen=True)
class _Shared:
    """A node of the base that holds what the source has there."""

    level: int
    position: int
    node: Node


@dataclass(frozen=True)
class _Leaf:
    """A leaf of the source, and by index what the base and the attempt have in its place."""

    opened: Opened
    known: dict[int, Entry]
    earlier: dict[int, Entry]

    def found(self, entry: Entry) -> Entry | None:
        """The block as it is there already."""
        for each in (self.known.get(entry.index), self.earlier.get(entry.index)):
            if each is not None and each.digest == entry.digest:
                return each
        return None


# What is taken apart in order: a node to share, a range of blocks to copy, and a leaf when all of its blocks are there.
_Piece = _Shared | Range | _Leaf


class VolumeCopy:
    """One volume."""

    def __init__(
        self,
        source: Side,
        target: Side,
        writing: Writing,
        status: Status,
        unit: str,
        *,
        readers: Executor,
        writers: Executor,
        at_once: int,
        base: Base | None = None,
    ) -> None:
        """``at_once``: ranges of packs; ``unit`` of the status counts blocks_done, bytes_read and bytes_stored."""
        self._source, self._target, self._base = source, target, base
        self._writing = writing
        self._status, self._unit = status, unit
        self._readers, self._writers = readers, writers
        self._at_once = at_once

    def run(self, record: VolumeRecord) -> Made:
        """Copy it. Raises AgentError; of what is damaged where it comes from, ObjectDamaged or ObjectNotFound."""
        stored = resumed = 0
        shares = False

        def put(key: str, body: bytes) -> None:
            nonlocal stored
            self._writing.put(key, body)
            stored += len(body)
            self._status.count(self._unit, bytes_stored=len(body))

        tree, place = record.tree(), self._target.place
        writer = VolumeWriter(place, self._target.key, tree.size, put, self._writers)
        source = TreeReader(self._source.place, self._source.key, tree, self._source.store)
        # What shares with nothing goes on from nothing that does.
        alone = self._base is None
        earlier = self._writing.earlier(record.volume_id, place.volume_id, record.snapshot_id, full=alone)

        def made(root: Root) -> VolumeRecord:
            return replace(
                record,
                root=root.id,
                blocks=root.blocks,
                digest=root.digest,
                method="full" if alone else "changed",
                sealed_as=None if place.volume_id == record.volume_id else place.volume_id,
                bytes_stored=stored,
                blocks_stored=writer.blocks_stored,
                blocks_resumed=resumed,
            )

        copied: dict[int, Entry] = {}
        pieces = self._pieces(self._walked(source, tree, earlier))
        for piece, read in ordered(self._readers, self._read, pieces, self._at_once):
            if isinstance(piece, _Shared):
                writer.share(piece.level, piece.position, piece.node)
                shares = True
            elif isinstance(piece, Range):
                for entry, compressed in read:
                    copied[entry.index] = writer.store(entry.index, entry.digest, compressed)
                self._status.count(self._unit, blocks_done=len(read), bytes_read=piece.length)
            else:
                taken = self._finish(piece, copied, writer)
                from_attempt = sum(piece.known.get(each.index) != each for each in taken)
                shares = shares or from_attempt < len(taken)
                resumed += from_attempt
                self._writing.resumed = self._writing.resumed or from_attempt > 0
                copied = {}
                self._writing.note(lambda: made(writer.so_far()), piece.opened.position + 1)
        root = writer.finish()
        if root.digest != record.digest or root.blocks != record.blocks:
            raise SealBroken(record.volume_id, "is not what its manifest promises")
        return Made(made(root), shares)

    def _walked(self, source: TreeReader, root: Root, earlier: Earlier | None) -> Iterator[_Shared | _Leaf]:
        if root.node is None:
            return
        top, below, base = root.levels - 1, None, self._base
        if base is not None:
            level, below = base.root.levels - 1, base.root.node
            while level > top and below is not None:  # the volume was larger then
                opened = _opened(base, level, 0, below)
                below = dict(opened.children).get(0) if opened else None
                level -= 1
        yield from self._walk(source, top, ((0, root.node, below),), earlier)

    def _walk(
        self,
        source: TreeReader,
        level: int,
        nodes: Iterable[tuple[int, Node, Node | None]],
        earlier: Earlier | None,
    ) -> Iterator[_Shared | _Leaf]:
        """The source's nodes from this level down, each with what the base has in its place.

        Of a base with fewer levels, the root comes in its own level's first place.
        """
        base = self._base

        def look(found: tuple[int, Node, Node | None]) -> _Shared | tuple[Opened, Opened | None, dict[int, Entry]]:
            position, node, known = found
            if base is not None and level == base.root.levels - 1 and position == 0:
                known = known or base.root.node
            same = known is not None and (known.digest, known.blocks) == (node.digest, node.blocks)
            if known is not None and same and base is not None and not base.damaged:
                return _Shared(level, position, known)
            before = earlier.beside(Leaf(position)).earlier if earlier and not level else None
            opened = source.open(level, position, node)
            return opened, _opened(base, level, position, known) if base and known else None, _entries(before)

        for found in ordered(self._readers, look, nodes, _NODES_AHEAD):
            if isinstance(found, _Shared):
                yield found
                continue
            opened, before, attempted = found
            if level:
                known = dict(before.children) if before else {}
                below = ((at, child, known.get(at)) for at, child in opened.children)
                yield from self._walk(source, level - 1, below, earlier)
            else:
                entries = before.entries if before else ()
                damaged = base.damaged if base else ()
                kept = {each.index: each for each in entries if not _is_in(damaged, each.index)}
                yield _Leaf(opened, kept, attempted)

    def _pieces(self, walked: Iterator[_Shared | _Leaf]) -> Iterator[_Piece]:
        for found in walked:
            if isinstance(found, _Leaf):
                yield from ranges(each for each in found.opened.entries if found.found(each) is None)
            yield found

    def _finish(self, leaf: _Leaf, copied: dict[int, Entry], writer: VolumeWriter) -> list[Entry]:
        """Add a leaf's blocks to the tree; those that were there already."""
        taken = []
        for each in leaf.opened.entries:
            entry = copied.get(each.index)
            if entry is None:
                entry = leaf.found(each)
                assert entry is not None
                taken.append(entry)
            writer.add(entry)
        return taken

    def _read(self, piece: _Piece) -> tuple[_Piece, list[tuple[Entry, bytes]]]:
        """A piece, and of a range its blocks: compressed as they were, and verified."""
        if not isinstance(piece, Range):
            return piece, []
        side, pack = self._source, piece.entries[0].location.pack
        body = side.store.get_range(layout.pack_key(side.place.resource, pack), piece.start, piece.length)
        reader = PackReader(side.place.resource, side.key, pack)
        read = []
        for entry in piece.entries:
            at = entry.location
            frame = body[at.offset - piece.start : at.offset - piece.start + at.length]
            read.append((entry, reader.frame(at, frame, side.place.volume_id, entry.index, entry.digest)[0]))
        return piece, read


def _opened(base: Base, level: int, position: int, node: Node) -> Opened | None:
    """A node of the base; what is damaged there is copied anew."""
    try:
        return base.reader.open(level, position, node)
    except (SealBroken, ObjectNotFound):
        return None


def _entries(leaf: Leaf | None) -> dict[int, Entry]:
    return leaf.entries if leaf else {}


def _is_in(damaged: tuple[BlockRange, ...], index: int) -> bool:
    return any(each.first <= index <= each.last for each in damaged)
