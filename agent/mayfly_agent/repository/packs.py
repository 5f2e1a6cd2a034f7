# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs: blocks of a resource one after the other, each compressed and sealed by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256 as hash_sha256

import zstandard

from ..blocks import BLOCK_SIZE
from . import seal
from .layout import ResourceName, pack_key

TARGET_BYTES = 16 * 1024 * 1024
# Blocks that compress to almost nothing must not make a pack whose list outgrows it.
MAXIMUM_FRAMES = 4096
_TRAILER_COUNTER = 2**64 - 1
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Location:
    """Where a sealed block lies: the pack, the number of its frame, and its bytes in the object."""

    pack: bytes
    frame: int
    offset: int
    length: int


def associated(resource: ResourceName, volume_id: str, index: int, digest: bytes) -> bytes:
    """What a block's seal is bound to beside its pack: nothing can be moved to another place."""
    return b"\0".join((b"block", resource.path.encode(), volume_id.encode())) + index.to_bytes(8, "big") + digest


class PackWriter:
    """One pack in the making, at most a little more than TARGET_BYTES in memory."""

    def __init__(self, resource: ResourceName, resource_key: bytes) -> None:
        self.id = seal.new_id()
        self._resource = resource
        self._sealer = seal.Sealer("pack", resource_key, self.id)
        head = seal.header("pack", self.id)
        self._parts = [head]
        self._frames: list[tuple[str, int, str, int, int]] = []
        self.size = len(head)

    @property
    def full(self) -> bool:
        """Whether no more should be added."""
        return self.size >= TARGET_BYTES or len(self._frames) >= MAXIMUM_FRAMES

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return not self._frames

    def add(self, volume_id: str, index: int, digest: bytes, compressed: bytes) -> Location:
        """Seal a block that is a zstd frame already."""
        number = len(self._frames)
        sealed = self._sealer.seal(number, compressed, associated(self._resource, volume_id, index, digest))
        location = Location(self.id, number, self.size, len(sealed))
        self._parts.append(sealed)
        self._frames.append((volume_id, index, digest.hex(), location.offset, location.length))
        self.size += len(sealed)
        return location

    def finish(self) -> tuple[str, bytes]:
        """(key, bytes) of the whole object, with the list of its blocks at the end."""
        plain = zstandard.ZstdCompressor().compress(json.dumps(self._frames, separators=(",", ":")).encode())
        trailer = self._sealer.seal(_TRAILER_COUNTER, plain, b"trailer\0" + self._resource.path.encode())
        self._parts += [trailer, len(trailer).to_bytes(_LENGTH_BYTES, "big")]
        return pack_key(self._resource, self.id), b"".join(self._parts)


class PackReader:
    """Opens the frames of one pack."""

    def __init__(self, resource: ResourceName, resource_key: bytes, pack_id: bytes) -> None:
        self._resource = resource
        self._sealer = seal.Sealer("pack", resource_key, pack_id)
        self._name = pack_key(resource, pack_id)

    def block(self, location: Location, frame: bytes, volume_id: str, index: int, digest: bytes) -> bytes:
        """The block itself, verified; raises SealBroken."""
        what = f"Block {index} of {volume_id} in {self._name}"
        place = associated(self._resource, volume_id, index, digest)
        plain = self._sealer.open(location.frame, frame, place, what)
        try:
            block = zstandard.ZstdDecompressor().decompress(plain, max_output_size=BLOCK_SIZE)
        except zstandard.ZstdError as error:
            raise seal.SealBroken(what) from error
        if len(block) != BLOCK_SIZE or hash_sha256(block).digest() != digest:
            raise seal.SealBroken(what)
        return block

    def contents(self, body: bytes) -> Iterator[tuple[str, int, bytes, int, int]]:
        """(volume, index, SHA-256, offset, length) of every block of a whole pack; raises SealBroken."""
        length = int.from_bytes(body[-_LENGTH_BYTES:], "big")
        sealed = body[-_LENGTH_BYTES - length : -_LENGTH_BYTES]
        what = f"The list of blocks in {self._name}"
        plain = self._sealer.open(_TRAILER_COUNTER, sealed, b"trailer\0" + self._resource.path.encode(), what)
        for volume_id, index, digest, offset, size in json.loads(zstandard.ZstdDecompressor().decompress(plain)):
            yield volume_id, index, bytes.fromhex(digest), offset, size
