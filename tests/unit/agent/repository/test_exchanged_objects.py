# SPDX-License-Identifier: GPL-3.0-or-later
"""No object of a repository stands in for another: everything in a small one is put in everything else's place."""

from __future__ import annotations

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.repository import repository
from mayfly_agent.repository.layout import ResourceName

from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository.points import OTHER, RESOURCE, expected, read_point, write_point

# Alike wherever they can be: the same volume ids, indexes and contents in both resources, volumes and points.
VOLUMES = {"vol-1": {0: 1, 1: 2, 1024: 1}, "vol-2": {0: 1, 1: 2, 1024: 1}}
POINTS = [(RESOURCE, 0, 0), (RESOURCE, 1, 0), (RESOURCE, 1, 1), (OTHER, 0, 0)]


@pytest.fixture(scope="module")
def written() -> tuple[MemoryObjects, list[tuple[ResourceName, str]]]:
    store = MemoryObjects()
    points = [
        (resource, write_point(store, resource, VOLUMES, hours=hours, generation=generation))
        for resource, hours, generation in POINTS
    ]
    return store, points


def test_all_can_be_read(written: tuple[MemoryObjects, list[tuple[ResourceName, str]]]) -> None:
    store, points = written
    for resource, key in points:
        assert read_point(store, resource, key) == expected(VOLUMES)
    kinds = {key.split("/")[4] for key in store.objects}
    assert kinds == {"packs", "trees", "points"}


@pytest.mark.parametrize("number", range(len(POINTS)), ids=["first", "second", "generation", "other resource"])
def test_nothing_stands_in_for_anything_else(
    written: tuple[MemoryObjects, list[tuple[ResourceName, str]]], number: int
) -> None:
    """Of one restore point, each object in turn is replaced by each of all the others."""
    store, points = written
    resource, key = points[number]
    reads = Reads(store)
    read_point(reads, resource, key)
    pairs = 0
    for target in sorted(reads.keys):
        for source in sorted(store.objects):
            if source == target:
                continue
            changed = MemoryObjects()
            changed.objects = {**store.objects, target: store.objects[source]}
            with pytest.raises(AgentError) as raised:
                read_point(changed, resource, key)
            # Of another resource, a manifest bears the id of a key that is not at hand.
            assert raised.value.code in ("ObjectDamaged", "RestorePointDamaged", "RepositoryKeyMissing")
            pairs += 1
    assert pairs == len(reads.keys) * (len(store.objects) - 1) > 300


def test_an_object_that_is_missing_is_told(written: tuple[MemoryObjects, list[tuple[ResourceName, str]]]) -> None:
    store, points = written
    resource, key = points[0]
    reads = Reads(store)
    read_point(reads, resource, key)
    for target in reads.keys:
        changed = MemoryObjects()
        changed.objects = {each: body for each, body in store.objects.items() if each != target}
        with pytest.raises(AgentError, match=target.rpartition("/")[2]):
            read_point(changed, resource, key)


def test_an_older_state_cannot_be_played_in_for_the_newer() -> None:
    """The points' ids differ, so even a whole old manifest does not open under the new one's key."""
    store = MemoryObjects()
    old = write_point(store, RESOURCE, {"vol-1": {0: 1}}, hours=0)
    new = write_point(store, RESOURCE, {"vol-1": {0: 2}}, hours=1)
    store.objects[new] = store.objects[old]
    with pytest.raises(AgentError) as raised:
        read_point(store, RESOURCE, new)
    assert raised.value.code == "RestorePointDamaged"
    assert list(repository.list_points(store, RESOURCE)) == [each.rpartition("/")[2] for each in (old, new)]


class Reads(MemoryObjects):
    """Notes which objects are read."""

    def __init__(self, store: MemoryObjects) -> None:
        super().__init__()
        self.objects = store.objects
        self.keys: set[str] = set()

    def body(self, key: str) -> bytes:
        self.keys.add(key)
        return super().body(key)
