# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of a volume and the digest over them."""

from __future__ import annotations

import hashlib

# An EBS block (https://docs.aws.amazon.com/ebs/latest/userguide/ebs-accessing-snapshot.html).
BLOCK_SIZE = 512 * 1024
BLOCKS_PER_GIB = 2048
ZERO_DIGEST = hashlib.sha256(bytes(BLOCK_SIZE)).digest()


class VolumeDigest:
    """SHA-256 over (index as 8 bytes, SHA-256 of the block) of all blocks that are not zeros, in ascending order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._last = -1

    def add(self, index: int, sha256: bytes) -> None:
        """Add a block; raises ValueError when it does not come after the last one. Blocks of zeros count as holes."""
        if index <= self._last:
            raise ValueError(f"block {index} comes after block {self._last}")
        self._last = index
        if sha256 != ZERO_DIGEST:
            self._hash.update(index.to_bytes(8, "big") + sha256)

    def hexdigest(self) -> str:
        """The digest of what has been added."""
        return self._hash.hexdigest()
