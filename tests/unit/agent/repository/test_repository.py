# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository as a whole: made once whoever else does, refused when it is another's, listed as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mayfly_agent.errors import AgentError
from mayfly_agent.objects import ObjectExists, ObjectNotFound
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.layout import ResourceName
from mayfly_agent.repository.repository import RepositoryInfo

from tests.unit.agent.memory import DyingObjects, ForgetfulObjects, Killed, MemoryObjects
from tests.unit.agent.repository.points import KEY, MASTER, OTHER, RESOURCE, key_of, manifest, read_point, write_point
from tests.unit.agent.retention.aging import AgingObjects

RECOVERY = b"r" * 32
PUTS_OF_CREATE = 2  # keys/, repository.json


def wraps(identity: str, master: bytes = MASTER) -> list[dict[str, Any]]:
    return [keys.wrap_with_recovery_key(master, RECOVERY, identity)]


def open_key(store: MemoryObjects) -> bytes:
    """As a reader does, from the store alone."""
    info = repository.open_info(store)
    ((wrap,),) = repository.read_wraps(store, info).values()
    return keys.unwrap_with_recovery_key(wrap, RECOVERY, info.id)


def made() -> tuple[MemoryObjects, RepositoryInfo]:
    store = MemoryObjects()
    info, changed = repository.create(store, wraps)
    assert changed
    return store, info


def change(store: MemoryObjects, name: str, parts: dict[str, Any]) -> None:
    """Other values in a JSON object; ``...`` takes one away."""
    value = {**json.loads(store.objects[name]), **parts}
    store.objects[name] = json.dumps({field: each for field, each in value.items() if each is not ...}).encode()


def keys_object(store: MemoryObjects) -> str:
    (key,) = (found.key for found in store.list(layout.KEYS))
    return key


def test_a_repository_is_made_once() -> None:
    store, info = made()
    before = dict(store.objects)
    assert repository.create(store, wraps) == (info, False)
    assert store.objects == before
    assert open_key(store) == MASTER
    assert sorted(before) == [f"keys/{info.id}.1", "repository.json"]


@pytest.mark.parametrize("puts", range(PUTS_OF_CREATE))
def test_a_killed_maker_leaves_nothing_in_the_way(puts: int) -> None:
    objects: dict[str, bytes] = {}
    with pytest.raises(Killed):
        repository.create(DyingObjects(objects, puts), wraps)
    store = MemoryObjects()
    store.objects = objects
    with pytest.raises(ObjectNotFound):
        repository.open_info(store)
    info, changed = repository.create(store, lambda identity: wraps(identity, b"2" * 32))
    assert changed
    assert open_key(store) == b"2" * 32
    assert repository.create(store, wraps) == (info, False)


def test_a_maker_that_gets_through_has_made_it() -> None:
    """So that the numbers above are all there are."""
    assert repository.create(DyingObjects({}, PUTS_OF_CREATE), wraps)[1]


class RacedObjects(MemoryObjects):
    """Before a call of one maker, another one does all of its work."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.calls, self.before, self.other = 0, before, None

    def __getattribute__(self, name: str) -> Any:
        if name in ("get", "put", "delete"):
            self.calls += 1
            if self.calls == self.before:
                self.other = repository.create(self, lambda identity: wraps(identity, b"2" * 32))
        return super().__getattribute__(name)


@pytest.mark.parametrize("before", range(1, 5))
def test_of_two_makers_one_wins_and_both_agree(before: int) -> None:
    store = RacedObjects(before)
    info, changed = repository.create(store, wraps)
    if store.other is None:  # this maker was through before
        store.other = repository.create(store, wraps)
    assert store.other[0] == info
    assert {changed, store.other[1]} == {True, False}
    assert open_key(store) == (MASTER if changed else b"2" * 32)
    assert sorted(store.objects) == [f"keys/{info.id}.1", "repository.json"]


def test_lost_answers_are_no_other_maker() -> None:
    store = ForgetfulObjects()
    info, changed = repository.create(store, wraps)
    assert changed
    assert open_key(store) == MASTER
    assert repository.create(store, wraps) == (info, False)
    repository.check_writable(store)
    key, _ = repository.commit(store, manifest(), KEY)
    assert repository.read_manifest(store, key, KEY) == manifest()
    with pytest.raises(ObjectExists):
        repository.commit(store, manifest(), KEY)


@pytest.mark.parametrize(
    "head",
    [
        {"format": 2},
        {"format": 0},
        {"format": "1"},
        {"format": None},
        {"cipher": "ROT13"},
        {"format": ...},
        {"cipher": ...},
        {"id": ...},
        {"created": ...},
    ],
    ids=repr,
)
def test_another_format_is_refused(head: dict[str, Any]) -> None:
    store, _ = made()
    change(store, layout.REPOSITORY, head)
    before = dict(store.objects)
    for attempt in (lambda: repository.open_info(store), lambda: repository.create(store, wraps)):
        with pytest.raises(AgentError) as raised:
            attempt()
        assert raised.value.code == "RepositoryFormat"
    assert store.objects == before


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[]", b"null", b"5", b"[" * 100_000], ids=len)
def test_what_is_no_repository_is_refused(body: bytes) -> None:
    store, info = made()
    store.objects[layout.REPOSITORY] = body
    with pytest.raises(AgentError) as raised:
        repository.open_info(store)
    assert raised.value.code == "RepositoryFormat"
    store.objects[f"keys/{info.id}.1"] = body
    with pytest.raises(AgentError) as raised:
        repository.read_wraps(store, info)
    assert raised.value.code == "RepositoryDamaged"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"wraps": ...}, "RepositoryDamaged"),
        ({"wraps": {}}, "RepositoryDamaged"),
        ({"wraps": [5]}, "RepositoryDamaged"),
        ({"wraps": [{}]}, "RepositoryDamaged"),
        ({"wraps": []}, "RepositoryDamaged"),
        ({"repository": ...}, "RepositoryDamaged"),
        ({"repository": "1" * 32}, "RepositoryDamaged"),
        ({"format": 2}, "RepositoryFormat"),
        ({"key": 2}, "RepositoryDamaged"),
        ({"key": ...}, "RepositoryDamaged"),
    ],
    ids=repr,
)
def test_keys_that_cannot_be_used_are_refused(parts: dict[str, Any], code: str) -> None:
    store, info = made()
    change(store, keys_object(store), parts)
    with pytest.raises(AgentError) as raised:
        repository.read_wraps(store, info)
    assert raised.value.code == code


def test_a_lost_key_is_told() -> None:
    store, info = made()
    store.delete(keys_object(store))
    with pytest.raises(AgentError, match="has lost its keys/") as raised:
        repository.read_wraps(store, info)
    assert raised.value.code == "RepositoryDamaged"


def test_further_wraps_and_keys_are_found() -> None:
    store, info = made()
    first = json.loads(store.get(keys_object(store)).body)["wraps"]
    more = keys.wrap_with_recovery_key(MASTER, b"s" * 32, info.id)
    repository.add_wraps(store, info, 1, [more])
    assert repository.read_wraps(store, info) == {1: [*first, more]}
    second = [keys.wrap_with_recovery_key(b"2" * 32, RECOVERY, info.id, 2)]
    repository.add_key(store, info, 2, second)
    change(store, f"keys/{info.id}.2", {"new": "field"})
    assert repository.read_wraps(store, info) == {1: [*first, more], 2: second}
    store.put(f"keys/{'0' * 32}.3", b"of somebody who was not the first to make it")
    store.put(f"keys/{info.id}.notes", b"of somebody else")
    assert sorted(repository.read_wraps(store, info)) == [1, 2]


def test_tests_of_a_store_with_versions_leave_none_behind() -> None:
    store = AgingObjects(versioned=True)
    info, _ = repository.create(store, wraps)
    repository.check_writable(store)
    assert store.everything() == {f"keys/{info.id}.1", "repository.json"}


def test_of_two_that_rotate_one_wins() -> None:
    store, info = made()
    wrap = keys.wrap_with_recovery_key(b"2" * 32, RECOVERY, info.id, 2)
    repository.add_key(store, info, 2, [wrap])
    with pytest.raises(AgentError, match="somebody else") as raised:
        repository.add_key(store, info, 2, [keys.wrap_with_recovery_key(b"3" * 32, RECOVERY, info.id, 2)])
    assert raised.value.code == "KeyRotated"
    assert repository.read_wraps(store, info)[2] == [wrap]


def test_a_key_in_the_middle_that_is_lost_is_told() -> None:
    store, info = made()
    repository.add_key(store, info, 3, [keys.wrap_with_recovery_key(MASTER, RECOVERY, info.id, 3)])
    with pytest.raises(AgentError, match="objects of key 2") as raised:
        repository.read_wraps(store, info)
    assert raised.value.code == "RepositoryDamaged"


def test_an_old_key_cannot_be_passed_off_as_a_newer_one() -> None:
    store, info = made()
    value = json.loads(store.get(keys_object(store)).body)
    store.put(f"keys/{info.id}.2", json.dumps({**value, "key": 2}).encode())
    (wrap,) = repository.read_wraps(store, info)[2]
    with pytest.raises(AgentError) as raised:
        keys.unwrap_with_recovery_key(wrap, RECOVERY, info.id, 2)
    assert raised.value.code == "WrongRecoveryKey"


def test_a_keys_object_of_any_size_does_not_fill_the_memory() -> None:
    store, info = made()
    store.objects[keys_object(store)] += b" " * 70_000
    with pytest.raises(AgentError) as raised:
        repository.read_wraps(store, info)
    assert raised.value.code == "RepositoryDamaged"


def test_another_repositorys_wraps_do_not_open() -> None:
    """Neither as they are, nor relabelled."""
    store, info = made()
    other, other_info = made()
    stolen = json.loads(other.get(f"keys/{other_info.id}.1").body)
    store.objects = {
        layout.REPOSITORY: store.objects[layout.REPOSITORY],
        f"keys/{info.id}.1": json.dumps({**stolen, "repository": info.id}).encode(),
    }
    with pytest.raises(AgentError) as raised:
        open_key(store)
    assert raised.value.code == "WrongRecoveryKey"


def test_a_restore_point_is_committed_once() -> None:
    store = MemoryObjects()
    key, _ = repository.commit(store, manifest(), KEY)
    before = dict(store.objects)
    for second in (manifest(), manifest(agent="other")):
        with pytest.raises(ObjectExists):
            repository.commit(store, second, KEY)
    assert store.objects == before
    assert repository.read_manifest(store, key, KEY) == manifest()


@given(st.dictionaries(st.integers(0, 200), st.sets(st.integers(0, 120), min_size=1, max_size=6), max_size=5))
def test_of_every_point_the_newest_generation_is_listed(points: dict[int, set[int]]) -> None:
    store = MemoryObjects()
    for hours, generations in points.items():
        for generation in generations:
            store.put(layout.point_key(RESOURCE, manifest(hours=hours).id, generation), b"")
    for name in ("readme", "20261124T013000Z-run.01", "sub/20261124T013000Z-run", "20261124T013000Z-run.x"):
        store.put(f"{layout.points_prefix(RESOURCE)}{name}", b"")
    listed = repository.list_points(store, RESOURCE)
    expected = {manifest(hours=hours).id: max(found) for hours, found in sorted(points.items())}
    assert list(listed) == list(expected)
    assert listed == {each: layout.point_key(RESOURCE, each, number) for each, number in expected.items()}


def test_generation_ten_is_above_nine() -> None:
    store = MemoryObjects()
    for generation in (9, 10, 2):
        write_point(store, RESOURCE, {"vol-1": {0: generation}}, generation=generation)
    (key,) = repository.list_points(store, RESOURCE).values()
    assert key.endswith(".10")
    assert list(read_point(store, RESOURCE, key)) == ["vol-1"]


def test_a_resources_points_are_not_those_of_one_whose_id_goes_on() -> None:
    store = MemoryObjects()
    longer = ResourceName(RESOURCE.account, RESOURCE.region, RESOURCE.kind, f"{RESOURCE.id}1")
    write_point(store, longer, {})
    assert repository.list_points(store, RESOURCE) == {}
    assert list(repository.list_points(store, longer)) == [manifest().id]


def test_resources_are_listed_and_strange_folders_passed_over() -> None:
    store, _ = made()
    for resource in (OTHER, RESOURCE):
        repository.commit(store, manifest(resource), key_of(resource))
    for stray in (
        "checks/left-over",
        "readme.txt",
        "archive/a/b/c/d",
        "111122223333/us-east-1/ec2/i d/points/x",
        "111122223333/us-east-1/ec2/file",
        "111122223333/us-east-1/file",
        "111122223333//ec2/i-1/x",
        "1111222233334/us-east-1/ec2/i-1/points/x",
    ):
        store.put(stray, b"")
    assert repository.list_resources(store) == [RESOURCE, OTHER]
    assert {prefix.split("/")[0] for prefix in store.lists} - {"checks"} == {"", RESOURCE.account}


def test_the_check_of_a_store_leaves_nothing() -> None:
    store = MemoryObjects()
    repository.check_writable(store)
    assert not store.objects
    assert len(store.puts) == 1
