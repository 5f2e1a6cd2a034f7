# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees: what is written in order is read back, each node once; damage and malformed nodes are told."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mayfly_agent.blocks import BLOCKS_PER_GIB, FANOUT, ZERO_DIGEST, VolumeDigest, levels_of, node_digest
from mayfly_agent.repository import layout, seal
from mayfly_agent.repository.packs import Location
from mayfly_agent.repository.trees import Entry, Node, Place, Root, TreeReader, TreeWriter

from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository.points import KEY, OTHER, RESOURCE, key_of

PLACE = Place(RESOURCE, "vol-1")
LARGEST = 64 * 1024 * BLOCKS_PER_GIB  # 64 TiB
EDGES = (1, 2, FANOUT - 1, FANOUT, FANOUT + 1, 2 * FANOUT, FANOUT**2 - 1, FANOUT**2, FANOUT**2 + 1, LARGEST)
EVERY = [
    0,
    1,
    *(edge + more for edge in (FANOUT, 2 * FANOUT, FANOUT**2, 2 * FANOUT**2) for more in (-1, 0, 1)),
    LARGEST - 1,
]

sizes = st.sampled_from(EDGES) | st.integers(1, LARGEST)
locations = st.builds(
    Location,
    st.sampled_from([b"p" * 16, b"q" * 16, b"r" * 16]),
    st.sampled_from([b"key-id-1", b"key-id-2"]),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)


@st.composite
def trees(draw: st.DrawFn) -> tuple[int, list[Entry]]:
    """(size of the volume in blocks, its entries)"""
    size = draw(sizes)
    near = [index for edge in EVERY for index in range(edge - 2, edge + 3) if 0 <= index < size] + [size - 1]
    indexes = draw(st.sets(st.sampled_from(near) | st.integers(0, size - 1), max_size=30))
    digests = st.binary(min_size=32, max_size=32)
    return size, [Entry(index, draw(digests), draw(locations)) for index in sorted(indexes)]


def entry(index: int, location: Location | None = None) -> Entry:
    return Entry(index, bytes([index % 251]) * 32, location or Location(b"p" * 16, b"key-id-1", index % 4096, index, 9))


def write(entries: Iterable[Entry], size: int, place: Place = PLACE, key: bytes = KEY) -> tuple[Root, MemoryObjects]:
    store = MemoryObjects()
    writer = TreeWriter(place, key, size, store.put)
    for each in entries:
        writer.add(each)
    return writer.finish(), store


def read(root: Root, store: MemoryObjects, place: Place = PLACE, key: bytes = KEY) -> list[Entry]:
    return list(TreeReader(place, key, root, store).entries())


@given(trees())
@example((LARGEST, [entry(index) for index in EVERY]))
@example((FANOUT, [entry(index) for index in range(FANOUT)]))
@example((2 * FANOUT, [entry(index) for index in range(2 * FANOUT)]))
def test_a_tree_reads_back_and_each_node_is_written_once(tree: tuple[int, list[Entry]]) -> None:
    size, entries = tree
    root, store = write(entries, size)
    assert read(root, store) == entries
    assert (root.blocks, root.size) == (len(entries), size)
    levels = 1 if size <= FANOUT else 2 if size <= FANOUT**2 else 3
    nodes = {(level, each.index // FANOUT ** (level + 1)) for level in range(levels) for each in entries}
    assert root.levels == levels
    assert len(store.puts) == len(set(store.puts)) == len(nodes)


@pytest.mark.parametrize(
    ("size", "levels"),
    [(1, 1), (1023, 1), (1024, 1), (1025, 2), (2**20 - 1, 2), (2**20, 2), (2**20 + 1, 3), (LARGEST, 3), (2**30, 3)],
)
def test_levels_of_a_volume(size: int, levels: int) -> None:
    assert levels_of(size) == levels


@pytest.mark.parametrize("size", [-1, 0, 2**30 + 1])
def test_no_volume_has_that_size(size: int) -> None:
    with pytest.raises(ValueError, match="no tree has"):
        levels_of(size)


@given(st.lists(st.integers(0, 3 * FANOUT), min_size=2, max_size=8).filter(lambda each: each != sorted(set(each))))
@example([FANOUT, FANOUT - 1])
@example([0, FANOUT, 0])
@example([5, 5])
@example([2 * FANOUT, FANOUT - 1])
def test_blocks_out_of_order_or_twice_are_refused(indexes: list[int]) -> None:
    with pytest.raises(ValueError, match="comes after block"):
        write([entry(index) for index in indexes], 4 * FANOUT)


@pytest.mark.parametrize("index", [-1, 2048, 2049, FANOUT**2])
def test_a_block_beyond_the_volume_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="comes after block"):
        write([Entry(index, bytes(32), Location(b"p" * 16, b"k" * 8, 0, 0, 0))], 2048)


@given(trees())
@example((LARGEST, [entry(index) for index in EVERY]))
@example((1, []))
def test_a_tree_has_its_volumes_digest_wherever_the_blocks_lie(tree: tuple[int, list[Entry]]) -> None:
    size, entries = tree
    digest = VolumeDigest(size)
    for each in entries:
        digest.add(each.index, each.digest)
    moved = [Entry(each.index, each.digest, Location(b"s" * 16, b"key-id-2", 1, 2, 3)) for each in entries]
    assert write(entries, size)[0].digest == write(moved, size)[0].digest == digest.hexdigest()


def test_blocks_of_zeros_count_as_holes() -> None:
    digest, holes = VolumeDigest(2 * FANOUT), VolumeDigest(2 * FANOUT)
    for index in (0, 1, FANOUT):
        digest.add(index, ZERO_DIGEST)
    assert digest.hexdigest() == holes.hexdigest() == Root(None, 2 * FANOUT).digest


@pytest.mark.parametrize("index", [-1, 5, 4, 2048])
def test_a_digest_takes_a_volumes_blocks_in_their_order(index: int) -> None:
    digest = VolumeDigest(2048)
    digest.add(5, bytes(32))
    with pytest.raises(ValueError, match="comes after block 5 of 2048"):
        digest.add(index, bytes(32))


def test_nothing_is_added_to_a_digest_that_was_made() -> None:
    digest = VolumeDigest(2048)
    digest.add(5, bytes(32))
    assert digest.hexdigest() == digest.hexdigest()
    with pytest.raises(ValueError, match="comes after"):
        digest.add(6, bytes(32))


@settings(max_examples=20)
@given(trees())
def test_no_writer_writes_the_nodes_of_another(tree: tuple[int, list[Entry]]) -> None:
    """Not for the same blocks in the same place either: only who shares a node has one of its id."""
    size, entries = tree
    places = (PLACE, PLACE, Place(RESOURCE, "vol-2"), Place(OTHER, "vol-1"))
    stores = [write(entries, size, place)[1] for place in places]
    names = [key.rpartition("/")[2] for each in stores for key in each.objects]
    assert len(set(names)) == len(names) == 4 * len(stores[0].objects)


def test_all_nodes_of_a_writer_begin_with_its_own_bytes() -> None:
    nonces = set()
    for _ in range(2):
        _, store = small_tree()
        begins = set()
        for level, position in [(0, 0), (0, 1), (0, FANOUT), (1, 0), (1, 1), (2, 0)]:
            for body in store.objects.values():
                try:
                    plain = seal.open_object("node", KEY, body, PLACE.of(level, position), what="it")
                except seal.SealBroken:
                    continue
                begins.add(plain[:16])
        assert len(begins) == 1
        nonces |= begins
    assert len(nonces) == 2


def small_tree() -> tuple[Root, MemoryObjects]:
    return write([entry(3), entry(FANOUT), entry(FANOUT**2)], FANOUT**2 + 1)


def test_every_flipped_bit_and_truncation_is_told() -> None:
    root, store = small_tree()
    for key, body in list(store.objects.items()):
        flips = (
            body[: bit // 8] + bytes([body[bit // 8] ^ 1 << bit % 8]) + body[bit // 8 + 1 :]
            for bit in range(len(body) * 8)
        )
        for changed in (*flips, *(body[:length] for length in range(len(body))), body + b"\0"):
            store.objects[key] = changed
            with pytest.raises(seal.SealBroken):
                read(root, store)
        store.objects[key] = body


def test_no_node_stands_in_for_another() -> None:
    root, store = small_tree()
    _, others = write([entry(3), entry(FANOUT + 1), entry(FANOUT**2)], FANOUT**2 + 1)
    bodies = {**store.objects, **others.objects}
    for key, body in list(store.objects.items()):
        for other in bodies.values():
            if other != body:
                store.objects[key] = other
                with pytest.raises(seal.SealBroken):
                    read(root, store)
        store.objects[key] = body


@pytest.mark.parametrize(
    "how",
    [{"place": Place(RESOURCE, "vol-2")}, {"place": Place(OTHER, "vol-1")}, {"key": key_of(OTHER)}],
    ids=["volume", "resource", "key"],
)
def test_a_tree_opens_in_its_place_only(how: dict[str, object]) -> None:
    root, store = small_tree()
    if how.get("place") == Place(OTHER, "vol-1"):
        store.objects |= {key.replace(RESOURCE.path, OTHER.path): body for key, body in store.objects.items()}
    with pytest.raises(seal.SealBroken):
        read(root, store, **how)


@pytest.mark.parametrize(
    ("size", "blocks"),
    [(FANOUT**2, 3), (FANOUT, 3), (FANOUT**2 + 1, 2), (FANOUT**2 + 1, 4), (FANOUT**2 + 1, 0)],
    ids=["fewer levels", "one level", "fewer blocks", "more blocks", "no block"],
)
def test_a_root_that_promises_something_else_is_told(size: int, blocks: int) -> None:
    root, store = small_tree()
    assert root.node is not None
    with pytest.raises(seal.SealBroken):
        read(Root(replace(root.node, blocks=blocks), size), store)


def test_a_root_that_promises_another_digest_is_told() -> None:
    root, store = small_tree()
    assert root.node is not None
    with pytest.raises(seal.SealBroken, match="that it should"):
        read(Root(replace(root.node, digest=bytes(32)), root.size), store)


@pytest.mark.parametrize("indexes", [(0, 2048), (0, 2049), (2047, 3071)])
def test_blocks_beyond_the_volume_are_told(indexes: tuple[int, ...]) -> None:
    root, store = write([entry(index) for index in indexes], 3 * FANOUT)
    with pytest.raises(seal.SealBroken, match="holds block 2048 of 2048"):
        read(Root(root.node, 2048), store)


NONCE = b"w" * 16


def forged(plain: bytes, level: int) -> tuple[Root, MemoryObjects]:
    """A tree of one path whose node of a level holds that: only who has the key can make it."""
    store = MemoryObjects()
    digest = node_digest(0, [(1000, b"d" * 32)])

    def put(at: int, text: bytes) -> bytes:
        place = PLACE.of(at, 0)
        identity = seal.node_id(KEY, place, text)
        store.put(layout.node_key(RESOURCE, identity), seal.seal_object("node", KEY, identity, text, place))
        return identity

    identity = put(level, NONCE + plain)
    if level == 0:
        identity = put(1, NONCE + struct.pack(">H32sI32s", 0, identity, 1, digest))
        digest = node_digest(1, [(0, digest)])
    return Root(Node(identity, 1, digest), 2 * FANOUT), store


PACKS = struct.pack(">H16s8s", 1, b"p" * 16, b"k" * 8)


def leaf_entry(slot: int, pack: int = 0) -> bytes:
    return struct.pack(">H32sHHII", slot, b"d" * 32, pack, 0, 0, 0)


@pytest.mark.parametrize(
    ("level", "plain"),
    [
        (0, b""),
        (0, b"\0"),
        (0, b"\0\1"),
        (0, PACKS),
        (0, PACKS + leaf_entry(0)[:-1]),
        (0, PACKS + leaf_entry(0, 1)),
        (0, PACKS + leaf_entry(FANOUT)),
        (0, PACKS + leaf_entry(1) + leaf_entry(1)),
        (0, PACKS + leaf_entry(1) + leaf_entry(0)),
        (0, b"\0\0" + leaf_entry(0)),
        (1, b""),
        (1, bytes(69)),
        (1, struct.pack(">H32sI32s", FANOUT, bytes(32), 1, bytes(32))),
        (1, struct.pack(">H32sI32s", 1, bytes(32), 1, bytes(32)) * 2),
    ],
)
def test_a_sealed_node_that_is_none_is_told(level: int, plain: bytes) -> None:
    root, store = forged(plain, level)
    with pytest.raises(seal.SealBroken, match="is no node"):
        read(root, store)


def test_a_well_formed_one_is_read() -> None:
    """So that the forged ones above fail for what is wrong in them."""
    root, store = forged(PACKS + leaf_entry(1000), 0)
    assert [each.index for each in read(root, store)] == [1000]


def test_a_node_whose_id_is_not_its_texts_is_told() -> None:
    store, identity = MemoryObjects(), b"i" * 32
    body = seal.seal_object("node", KEY, identity, NONCE + PACKS + leaf_entry(0), PLACE.of(0, 0))
    store.put(layout.node_key(RESOURCE, identity), body)
    with pytest.raises(seal.SealBroken, match="was changed"):
        read(Root(Node(identity, 1, node_digest(0, [(0, b"d" * 32)])), FANOUT), store)


def test_a_node_shorter_than_a_writers_bytes_is_told() -> None:
    store, place = MemoryObjects(), PLACE.of(0, 0)
    identity = seal.node_id(KEY, place, b"short")
    store.put(layout.node_key(RESOURCE, identity), seal.seal_object("node", KEY, identity, b"short", place))
    with pytest.raises(seal.SealBroken, match="is no node"):
        read(Root(Node(identity, 1, bytes(32)), FANOUT), store)
