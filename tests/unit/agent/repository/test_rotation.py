# SPDX-License-Identifier: GPL-3.0-or-later
"""After a rotation: what is written is sealed with the newest key, what was written stays readable, and shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.repository import keys, layout, repository, seal
from mayfly_agent.repository.manifest import open_with_value, seal_value
from mayfly_agent.repository.packs import PackReader
from mayfly_agent.repository.seal import ResourceKey
from mayfly_agent.repository.trees import TreeReader, TreeWriter

from tests.unit.agent.lines import KEY, NAME, Line, Points, blocks, flipped, volume
from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository import by_the_book
from tests.unit.agent.repository.points import MASTER, RESOURCE

NEW = b"n" * 32
BOTH = ResourceKey(NEW, [KEY])
BEFORE = {0: 1, 1: 2, 1030: 3, 2050: 4}
NOW = {**BEFORE, 1: 9}


@pytest.fixture
def rotated(tmp_path: Path) -> tuple[Points, str, str]:
    """A point of the key before, and one that goes on from it with the new one: the store with both keys, their ids."""
    store, line = MemoryObjects(), Line({"snap-1": BEFORE, "snap-2": NOW})
    repository.create(store, lambda _identity: [])
    old = Points(store, tmp_path)
    first = old.make(line, volume("snap-1"))
    new = Points(store, tmp_path, BOTH)
    new.hours = old.hours
    second = new.make(line, volume("snap-2", "snap-1"), parent=first.id)
    return new, first.id, second.id


def sealed_with(store: MemoryObjects, key: str) -> bytes:
    """The id of the key that an object names."""
    return store.objects[key][8:16]


def test_both_points_restore_and_little_was_stored(rotated: tuple[Points, str, str]) -> None:
    points, first, second = rotated
    assert points.restored(first) == blocks(BEFORE)
    assert points.restored(second) == blocks(NOW)
    assert points.manifest(second).volumes[0].blocks_stored == 1
    shared = points.referenced(first) & points.referenced(second)
    assert {key.split("/")[4] for key in shared} == {"packs", "trees"}
    assert points.check()["damaged_points"] == 0


def test_the_newest_key_seals_what_is_written(rotated: tuple[Points, str, str]) -> None:
    points, first, second = rotated
    old = points.referenced(first) | {layout.point_key(NAME, first)}
    new = (points.referenced(second) | {layout.point_key(NAME, second)}) - old
    assert {sealed_with(points.store, key) for key in old} == {seal.key_id(KEY)}
    assert {sealed_with(points.store, key) for key in new} == {seal.key_id(NEW)}
    assert {key.split("/")[4] for key in new} == {"packs", "trees", "points"}


@pytest.mark.parametrize("key", [KEY, NEW], ids=["before", "new"])
def test_one_of_the_keys_alone_does_not_open_the_new_point(rotated: tuple[Points, str, str], key: bytes) -> None:
    points, _first, second = rotated
    points.key = key
    with pytest.raises(AgentError, match=f"not with {seal.key_id(key).hex()}") as raised:
        points.restored(second)
    assert raised.value.code == ("RepositoryKeyMissing" if key == KEY else "ObjectDamaged")


def test_keys_that_were_set_back_stop_a_writer(rotated: tuple[Points, str, str]) -> None:
    """Who has the key before alone meets a point of another one: its backup must not go on with that key."""
    points, _first, second = rotated
    points.key = KEY
    with pytest.raises(AgentError, match="no key that opens the restore point") as raised:
        points.make(Line({"snap-2": NOW, "snap-3": NOW}), volume("snap-3", "snap-2"), parent=second)
    assert raised.value.code == "RepositoryKeyMissing"


def told(result: dict[str, Any]) -> list[str]:
    """Of a check that marks nothing, what it says was not checked."""
    assert (result["damaged_points"], result["marks"]) == (0, 0)
    assert {each["code"] for each in result["warnings"]} <= {"RepositoryKeyMissing"}
    assert all("was not checked: " in each["message"] for each in result["warnings"])
    return [each["message"].partition(" ")[0] for each in result["warnings"]]


def test_a_check_that_began_before_takes_no_new_point_for_damaged(rotated: tuple[Points, str, str]) -> None:
    points, _first, second = rotated
    points.key = KEY
    result = points.check()
    assert told(result) == [layout.point_key(NAME, second)]
    assert (result["points"], result["blocks"]) == (1, len(BEFORE))
    assert "check again" in result["warnings"][0]["remedy"]


@pytest.mark.parametrize("mode", ["quick", "full"])
def test_nor_what_a_point_stands_on(rotated: tuple[Points, str, str], mode: str) -> None:
    """One that opens, with a leaf and a root of a key that is missing."""
    points, first, second = rotated
    new = points.referenced(second) - points.referenced(first)
    key = layout.point_key(NAME, second)
    _, value = open_with_value(points.store.objects[key], BOTH, key)
    points.store.objects[key] = seal_value(value, KEY, key)
    points.key = KEY
    (root,) = [layout.node_key(NAME, bytes.fromhex(each["root"])) for each in value["volumes"]]
    assert root in new
    assert told(points.check(mode)) == [root]


def test_nor_a_pack_whose_key_is_missing(rotated: tuple[Points, str, str]) -> None:
    """What a tree of the key at hand says of it; one that is gone is damage all the same."""
    points, first, second = rotated
    key = layout.point_key(NAME, second)
    manifest, value = open_with_value(points.store.objects[key], BOTH, key)
    (record,) = manifest.volumes
    place = manifest.place(record)
    entries = list(TreeReader(place, BOTH, record.tree(), points.store).entries())
    writer = TreeWriter(place, KEY, record.tree().size, points.store.put)
    for each in entries:
        writer.add(each)
    value["volumes"][0]["root"] = writer.finish().id
    points.store.objects[key] = seal_value(value, KEY, key)
    points.key = KEY
    (pack,) = [each for each in points.referenced(second) - points.referenced(first) if "/packs/" in each]
    result = points.check()
    assert told(result) == [pack]
    assert (result["points"], result["blocks"]) == (2, len(BEFORE))
    del points.store.objects[pack]
    assert points.check("quick")["damaged_points"] == 1


@pytest.mark.parametrize("kind", ["trees", "points"])
def test_an_object_that_names_another_key_than_its_own_is_damaged(rotated: tuple[Points, str, str], kind: str) -> None:
    """Its seal does not cover the name; a key at hand that opens it shows that none is missing."""
    points, first, second = rotated
    objects = points.referenced(second) - points.referenced(first) | {layout.point_key(NAME, second)}
    key = min(each for each in objects if f"/{kind}/" in each)
    points.store.objects[key] = flipped(points.store.objects[key], 12)
    result = points.check("quick")
    assert (result["damaged_points"], result["warnings"]) == (1, [])


def test_the_list_of_a_pack_opens_with_the_key_that_sealed_it(rotated: tuple[Points, str, str]) -> None:
    points, first, second = rotated
    packs = {key for key in points.referenced(first) | points.referenced(second) if "/packs/" in key}
    found = {}
    for key in packs:
        identity, body = bytes.fromhex(key.rpartition("/")[2]), points.store.objects[key]
        (named,) = {each.location.key for each in PackReader(NAME, BOTH, identity).contents(body[-500:], len(body))}
        found[key] = named
    assert found == {key: sealed_with(points.store, key) for key in packs}
    assert set(found.values()) == {seal.key_id(KEY), seal.key_id(NEW)}


def test_a_reader_written_from_the_page_reads_both(rotated: tuple[Points, str, str]) -> None:
    points, _first, second = rotated
    ring = {seal.key_id(key): key for key in (KEY, NEW)}
    (each,) = by_the_book.read_manifest(points.store.objects, ring, layout.point_key(NAME, second))["volumes"]
    assert by_the_book.read_volume(points.store.objects, ring, NAME.path, each) == blocks(NOW)


def test_a_resource_has_one_key_for_each_of_the_repositorys() -> None:
    masters = {2: b"2" * 32, 10: b"a" * 32, 1: MASTER}
    made = keys.resource_keys(masters, RESOURCE)
    assert (made, *made.before) == tuple(keys.resource_key(masters[number], RESOURCE) for number in (10, 1, 2))
    assert by_the_book.keys_of(RESOURCE.path, masters) == {seal.key_id(key): key for key in seal.every(made)}
