# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees: where the blocks of a volume lie. A leaf covers 1,024 blocks, a node above it 1,024 nodes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from ..blocks import FANOUT, levels_of, node_digest
from ..objects import ObjectStore
from . import seal
from .layout import ResourceName, node_key
from .packs import Location

_ENTRY = struct.Struct(">H32sHHII")  # slot, SHA-256, number of the pack in the table, frame, offset, length
_CHILD = struct.Struct(">H32sI32s")  # slot, id, blocks, digest
_COUNT = struct.Struct(">H")
_PACK = struct.Struct(f">{seal.ID_BYTES}s{seal.KEY_ID_BYTES}s")  # id, id of the key that sealed it

Put = Callable[[str, bytes], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Each(Protocol):
    """How many things are done: one after the other as ``map`` does, or by several threads. In the order of items."""

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        """The results."""


@dataclass(frozen=True)
class Entry:
    """A block that is not zeros."""

    index: int
    digest: bytes
    location: Location


@dataclass(frozen=True)
class Node:
    """A node as the one above it names it: how many blocks below it are not zeros, and the digest of what it holds."""

    id: bytes
    blocks: int
    digest: bytes


@dataclass(frozen=True)
class Root:
    """The tree of a volume of ``size`` blocks; ``node`` is None when none of them is written."""

    node: Node | None
    size: int

    @property
    def id(self) -> str | None:
        """Hexadecimal."""
        return self.node.id.hex() if self.node else None

    @property
    def levels(self) -> int:
        """How many levels it has; the leaves are one."""
        return levels_of(self.size)

    @property
    def blocks(self) -> int:
        """How many are written and not zeros."""
        return self.node.blocks if self.node else 0

    @property
    def digest(self) -> str:
        """The volume's digest, hexadecimal."""
        return (self.node.digest if self.node else node_digest(self.levels - 1, ())).hex()


@dataclass(frozen=True)
class Opened:
    """A node that was read. A leaf (level 0) has entries, another node (position, child); both ascending."""

    level: int
    position: int
    node: Node
    entries: tuple[Entry, ...] = ()
    children: tuple[tuple[int, Node], ...] = ()


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


class NodeWriter:
    """Writes single nodes of a place. They begin with random bytes of its own, so that none bears the id of another
    writer's: one that a sweep is about to delete cannot be written again, only be shared through a tree that refers to
    it.
    """

    def __init__(self, place: Place, resource_key: bytes, put: Put) -> None:
        self._place = place
        self._key = resource_key
        self._put = put
        self._nonce = seal.new_id()

    def leaf(self, entries: Sequence[Entry]) -> Node:
        """A leaf of these blocks, at least one, ascending."""
        packs = sorted({(entry.location.pack, entry.location.key) for entry in entries})
        numbers = {pack: number for number, pack in enumerate(packs)}
        parts = [_COUNT.pack(len(packs)), *(_PACK.pack(*pack) for pack in packs)]
        for entry in entries:
            at = entry.location
            slot = entry.index % FANOUT
            parts.append(_ENTRY.pack(slot, entry.digest, numbers[at.pack, at.key], at.frame, at.offset, at.length))
        digest = node_digest(0, ((entry.index, entry.digest) for entry in entries))
        return self._write(0, entries[0].index // FANOUT, b"".join(parts), len(entries), digest)

    def inner(self, level: int, children: Sequence[tuple[int, Node]]) -> Node:
        """A node above these (position, node), at least one, ascending."""
        text = b"".join(_CHILD.pack(at % FANOUT, child.id, child.blocks, child.digest) for at, child in children)
        digest = node_digest(level, ((at, child.digest) for at, child in children))
        return self._write(level, children[0][0] // FANOUT, text, sum(child.blocks for _, child in children), digest)

    def _write(self, level: int, position: int, text: bytes, blocks: int, digest: bytes) -> Node:
        plain, place = self._nonce + text, self._place.of(level, position)
        identity = seal.node_id(self._key, place, plain)
        self._put(node_key(self._place.resource, identity), seal.seal_object("node", self._key, identity, plain, place))
        return Node(identity, blocks, digest)


class TreeWriter:
    """Writes a tree from its blocks in ascending order; holds one unfinished node a level."""

    def __init__(self, place: Place, resource_key: bytes, size: int, put: Put) -> None:
        self._nodes = NodeWriter(place, resource_key, put)
        self._size = size
        self._levels = levels_of(size)
        self._leaf: list[Entry] = []
        self._inner: list[list[tuple[int, Node]]] = [[] for _ in range(self._levels)]
        self._root: Node | None = None
        self._last = -1

    def add(self, entry: Entry) -> None:
        """Add a block; raises ValueError when it does not come after the last one, or is none of the volume's."""
        self._go_to(entry.index, entry.index)
        if self._leaf and entry.index // FANOUT != self._leaf[0].index // FANOUT:
            self._end_leaf()
        self._leaf.append(entry)

    def share(self, level: int, position: int, node: Node) -> None:
        """Add all that lies below a node of another tree of this place; raises as add does."""
        if level >= self._levels:
            raise ValueError(f"a tree of {self._levels} levels has no node of level {level}")
        span = FANOUT ** (level + 1)
        self._go_to(position * span, (position + 1) * span - 1)
        self._end_leaf()
        for below in range(1, level + 1):
            self._end_inner(below)
        self._up(level, position, node)

    def finish(self) -> Root:
        """Write what is unfinished, up to the root."""
        self._end_leaf()
        for level in range(1, self._levels):
            self._end_inner(level)
        return Root(self._root, self._size)

    def so_far(self) -> Root:
        """A tree of what was added until now, whose last leaf ends with it; the nodes above leaves are its own."""
        self._end_leaf()
        made = copy(self)
        made._inner = [list(each) for each in self._inner]
        return made.finish()

    def _go_to(self, first: int, last: int) -> None:
        if not self._last < first < self._size:
            raise ValueError(f"block {first} comes after block {self._last} of {self._size}")
        self._last = last

    def _end_leaf(self) -> None:
        leaf, self._leaf = self._leaf, []
        if not leaf:
            return
        self._up(0, leaf[0].index // FANOUT, self._nodes.leaf(leaf))

    def _end_inner(self, level: int) -> None:
        pending, self._inner[level] = self._inner[level], []
        if not pending:
            return
        self._up(level, pending[0][0] // FANOUT, self._nodes.inner(level, pending))

    def _up(self, level: int, position: int, node: Node) -> None:
        """Hand a node to the one above it."""
        above = level + 1
        if above == self._levels:
            self._root = node
            return
        pending = self._inner[above]
        if pending and pending[0][0] // FANOUT != position // FANOUT:
            self._end_inner(above)
        self._inner[above].append((position, node))


class TreeReader:
    """Walks through a tree. What it raises where the tree is damaged is SealBroken or ObjectNotFound."""

    def __init__(self, place: Place, resource_key: bytes, root: Root, store: ObjectStore) -> None:
        self._place = place
        self._key = resource_key
        self._root = root
        self._store = store

    def entries(self, each: Each = map) -> Iterator[Entry]:
        """All blocks in ascending order."""
        for opened in self.walk(set(), each):
            yield from opened.entries

    def walk(self, seen: set[bytes], each: Each = map) -> Iterator[Opened]:
        """All nodes in ascending order, each before those below it.

        A node whose id is in ``seen`` is left out with all that lies below it, since trees share nodes; the ids of the
        others are added.
        """
        if self._root.node is not None:
            yield from self._walk(self._root.levels - 1, ((0, self._root.node),), seen, each)

    def _walk(self, level: int, nodes: Iterable[tuple[int, Node]], seen: set[bytes], each: Each) -> Iterator[Opened]:
        unseen = (found for found in nodes if found[1].id not in seen)
        for opened in each(lambda found: self.open(level, *found), unseen):
            seen.add(opened.node.id)
            yield opened
            if level:
                yield from self._walk(level - 1, opened.children, seen, each)

    def open(self, level: int, position: int, node: Node) -> Opened:
        """Read one node, and verify that it is what the one above it says."""
        key, place = node_key(self._place.resource, node.id), self._place.of(level, position)
        body = self._store.get(key).body
        sealed_with, plain = seal.open_with_key("node", self._key, body, place, what=key, identity=node.id)
        if seal.node_id(sealed_with, place, plain) != node.id:
            raise seal.SealBroken(key)
        try:
            opened = _parsed(level, position, node, plain[seal.ID_BYTES :])
        except (struct.error, IndexError, ValueError) as error:
            raise seal.SealBroken(key, f"is no node: {error}") from error
        if opened.entries:
            below = [(entry.index, entry.digest) for entry in opened.entries]
            blocks = len(below)
        else:
            below = [(at, child.digest) for at, child in opened.children]
            blocks = sum(child.blocks for _, child in opened.children)
        if blocks != node.blocks or node_digest(level, below) != node.digest:
            raise seal.SealBroken(key, f"holds {blocks} blocks, not the {node.blocks} that it should")
        last = below[-1][0] * FANOUT**level
        if last >= self._root.size:
            raise seal.SealBroken(key, f"holds block {last} of {self._root.size}")
        return opened


def _parsed(level: int, position: int, node: Node, text: bytes) -> Opened:
    first = position * FANOUT
    if level:
        found = [(first + slot, Node(*child)) for slot, *child in _CHILD.iter_unpack(text)]
        _check([at - first for at, _ in found])
        return Opened(level, position, node, children=tuple(found))
    (count,) = _COUNT.unpack_from(text)
    start = _COUNT.size + count * _PACK.size
    packs = list(_PACK.iter_unpack(text[_COUNT.size : start]))
    entries = [
        Entry(first + slot, digest, Location(*packs[number], *at))
        for slot, digest, number, *at in _ENTRY.iter_unpack(text[start:])
    ]
    _check([entry.index - first for entry in entries])
    return Opened(level, position, node, entries=tuple(entries))


def _check(slots: list[int]) -> None:
    if not slots or slots[-1] >= FANOUT or any(after <= before for before, after in pairwise(slots)):
        raise ValueError("its slots do not ascend")
