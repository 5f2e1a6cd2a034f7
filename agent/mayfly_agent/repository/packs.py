# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs: blocks of a resource one after the other, each compressed and sealed by itself, and a list of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256 as hash_sha256

from ..blocks import BLOCK_SIZE
from . import seal
from .compression import decompress
from .layout import ResourceName, pack_key

TARGET_BYTES = 16 * 1024 * 1024
# Blocks that compress to almost nothing must not make a pack whose list outgrows it.
MAXIMUM_FRAMES = 4096
# No writer makes a longer list, and the end of a pack that is read to find it is no longer.
MAXIMUM_LIST_BYTES = 1024 * 1024
# Of a list, what is not about its frames: the seal, its length, and the name of a volume.
_LIST_BYTES = 48
_LIST_COUNTER = 2**64 - 1
_LENGTH = struct.Struct(">I")
_COUNT = struct.Struct(">H")
_FRAME = struct.Struct(">HQ32sI")  # number of the volume in the table, index, SHA-256, length


@dataclass(frozen=True)
class Location:
    """Where a sealed block lies: the pack and the id of its key, the number of its frame, its bytes in the object."""

    pack: bytes
    key: bytes
    frame: int
    offset: int
    length: int


@dataclass(frozen=True)
class Listed:
    """A block as the list of its pack names it."""

    volume_id: str
    index: int
    digest: bytes
    location: Location


def associated(resource: ResourceName, volume_id: str, index: int, digest: bytes) -> bytes:
    """What a block's seal is bound to beside its pack: nothing can be moved to another place."""
    return seal.fields(b"block", resource.path.encode(), volume_id.encode(), index.to_bytes(8, "big"), digest)


def length_of(count: int, frames: int) -> int:
    """Bytes of a pack of so many frames, of so many bytes together: with its list, which is longer than tiny frames."""
    return seal.header_bytes("pack") + frames + count * _FRAME.size + _LIST_BYTES


class PackWriter:
    """One pack in the making, at most a little more than TARGET_BYTES in memory."""

    def __init__(self, resource: ResourceName, resource_key: bytes) -> None:
        self.id = seal.new_id()
        self._resource = resource
        self._key = seal.key_id(resource_key)
        self._sealer = seal.Sealer("pack", resource_key, self.id)
        head = seal.header("pack", resource_key, self.id)
        self._parts = [head]
        self._volumes: dict[bytes, int] = {}
        self._frames: list[bytes] = []
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
        """Seal a block that is a zstd frame already; raises ValueError when the pack is full or finished."""
        number = len(self._frames)
        if self.full:
            raise ValueError("the pack is full")
        sealed = self._sealer.seal(number, compressed, associated(self._resource, volume_id, index, digest))
        location = Location(self.id, self._key, number, self.size, len(sealed))
        volume = self._volumes.setdefault(volume_id.encode(), len(self._volumes))
        self._parts.append(sealed)
        self._frames.append(_FRAME.pack(volume, index, digest, location.length))
        self.size += len(sealed)
        return location

    def finish(self) -> tuple[str, bytes]:
        """(key, bytes) of the whole object, with the list of its blocks at the end; once."""
        volumes = [_COUNT.pack(len(self._volumes)), *(_COUNT.pack(len(each)) + each for each in self._volumes)]
        place = _list_place(self._resource)
        listed = self._sealer.seal(_LIST_COUNTER, b"".join(volumes + self._frames), place)
        if len(listed) > MAXIMUM_LIST_BYTES - _LENGTH.size:
            raise ValueError(f"the list of a pack has {len(listed)} bytes")
        self._parts += [listed, _LENGTH.pack(len(listed))]
        return pack_key(self._resource, self.id), b"".join(self._parts)


class PackReader:
    """Opens the frames of one pack."""

    def __init__(self, resource: ResourceName, resource_key: bytes, pack_id: bytes) -> None:
        self._resource = resource
        self._resource_key = resource_key
        self._id = pack_id
        self._sealers: dict[bytes, seal.Sealer] = {}
        self._name = pack_key(resource, pack_id)

    def block(self, location: Location, frame: bytes, volume_id: str, index: int, digest: bytes) -> bytes:
        """The block itself, verified; raises SealBroken."""
        return self.frame(location, frame, volume_id, index, digest)[1]

    def frame(self, location: Location, frame: bytes, volume_id: str, index: int, digest: bytes) -> tuple[bytes, bytes]:
        """(the block compressed, the block itself), verified; raises SealBroken."""
        what = f"Block {index} of {volume_id} in {self._name}"
        sealer = self._sealer(location.key, what)
        plain = sealer.open(location.frame, frame, associated(self._resource, volume_id, index, digest), what)
        block = decompress(plain, BLOCK_SIZE, what)
        if len(block) != BLOCK_SIZE or hash_sha256(block).digest() != digest:
            raise seal.SealBroken(what)
        return plain, block

    def contents(self, end: bytes, size: int) -> Iterator[Listed]:
        """Every block in order of its place, from the ``end`` of a pack of ``size`` bytes; raises SealBroken.

        MAXIMUM_LIST_BYTES are always enough of an end; the whole object may be given, and its beginning is checked
        then too. That the blocks fill the object to the byte is checked always.
        """
        what = f"The list of blocks in {self._name}"
        if len(end) == size and seal.read_header("pack", self._resource_key, end, what)[1] != self._id:
            raise seal.SealBroken(what)
        (length,) = _LENGTH.unpack(end[-_LENGTH.size :]) if len(end) >= _LENGTH.size else (0,)
        start = len(end) - _LENGTH.size - length
        if start < 0 or not seal.TAG_BYTES <= length <= MAXIMUM_LIST_BYTES - _LENGTH.size:
            raise seal.SealBroken(what)
        key, plain = self._opened_list(end[start : start + length], what)
        try:
            listed = list(self._parsed(plain, key))
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise seal.SealBroken(what) from error
        blocks_end = sum(each.location.length for each in listed) + seal.header_bytes("pack")
        if blocks_end != size - _LENGTH.size - length:
            raise seal.SealBroken(what)
        yield from listed

    def _sealer(self, key: bytes, what: str) -> seal.Sealer:
        """For the key of that id; raises OtherKey."""
        if key not in self._sealers:
            self._sealers[key] = seal.Sealer("pack", seal.key_of(self._resource_key, key, what), self._id)
        return self._sealers[key]

    def _opened_list(self, sealed: bytes, what: str) -> tuple[bytes, bytes]:
        """(id of the key, the list): the end of a pack does not say which key has sealed it."""
        for key in map(seal.key_id, seal.every(self._resource_key)):
            try:
                return key, self._sealer(key, what).open(_LIST_COUNTER, sealed, _list_place(self._resource), what)
            except seal.SealBroken:
                continue
        raise seal.SealBroken(what)

    def _parsed(self, plain: bytes, key: bytes) -> Iterator[Listed]:
        (count,) = _COUNT.unpack_from(plain)
        at, volumes = _COUNT.size, []
        for _ in range(count):
            (length,) = _COUNT.unpack_from(plain, at)
            at += _COUNT.size + length
            volumes.append(plain[at - length : at].decode())
        offset = seal.header_bytes("pack")
        for number, (volume, index, digest, length) in enumerate(_FRAME.iter_unpack(plain[at:])):
            yield Listed(volumes[volume], index, digest, Location(self._id, key, number, offset, length))
            offset += length


def _list_place(resource: ResourceName) -> bytes:
    return seal.fields(b"list", resource.path.encode())
