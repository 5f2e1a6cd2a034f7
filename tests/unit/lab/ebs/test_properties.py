# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is written is what is read, and what changed is what is listed: against a model of blocks by index.

A block that was written in both snapshots is listed as changed only when its bytes differ; AWS may list more.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.lab.ebs.calls import Blocks, Server, block, changed, complete, contents, get, listed, put

VOLUME = "vol-00000000000000dd"
# Neighbours, the ends of the volume, and few numbers, so that blocks meet; block 0 is zeros that were written.
INDEXES = st.one_of(st.integers(0, 6), st.sampled_from([1023, 1024, 2046, 2047]))
WRITES = st.lists(st.tuples(INDEXES, st.integers(0, 3)), max_size=6)
STATES = st.dictionaries(INDEXES, st.integers(0, 3), max_size=6)
few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def write(client: Any, server: Server, writes: list[tuple[int, int]], **parts: Any) -> str:
    """A snapshot made by these puts, one after the other."""
    snapshot = str(client.start_snapshot(VolumeSize=1, **parts)["SnapshotId"])
    put_blocks: Blocks = {}
    for index, number in writes:
        put(client, snapshot, index, block(number))
        put_blocks[index] = block(number)
    complete(client, server, snapshot, put_blocks)
    return snapshot


@few
@given(chain=st.lists(WRITES, min_size=1, max_size=3))
def test_puts_with_or_without_a_parent_give_the_model(server: Server, ebs: Any, chain: list[list[tuple[int, int]]]):
    model: Blocks = {}
    made: list[tuple[str, Blocks]] = []
    for writes in chain:
        parent = {"ParentSnapshotId": made[-1][0]} if made else {}
        model = {**model, **{index: block(number) for index, number in writes}}
        made.append((write(ebs, server, writes, **parent), model))
    for snapshot, expected in made:
        assert list(listed(ebs, snapshot)) == sorted(expected)
        assert contents(ebs, snapshot) == expected
    (first, old), (second, new) = made[0], made[-1]
    check_changes(ebs, (first, old), (second, new))
    for snapshot, _ in made:
        server.store.delete(snapshot)


@few
@given(states=st.lists(STATES, min_size=2, max_size=4), data=st.data())
def test_changes_between_two_snapshots_of_a_volume_are_the_models(
    server: Server, ebs: Any, states: list[dict[int, int]], data: st.DataObject
):
    made = []
    for state in states:
        blocks = {index: block(number) for index, number in state.items()}
        made.append((server.snapshot(blocks, volume_id=VOLUME), blocks))
    first = data.draw(st.integers(0, len(made) - 2))
    second = data.draw(st.integers(first + 1, len(made) - 1))
    check_changes(ebs, made[first], made[second])
    for snapshot, _ in made:
        server.store.delete(snapshot)


def check_changes(client: Any, first: tuple[str, Blocks], second: tuple[str, Blocks]) -> None:
    """The listed changes are the model's, and their tokens give each side's bytes."""
    old, new = first[1], second[1]
    expected = [index for index in sorted(old | new) if old.get(index) != new.get(index)]
    found = changed(client, first[0], second[0])
    assert list(found) == expected
    for index, tokens in found.items():
        for (snapshot, blocks), token in zip((first, second), tokens, strict=True):
            assert (token is not None) == (index in blocks)
            if token:
                assert get(client, snapshot, index, token) == blocks[index]
