# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of a volume, the tree that they stand in, and the digest over them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

# An EBS block (https://docs.aws.amazon.com/ebs/latest/userguide/ebs-accessing-snapshot.html).
BLOCK_SIZE = 512 * 1024
BLOCKS_PER_GIB = 2048
ZERO_DIGEST = hashlib.sha256(bytes(BLOCK_SIZE)).digest()
# A leaf covers so many blocks, a node above it so many nodes.
FANOUT = 1024
# Three levels cover 2^30 blocks, 512 TiB: more than any volume has.
MAXIMUM_LEVELS = 3


def levels_of(size: int) -> int:
    """How many levels a volume of so many blocks needs; raises ValueError when there is no such volume."""
    levels, covered = 1, FANOUT
    while covered < size:
        levels, covered = levels + 1, covered * FANOUT
    if size < 1 or levels > MAXIMUM_LEVELS:
        raise ValueError(f"no tree has {size} blocks")
    return levels


def node_digest(level: int, children: Iterable[tuple[int, bytes]]) -> bytes:
    """The digest of a node of a level (leaves are level 0): of what it holds, not of where that is stored.

    ``children`` are (position, digest), ascending; those of a leaf are its blocks that are not zeros, with their
    indexes and SHA-256.
    """
    parts = [position.to_bytes(8, "big") + digest for position, digest in children]
    return hashlib.sha256(level.to_bytes(1, "big") + b"".join(parts)).digest()


class VolumeDigest:
    """The digest of a volume of ``size`` blocks, that of its root, made from its blocks one after the other."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._last = -1
        self._nodes: list[list[tuple[int, bytes]]] = [[] for _ in range(levels_of(size))]

    def add(self, index: int, sha256: bytes) -> None:
        """Add a block; raises ValueError when it does not come after the last one, or is none of the volume's.

        Blocks of zeros count as holes.
        """
        if not self._last < index < self._size:
            raise ValueError(f"block {index} comes after block {self._last} of {self._size}")
        self._last = index
        if sha256 != ZERO_DIGEST:
            self._add(0, index, sha256)

    def hexdigest(self) -> str:
        """The digest of what has been added; nothing can be added any more."""
        self._last = self._size
        for level in range(len(self._nodes) - 1):
            self._end(level)
        return node_digest(len(self._nodes) - 1, self._nodes[-1]).hex()

    def _add(self, level: int, position: int, digest: bytes) -> None:
        node = self._nodes[level]
        if node and node[0][0] // FANOUT != position // FANOUT:
            self._end(level)
        self._nodes[level].append((position, digest))

    def _end(self, level: int) -> None:
        node, self._nodes[level] = self._nodes[level], []
        if node:
            self._add(level + 1, node[0][0] // FANOUT, node_digest(level, node))
