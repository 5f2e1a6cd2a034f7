# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees that share nodes: what has not changed is neither read nor written, and no node is written twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mayfly_agent.blocks import FANOUT
from mayfly_agent.errors import AgentError
from mayfly_agent.objects import Stored
from mayfly_agent.pipeline import ordered
from mayfly_agent.repository import layout
from mayfly_agent.repository.packs import Location
from mayfly_agent.repository.trees import Entry, Node, Root, TreeReader, TreeWriter

from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository.points import KEY, RESOURCE
from tests.unit.agent.repository.test_trees import EVERY, LARGEST, PLACE, entry, read, trees, write


class Shared:
    """A tree, and another that shares what has not changed."""

    def __init__(self, entries: list[Entry], size: int) -> None:
        self.size = size
        self.root, self.store = write(entries, size)
        self.reader = TreeReader(PLACE, KEY, self.root, self.store)
        self.nodes = {(each.level, each.position): each for each in self.reader.walk(set())}
        self.puts = list(self.store.puts)

    def with_changed(self, index: int, location: Location) -> Root:
        """The same blocks, of which one is another: its leaf anew, the highest nodes beside it shared."""
        writer = TreeWriter(PLACE, KEY, self.size, self.store.put)
        self._write(writer, self.root.levels - 1, 0, Entry(index, b"n" * 32, location))
        return writer.finish()

    def _write(self, writer: TreeWriter, level: int, position: int, changed: Entry) -> None:
        opened = self.nodes[level, position]
        for held in opened.entries:
            writer.add(changed if held.index == changed.index else held)
        for at, child in opened.children:
            if changed.index // FANOUT**level == at:
                self._write(writer, level - 1, at, changed)
            else:
                writer.share(level - 1, at, child)

    def written(self) -> int:
        """How many nodes since the first tree."""
        return len(self.store.puts) - len(self.puts)


@settings(max_examples=30)
@given(trees(), st.data())
def test_a_changed_block_makes_one_new_node_a_level(tree: tuple[int, list[Entry]], data: st.DataObject) -> None:
    size, entries = tree
    if not entries:
        return
    at = data.draw(st.integers(0, len(entries) - 1))
    moved = Location(b"s" * 16, b"key-id-2", 1, 2, 3)
    changed = [*entries[:at], Entry(entries[at].index, b"n" * 32, moved), *entries[at + 1 :]]
    shared = Shared(entries, size)
    new_root = shared.with_changed(entries[at].index, moved)
    assert shared.written() == shared.root.levels
    assert read(shared.root, shared.store) == entries
    assert read(new_root, shared.store) == changed
    assert new_root.digest == write(changed, size)[0].digest
    assert new_root.blocks == len(changed)


def test_a_root_that_is_shared_writes_nothing() -> None:
    entries = [entry(index) for index in EVERY]
    shared = Shared(entries, LARGEST)
    writer = TreeWriter(PLACE, KEY, LARGEST, shared.store.put)
    assert shared.root.node is not None
    writer.share(2, 0, shared.root.node)
    assert writer.finish() == shared.root
    assert shared.written() == 0


def test_ids_of_nodes_that_were_given_up_do_not_come_again() -> None:
    """Of the points {A, C}, {A, B, C} and {A, C} again, the first's nodes are about to be deleted when the last comes.

    A writer that made the same ids would put them again, and a sweep, to which they are condemned, delete them.
    """
    a, b, c = (entry(index) for index in (0, 1, FANOUT))
    first = Shared([a, c], 2 * FANOUT)
    second = Shared([a, b, c], 2 * FANOUT)
    writer = TreeWriter(PLACE, KEY, 2 * FANOUT, second.store.put)
    writer.add(a)  # B has become a hole: the leaf that the first point had, of the same blocks in the same packs
    writer.share(0, 1, second.nodes[0, 1].node)
    root = writer.finish()
    second.store.objects = {key: body for key, body in second.store.objects.items() if key not in first.store.objects}
    assert read(root, second.store) == [a, c] == read(first.root, first.store)


@pytest.mark.parametrize(
    ("shared", "then"), [((0, 1), FANOUT), ((0, 1), 2 * FANOUT - 1), ((0, 0), None), ((1, 0), None), ((0, 2), None)]
)
def test_what_is_shared_out_of_order_or_beyond_the_volume_is_refused(shared: tuple[int, int], then: int | None) -> None:
    writer = TreeWriter(PLACE, KEY, 2 * FANOUT, MemoryObjects().put)
    if then is None:
        writer.add(entry(FANOUT))
        with pytest.raises(ValueError, match="comes after block"):
            writer.share(*shared, Node(bytes(32), 1, bytes(32)))
    else:
        writer.share(*shared, Node(bytes(32), 1, bytes(32)))
        with pytest.raises(ValueError, match="comes after block"):
            writer.add(entry(then))


def test_no_node_above_the_root_is_shared() -> None:
    writer = TreeWriter(PLACE, KEY, 2 * FANOUT, MemoryObjects().put)
    with pytest.raises(ValueError, match="no node of level 2"):
        writer.share(2, 0, Node(bytes(32), 1, bytes(32)))


def test_a_volume_that_grows_keeps_its_nodes() -> None:
    """Also where it gets another level: the old root is the first child of the new one."""
    entries = [entry(index) for index in (0, FANOUT, FANOUT**2 - 1)]
    small = Shared(entries, FANOUT**2)
    writer = TreeWriter(PLACE, KEY, FANOUT**2 + 1, small.store.put)
    assert small.root.node is not None
    writer.share(1, 0, small.root.node)
    large = writer.finish()
    assert (small.root.levels, large.levels) == (2, 3)
    assert small.written() == 1
    assert read(large, small.store) == entries


def test_a_walk_leaves_out_what_was_seen() -> None:
    entries = [entry(index) for index in (3, FANOUT, FANOUT + 1, FANOUT**2)]
    shared = Shared(entries, FANOUT**2 + 1)
    new_root = shared.with_changed(FANOUT, Location(b"s" * 16, b"key-id-2", 1, 2, 3))
    seen: set[bytes] = set()
    first = list(TreeReader(PLACE, KEY, shared.root, shared.store).walk(seen))
    assert [(each.level, each.position) for each in first] == [(2, 0), (1, 0), (0, 0), (0, 1), (1, 1), (0, FANOUT)]
    assert seen == {each.node.id for each in first}
    second = list(TreeReader(PLACE, KEY, new_root, shared.store).walk(seen))
    assert [(each.level, each.position) for each in second] == [(2, 0), (1, 0), (0, 1)]
    assert not list(TreeReader(PLACE, KEY, new_root, shared.store).walk(seen))


def test_several_nodes_are_read_at_once() -> None:
    entries = [entry(index * FANOUT) for index in range(6)]
    root, store = write(entries, 6 * FANOUT)
    together = threading.Barrier(3, timeout=10)

    class Slow(MemoryObjects):
        def get(self, key: str) -> Stored:
            if key != layout.node_key(RESOURCE, root.node.id):
                together.wait()
            return super().get(key)

    slow = Slow()
    slow.objects = store.objects
    with ThreadPoolExecutor(3) as pool:
        found = TreeReader(PLACE, KEY, root, slow).entries(lambda function, items: ordered(pool, function, items, 3))
        assert list(found) == entries


@pytest.mark.parametrize("wrong", [{"blocks": 2}, {"digest": bytes(32)}, {"id": bytes(32)}], ids=repr)
def test_a_node_that_is_not_what_the_one_above_says_is_told(wrong: dict[str, object]) -> None:
    """A writer shares nodes without a look into them."""
    shared = Shared([entry(0), entry(FANOUT)], 2 * FANOUT)
    writer = TreeWriter(PLACE, KEY, 2 * FANOUT, shared.store.put)
    writer.share(0, 0, shared.nodes[0, 0].node)
    writer.share(0, 1, replace(shared.nodes[0, 1].node, **wrong))
    with pytest.raises(AgentError) as raised:
        read(writer.finish(), shared.store)
    assert raised.value.code in ("ObjectDamaged", "ObjectNotFound")
