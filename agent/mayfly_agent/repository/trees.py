# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees: where the blocks of a volume lie. A leaf covers 1,024 blocks, a node above it 1,024 nodes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TypeVar

from ..objects import ObjectStore
from . import seal
from .layout import ResourceName, node_key
from .packs import Location

FANOUT = 1024
# Three levels cover 2^30 blocks, 512 TiB: more than any volume has.
MAXIMUM_LEVELS = 3
_ENTRY = struct.Struct(">H32sHHII")  # slot, SHA-256, number of the pack in the table, frame, offset, length
_CHILD = struct.Struct(">H32s")  # slot, id
_COUNT = struct.Struct(">H")
_PACK = struct.Struct(f">{seal.ID_BYTES}s{seal.KEY_ID_BYTES}s")  # id, id of the key that sealed it

Put = Callable[[str, bytes], None]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Entry:
    """A block that is not zeros."""

    index: int
    digest: bytes
    location: Location


@dataclass(frozen=True)
class Root:
    """A finished tree of a volume of ``size`` blocks: ``id`` is None when none of them is written.

    ``blocks`` counts those that are written and not zeros.
    """

    id: bytes | None
    size: int
    blocks: int

    @property
    def levels(self) -> int:
        """How many levels it has; the leaves are one."""
        return levels_of(self.size)


def levels_of(size: int) -> int:
    """How many levels a volume of so many blocks needs; raises ValueError when there is no such volume."""
    levels, covered = 1, FANOUT
    while covered < size:
        levels, covered = levels + 1, covered * FANOUT
    if size < 1 or levels > MAXIMUM_LEVELS:
        raise ValueError(f"no tree has {size} blocks")
    return levels


@dataclass(frozen=True)
class Place:
    """Whose tree it is; with level and position, what a node's seal is bound to.

    Neither depends on the volume's size, so that a volume that grows keeps its nodes and gets others above them.
    """

    resource: ResourceName
    volume_id: str

    def of(self, level: int, position: int) -> bytes:
        """A node's place."""
        at = level.to_bytes(1, "big"), position.to_bytes(8, "big")
        return seal.fields(b"node", self.resource.path.encode(), self.volume_id.encode(), *at)


class TreeWriter:
    """Writes a tree from its blocks in ascending order; holds one unfinished node a level."""

    def __init__(self, place: Place, resource_key: bytes, size: int, put: Put) -> None:
        self._place = place
        self._key = resource_key
        self._put = put
        self._size = size
        self._levels = levels_of(size)
        self._leaf: list[Entry] = []
        self._inner: list[list[tuple[int, bytes]]] = [[] for _ in range(self._levels)]
        self._count = 0
        self._last = -1

    def add(self, entry: Entry) -> None:
        """Add a block; raises ValueError when it does not come after the last one, or is none of the volume's."""
        if not self._last < entry.index < self._size:
            raise ValueError(f"block {entry.index} comes after block {self._last} of {self._size}")
        self._last = entry.index
        if self._leaf and entry.index // FANOUT != self._leaf[0].index // FANOUT:
            self._end_leaf()
        self._leaf.append(entry)
        self._count += 1

    def finish(self) -> Root:
        """Write what is unfinished, up to the root."""
        if not self._count:
            return Root(None, self._size, 0)
        self._end_leaf()
        for level in range(1, self._levels):
            self._end_inner(level)
        (_, root), *_ = self._inner[0]
        return Root(root, self._size, self._count)

    def _end_leaf(self) -> None:
        packs = sorted({(entry.location.pack, entry.location.key) for entry in self._leaf})
        numbers = {pack: number for number, pack in enumerate(packs)}
        parts = [_COUNT.pack(len(packs)), *(_PACK.pack(*pack) for pack in packs)]
        for entry in self._leaf:
            at = entry.location
            slot = entry.index % FANOUT
            parts.append(_ENTRY.pack(slot, entry.digest, numbers[at.pack, at.key], at.frame, at.offset, at.length))
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
        identity = seal.node_id(self._key, place, plain)
        self._put(node_key(self._place.resource, identity), seal.seal_object("node", self._key, identity, plain, place))
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
        what = f"The tree of {self._place.volume_id} of {self._place.resource.path}"
        count = 0
        if self._root.id is not None:
            for entry in self._below(self._root.levels - 1, 0, self._root.id):
                if entry.index >= self._root.size:
                    raise seal.SealBroken(what, f"holds block {entry.index} of {self._root.size}")
                count += 1
                yield entry
        if count != self._root.blocks:
            raise seal.SealBroken(what, f"holds {count} blocks, not {self._root.blocks}")

    def _below(self, level: int, position: int, identity: bytes) -> Iterator[Entry]:
        if level == 0:
            yield from self._read(level, position, identity, partial(_leaf_entries, position * FANOUT))
            return
        for slot, child in self._read(level, position, identity, _children):
            yield from self._below(level - 1, position * FANOUT + slot, child)

    def _read(self, level: int, position: int, identity: bytes, parse: Callable[[bytes], list[Item]]) -> list[Item]:
        key = node_key(self._place.resource, identity)
        place = self._place.of(level, position)
        plain = seal.open_object("node", self._key, self._store.get(key), place, what=key, identity=identity)
        if seal.node_id(self._key, place, plain) != identity:
            raise seal.SealBroken(key)
        try:
            return parse(plain)
        except (struct.error, IndexError, ValueError) as error:
            raise seal.SealBroken(key, f"is no node: {error}") from error


def _leaf_entries(first: int, plain: bytes) -> list[Entry]:
    (count,) = _COUNT.unpack_from(plain)
    start = _COUNT.size + count * _PACK.size
    packs = list(_PACK.iter_unpack(plain[_COUNT.size : start]))
    entries: list[Entry] = []
    for slot, digest, number, frame, offset, length in _ENTRY.iter_unpack(plain[start:]):
        pack, key = packs[number]
        entries.append(Entry(first + slot, digest, Location(pack, key, frame, offset, length)))
    _check_slots([entry.index - first for entry in entries])
    return entries


def _children(plain: bytes) -> list[tuple[int, bytes]]:
    children = list(_CHILD.iter_unpack(plain))
    _check_slots([slot for slot, _ in children])
    return children


def _check_slots(slots: list[int]) -> None:
    if not slots or slots[-1] >= FANOUT or any(after <= before for before, after in pairwise(slots)):
        raise ValueError("its slots do not ascend")
