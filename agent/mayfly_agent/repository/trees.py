# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees: where the blocks of a volume lie. A leaf covers 1,024 blocks, a node above it 1,024 nodes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zstandard

from ..objects import ObjectStore
from . import seal
from .layout import ResourceName, node_key
from .packs import Location

FANOUT = 1024
NODE_ID_BYTES = 32
_ENTRY = struct.Struct(">H32sHHII")  # slot, SHA-256, number of the pack in the table, frame, offset, length
_CHILD = struct.Struct(">H32s")  # slot, id
_COUNT = struct.Struct(">H")

Put = Callable[[str, bytes], None]


@dataclass(frozen=True)
class Entry:
    """A block that is not zeros."""

    index: int
    digest: bytes
    location: Location


@dataclass(frozen=True)
class Root:
    """A finished tree: ``id`` is None when the volume has no block at all; ``levels`` counts the leaves' as one."""

    id: bytes | None
    levels: int
    blocks: int


def levels_of(blocks: int) -> int:
    """How many levels a volume of so many blocks needs."""
    levels, covered = 1, FANOUT
    while covered < blocks:
        levels, covered = levels + 1, covered * FANOUT
    return levels


@dataclass(frozen=True)
class Place:
    """Whose tree it is; with level and position, what a node's seal is bound to."""

    resource: ResourceName
    volume_id: str

    def of(self, level: int, position: int) -> bytes:
        """A node's place."""
        return f"{self.resource.path}\0{self.volume_id}\0{level}\0{position}".encode()


class TreeWriter:
    """Writes a tree from its blocks in ascending order; holds one unfinished node a level."""

    def __init__(self, place: Place, resource_key: bytes, size_blocks: int, put: Put) -> None:
        self._place = place
        self._key = resource_key
        self._put = put
        self._levels = levels_of(size_blocks)
        self._leaf: list[Entry] = []
        self._inner: list[list[tuple[int, bytes]]] = [[] for _ in range(self._levels)]
        self._count = 0

    def add(self, entry: Entry) -> None:
        """Add a block; raises ValueError when it does not come after the last one."""
        if self._leaf and entry.index <= self._leaf[-1].index:
            raise ValueError(f"block {entry.index} comes after block {self._leaf[-1].index}")
        if self._leaf and entry.index // FANOUT != self._leaf[0].index // FANOUT:
            self._end_leaf()
        self._leaf.append(entry)
        self._count += 1

    def finish(self) -> Root:
        """Write what is unfinished, up to the root."""
        if not self._count:
            return Root(None, self._levels, 0)
        self._end_leaf()
        for level in range(1, self._levels):
            self._end_inner(level)
        (_, root), *_ = self._inner[0]
        return Root(root, self._levels, self._count)

    def _end_leaf(self) -> None:
        packs = sorted({entry.location.pack for entry in self._leaf})
        numbers = {pack: number for number, pack in enumerate(packs)}
        parts = [_COUNT.pack(len(packs)), *packs]
        for entry in self._leaf:
            at = entry.location
            slot = entry.index % FANOUT
            parts.append(_ENTRY.pack(slot, entry.digest, numbers[at.pack], at.frame, at.offset, at.length))
        position = self._leaf[0].index // FANOUT
        self._leaf = []
        self._up(0, position, self._write(0, position, b"".join(parts)))

    def _up(self, level: int, position: int, node: bytes) -> None:
        """Hand a node to the one above it; the highest waits in level 0 of the list as the root."""
        above = level + 1
        if above == self._levels:
            self._inner[0] = [(position, node)]
            return
        pending = self._inner[above]
        if pending and pending[0][0] // FANOUT != position // FANOUT:
            self._end_inner(above)
        self._inner[above].append((position, node))

    def _end_inner(self, level: int) -> None:
        pending, self._inner[level] = self._inner[level], []
        if not pending:
            return
        position = pending[0][0] // FANOUT
        plain = b"".join(_CHILD.pack(child % FANOUT, node) for child, node in pending)
        self._up(level, position, self._write(level, position, plain))

    def _write(self, level: int, position: int, plain: bytes) -> bytes:
        place = self._place.of(level, position)
        identity = seal.node_id(self._key, plain, place)
        body = seal.seal_object("node", self._key, identity, zstandard.ZstdCompressor().compress(plain), place)
        self._put(node_key(self._place.resource, identity), body)
        return identity


class TreeReader:
    """Reads a tree; one node a level is in memory."""

    def __init__(self, place: Place, resource_key: bytes, root: Root, store: ObjectStore) -> None:
        self._place = place
        self._key = resource_key
        self._root = root
        self._store = store

    def entries(self) -> Iterator[Entry]:
        """All blocks in ascending order; raises SealBroken or ObjectNotFound where the tree is damaged."""
        if self._root.id is not None:
            yield from self._below(self._root.levels - 1, 0, self._root.id)

    def _below(self, level: int, position: int, identity: bytes) -> Iterator[Entry]:
        plain = self._read(level, position, identity)
        if level == 0:
            yield from _leaf_entries(plain, position * FANOUT)
            return
        for slot, child in _CHILD.iter_unpack(plain):
            yield from self._below(level - 1, position * FANOUT + slot, child)

    def _read(self, level: int, position: int, identity: bytes) -> bytes:
        key = node_key(self._place.resource, identity)
        place = self._place.of(level, position)
        packed = seal.open_object("node", self._key, self._store.get(key), place, what=key, id_bytes=NODE_ID_BYTES)
        plain = zstandard.ZstdDecompressor().decompress(packed)
        if seal.node_id(self._key, plain, place) != identity:
            raise seal.SealBroken(key)
        return plain


def _leaf_entries(plain: bytes, first: int) -> Iterator[Entry]:
    (count,) = _COUNT.unpack_from(plain)
    start = _COUNT.size
    packs = [plain[at : at + seal.ID_BYTES] for at in range(start, start + count * seal.ID_BYTES, seal.ID_BYTES)]
    for slot, digest, number, frame, offset, length in _ENTRY.iter_unpack(plain[start + count * seal.ID_BYTES :]):
        yield Entry(first + slot, digest, Location(packs[number], frame, offset, length))
