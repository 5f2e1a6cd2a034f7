# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs: every block comes back, the list names what was added, and any change is told."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mayfly_agent.blocks import BLOCK_SIZE
from mayfly_agent.repository import packs, seal
from mayfly_agent.repository.compression import compress
from mayfly_agent.repository.packs import Listed, Location, PackReader, PackWriter

from tests.unit.agent.repository.points import KEY, OTHER, RESOURCE, block, digest, key_of

HEADER_BYTES = 32
# (volume, index, number of the block's content)
added = st.lists(
    st.tuples(st.sampled_from(["vol-1", "vol-2"]), st.integers(0, 2**30 - 1), st.integers(0, 5)), max_size=5
)
FEW = [("vol-1", 7, 1), ("vol-1", 8, 2), ("vol-2", 7, 1)]


def pack(blocks: list[tuple[str, int, int]]) -> tuple[bytes, bytes, list[Listed]]:
    """(id, whole object, what was added)"""
    writer = PackWriter(RESOURCE, KEY)
    listed: list[Listed] = []
    for volume_id, index, number in blocks:
        location = writer.add(volume_id, index, digest(number), compress(block(number)))
        listed.append(Listed(volume_id, index, digest(number), location))
    key, body = writer.finish()
    assert key == f"{RESOURCE.path}/packs/{writer.id.hex()[:2]}/{writer.id.hex()}"
    return writer.id, body, listed


def read(identity: bytes, body: bytes, listed: list[Listed]) -> Iterator[bytes]:
    """The list compared, then every block. Raises SealBroken."""
    reader = PackReader(RESOURCE, KEY, identity)
    assert list(reader.contents(body, len(body))) == listed
    for each in listed:
        at = each.location
        frame = body[at.offset : at.offset + at.length]
        yield reader.block(at, frame, each.volume_id, each.index, each.digest)


@settings(max_examples=40)
@given(added)
def test_every_block_comes_back_and_is_listed(blocks: list[tuple[str, int, int]]) -> None:
    identity, body, listed = pack(blocks)
    assert list(read(identity, body, listed)) == [block(number) for *_, number in blocks]
    ends = [HEADER_BYTES, *(each.location.offset + each.location.length for each in listed)]
    assert [each.location.offset for each in listed] == ends[:-1]


def test_a_block_that_does_not_compress_comes_back() -> None:
    writer, random = PackWriter(RESOURCE, KEY), os.urandom(BLOCK_SIZE)
    hashed = packs.hash_sha256(random).digest()
    at = writer.add("vol-1", 0, hashed, compress(random))
    _, body = writer.finish()
    frame = body[at.offset : at.offset + at.length]
    assert PackReader(RESOURCE, KEY, writer.id).block(at, frame, "vol-1", 0, hashed) == random


def test_every_flipped_bit_is_told() -> None:
    identity, body, listed = pack(FEW[:2])
    for bit in range(len(body) * 8):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(seal.SealBroken):
            list(read(identity, bytes(changed), listed))


def test_every_truncation_is_told() -> None:
    identity, body, listed = pack(FEW)
    for length in range(len(body)):
        with pytest.raises(seal.SealBroken):
            list(read(identity, body[:length], listed))
    for changed in (body + b"\0", b"\0" + body, body[:HEADER_BYTES] + body, body + body):
        with pytest.raises(seal.SealBroken):
            list(read(identity, changed, listed))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_pack(body: bytes) -> None:
    reader = PackReader(RESOURCE, KEY, bytes(16))
    for size in (len(body), len(body) + 1000):
        with pytest.raises(seal.SealBroken):
            list(reader.contents(body, size))


def test_the_list_is_read_from_the_end_alone() -> None:
    identity, body, listed = pack(FEW)
    reader = PackReader(RESOURCE, KEY, identity)
    length = int.from_bytes(body[-4:], "big") + 4
    assert list(reader.contents(body[-length:], len(body))) == listed
    assert list(reader.contents(body[-length - 9 :], len(body))) == listed
    for end, size in (
        (body[-length + 1 :], len(body)),
        (body[-length:], len(body) - 1),
        (body[-length:], len(body) + 1),
    ):
        with pytest.raises(seal.SealBroken):
            list(reader.contents(end, size))


@pytest.mark.parametrize(
    "how",
    [{"volume_id": "vol-2"}, {"index": 8}, {"digest": digest(2)}],
    ids=["volume", "index", "digest"],
)
def test_a_block_opens_in_its_place_only(how: dict[str, object]) -> None:
    identity, body, listed = pack(FEW)
    first = replace(listed[0], **how)
    frame = body[first.location.offset : first.location.offset + first.location.length]
    with pytest.raises(seal.SealBroken, match="was changed"):
        PackReader(RESOURCE, KEY, identity).block(first.location, frame, first.volume_id, first.index, first.digest)


def test_blocks_of_one_pack_cannot_be_exchanged() -> None:
    identity, body, listed = pack(FEW)
    reader = PackReader(RESOURCE, KEY, identity)
    for claimed in listed:
        for real in listed:
            if claimed == real:
                continue
            frame = body[real.location.offset : real.location.offset + real.location.length]
            for location in (claimed.location, replace(claimed.location, frame=real.location.frame)):
                with pytest.raises(seal.SealBroken):
                    reader.block(location, frame, claimed.volume_id, claimed.index, claimed.digest)


def test_another_pack_resource_or_key_opens_nothing() -> None:
    identity, body, listed = pack(FEW)
    first = listed[0]
    at = first.location
    frame = body[at.offset : at.offset + at.length]
    for reader in (PackReader(RESOURCE, KEY, bytes(16)), PackReader(OTHER, KEY, identity)):
        with pytest.raises(seal.SealBroken):
            reader.block(at, frame, first.volume_id, first.index, first.digest)
        with pytest.raises(seal.SealBroken):
            list(reader.contents(body, len(body)))
    stranger = PackReader(RESOURCE, key_of(OTHER), identity)
    with pytest.raises(seal.OtherKey):
        stranger.block(at, frame, first.volume_id, first.index, first.digest)
    with pytest.raises(seal.OtherKey):
        list(stranger.contents(body, len(body)))


@pytest.mark.parametrize("content", [b"", b"short", bytes(BLOCK_SIZE + 1), bytes(50_000_000)], ids=len)
def test_a_sealed_frame_that_is_no_block_is_told(content: bytes) -> None:
    """Only who has the key can make one; it must not fill the memory all the same."""
    hashed = packs.hash_sha256(content).digest()
    writer = PackWriter(RESOURCE, KEY)
    at = writer.add("vol-1", 0, hashed, compress(content))
    _, body = writer.finish()
    with pytest.raises(seal.SealBroken):
        PackReader(RESOURCE, KEY, writer.id).block(at, body[at.offset : at.offset + at.length], "vol-1", 0, hashed)


def test_a_sealed_frame_with_another_blocks_content_is_told() -> None:
    writer = PackWriter(RESOURCE, KEY)
    at = writer.add("vol-1", 0, digest(1), compress(block(2)))
    _, body = writer.finish()
    with pytest.raises(seal.SealBroken):
        PackReader(RESOURCE, KEY, writer.id).block(at, body[at.offset : at.offset + at.length], "vol-1", 0, digest(1))


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\0",
        b"\0\1",
        b"\0\1\0\5vol-1" + bytes(45),
        b"\0\1\0\5vol-1" + struct.pack(">HQ32sI", 1, 0, b"", 5),
        b"\0\1\0\2\xff\xff" + struct.pack(">HQ32sI", 0, 0, b"", 5),
        b"\0\1\0\5vol-1" + struct.pack(">HQ32sI", 0, 0, b"", 4),
        b"\0\0" + struct.pack(">HQ32sI", 0, 0, b"", 5),
    ],
    ids=[
        "empty",
        "half a count",
        "no volume",
        "half a frame",
        "no such volume",
        "no text",
        "too few bytes",
        "no table",
    ],
)
def test_a_sealed_list_that_is_none_is_told(plain: bytes) -> None:
    """The same for lists: a frame of 5 bytes, and a list that does not say so."""
    identity = bytes(16)
    place = seal.fields(b"list", RESOURCE.path.encode())
    listed = seal.Sealer("pack", KEY, identity).seal(2**64 - 1, plain, place)
    body = seal.header("pack", KEY, identity) + bytes(5) + listed + len(listed).to_bytes(4, "big")
    with pytest.raises(seal.SealBroken):
        list(PackReader(RESOURCE, KEY, identity).contents(body, len(body)))


def test_a_pack_ends_by_its_size() -> None:
    writer, random = PackWriter(RESOURCE, KEY), os.urandom(BLOCK_SIZE)
    hashed = packs.hash_sha256(random).digest()
    assert writer.empty
    for index in range(32):
        assert not writer.full
        writer.add("vol-1", index, hashed, random)
    assert writer.full
    with pytest.raises(ValueError, match="full"):
        writer.add("vol-1", 32, hashed, random)


def test_a_pack_ends_by_the_number_of_its_blocks() -> None:
    """And its list fits into what is read of its end."""
    writer = PackWriter(RESOURCE, KEY)
    for index in range(packs.MAXIMUM_FRAMES):
        assert not writer.full
        writer.add(f"vol-{index:0100d}", 2**64 - 1, digest(0), b"z")
    assert writer.full
    with pytest.raises(ValueError, match="full"):
        writer.add("vol-1", 0, digest(0), b"z")
    _, body = writer.finish()
    end = body[-packs.MAXIMUM_LIST_BYTES :]
    listed = list(PackReader(RESOURCE, KEY, writer.id).contents(end, len(body)))
    assert [each.location.frame for each in listed] == list(range(packs.MAXIMUM_FRAMES))
    assert listed[-1].volume_id == f"vol-{packs.MAXIMUM_FRAMES - 1:0100d}"


def test_a_finished_pack_takes_nothing_more() -> None:
    """Its counters would be sealed a second time."""
    writer = PackWriter(RESOURCE, KEY)
    writer.add("vol-1", 0, digest(1), compress(block(1)))
    writer.finish()
    with pytest.raises(ValueError, match="was to be sealed after part"):
        writer.add("vol-1", 1, digest(1), compress(block(1)))
    with pytest.raises(ValueError, match="was to be sealed after part"):
        writer.finish()


def test_no_two_packs_have_the_same_id() -> None:
    assert len({PackWriter(RESOURCE, KEY).id for _ in range(100)}) == 100
    assert isinstance(pack(FEW)[2][0].location, Location)
