# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletion in two phases: what goes, when, and what stays whatever was asked for."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.objects import Lock
from mayfly_agent.repository import layout, repository
from mayfly_agent.repository.condemned import read_condemned
from mayfly_agent.sweep import GRACE

from tests.unit.agent.lines import KEY, NAME
from tests.unit.agent.retention.aging import AgingObjects
from tests.unit.agent.retention.sweeps import (
    SECOND,
    digests,
    held,
    needed,
    only,
    settle,
    sweep,
    three_points,
)

MARKS = f"{NAME.path}/marks/"


@pytest.fixture(params=[False, True], ids=["plain", "versioned"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[AgingObjects, dict]:
    return three_points(tmp_path, versioned=request.param)


def test_what_is_condemned_is_deleted_a_grace_later(made: tuple[AgingObjects, dict]) -> None:
    store, contents = made
    first, second, third = contents
    abandoned = layout.pack_key(NAME, os.urandom(16))
    store.put(abandoned, b"of a writer that was killed")
    before = {key for key in store.objects if "/points/" not in key}
    done = sweep(store, first, second)
    assert done.points_deleted == [first, second]
    assert (done.objects_deleted, done.bytes_deleted) == (0, 0)
    assert done.objects_condemned == len(before - needed(store)) > 4
    assert before <= store.objects.keys()
    assert held(store) == digests(only(contents, [third]))
    # What may be of a backup that goes on, and come into use, is in a list of its own.
    lists = [read_condemned(store, KEY, key) for key in store.objects if "/condemned/" in key]
    assert sorted(lists, key=len)[0] == {bytes.fromhex(abandoned.rpartition("/")[2])}

    store.now += GRACE - SECOND
    assert sweep(store).objects_deleted == 0
    store.now += SECOND
    size = sum(len(store.objects[key]) for key in before - needed(store))
    done = sweep(store)
    assert (done.bytes_deleted, done.objects_condemned) == (size, 0)
    assert held(store) == digests(only(contents, [third]))
    assert store.everything() == needed(store)


def test_what_came_into_use_again_is_taken_back(made: tuple[AgingObjects, dict]) -> None:
    store, contents = made
    first, second, third = contents
    kept = {key: store.objects[key] for key in store.objects if "/points/" in key}
    sweep(store, first)
    back = layout.point_key(NAME, first)
    store.put(back, kept[back])
    store.now += GRACE + SECOND
    done = sweep(store, second)
    assert done.objects_deleted == 0
    assert held(store) == digests(only(contents, [first, third]))


def test_who_removes_a_point_takes_back_the_lists_that_name_its_objects(made: tuple[AgingObjects, dict]) -> None:
    """A week after they were condemned, somebody may have just begun to read what is removed now."""
    store, contents = made
    first, _second, _third = contents
    back = layout.point_key(NAME, first)
    whole = store.objects[back]
    sweep(store, first)
    store.put(back, whole)
    store.now += GRACE - timedelta(hours=1)
    sweep(store, first)
    store.now += timedelta(hours=2)
    assert sweep(store).objects_deleted == 0
    store.now += GRACE
    assert sweep(store).objects_deleted > 0


def test_the_newest_good_point_and_what_is_marked_stay(made: tuple[AgingObjects, dict]) -> None:
    store, contents = made
    first, second, third = contents
    store.put(f"{MARKS}damaged/{third}.0123abcd", b"")
    store.put(f"{MARKS}keep/{first}", b"")
    assert sweep(store, *contents).points_deleted == [third]
    assert list(held(store)) == [first, second]
    store.put(f"{MARKS}damaged/{second}.0123abcd", b"")
    store.put(f"{MARKS}damaged/{first}.0123abcd", b"")
    assert sweep(store, *contents).points_deleted == []


@pytest.mark.parametrize("name", ["archived/x", "condemned/x", "keep/x", "damaged/x"])
def test_an_unknown_mark_stops_it(made: tuple[AgingObjects, dict], name: str) -> None:
    store, contents = made
    store.put(f"{MARKS}{name}", b"")
    before = store.everything()
    with pytest.raises(AgentError) as raised:
        sweep(store, *contents)
    assert raised.value.code == "RepositoryFormat"
    assert store.everything() == before


@pytest.mark.parametrize("kind", ["points", "trees"])
def test_what_cannot_be_read_stops_it(made: tuple[AgingObjects, dict], kind: str) -> None:
    """Of a point that stays, and of one that goes."""
    store, contents = made
    keys = [key for key in store.objects if f"/{kind}/" in key]
    for key in keys:
        whole = store.objects[key]
        store.objects[key] = whole[:-1]
        before = store.everything()
        with pytest.raises(AgentError):
            sweep(store, *list(contents)[:2])
        assert store.everything() == before
        store.objects[key] = whole


def test_a_need_that_deletion_does_not_know_stops_it(
    made: tuple[AgingObjects, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a newer reader of manifests knows it."""
    store, contents = made
    monkeypatch.setattr("mayfly_agent.marking.open_with_value", with_a_need)
    with pytest.raises(AgentError, match="needs") as raised:
        sweep(store, *contents)
    assert raised.value.code == "RepositoryFormat"


def with_a_need(body: bytes, key: bytes, name: str) -> tuple:
    from mayfly_agent.repository.manifest import open_with_value

    manifest, value = open_with_value(body, key, name)
    return manifest, {**value, "needs": ["streams"]}


def test_what_is_locked_is_told_with_its_date(made: tuple[AgingObjects, dict]) -> None:
    store, contents = made
    first, second, third = contents
    sweep(store, first)
    store.now += GRACE + SECOND
    (pack, *_) = sorted(key for key in store.objects.keys() - needed(store) if "/trees/" in key)
    until = datetime(2027, 2, 1, tzinfo=UTC)
    store.locks = {pack: Lock(until), layout.point_key(NAME, second): Lock(until + timedelta(days=1))}
    done = sweep(store, second)
    assert (done.locked, done.locked_until) == (2, until + timedelta(days=1))
    assert done.points_deleted == []
    assert done.objects_condemned == 0  # what a point stands on that could not go
    assert pack in store.objects
    assert held(store) == digests(only(contents, [second, third]))
    store.locks.clear()
    settle(store, second)
    assert store.everything() == needed(store)


def test_what_may_not_be_deleted_is_an_error(made: tuple[AgingObjects, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    store, contents = made
    point = layout.point_key(NAME, next(iter(contents)))
    store.locks = {point: Lock(None)}
    monkeypatch.setattr(store, "lock", lambda key, version: None)
    with pytest.raises(AgentError, match="locked") as raised:
        sweep(store, *contents)
    assert "s3:DeleteObjectVersion" in raised.value.remedy


def test_other_names_are_left_alone(made: tuple[AgingObjects, dict]) -> None:
    store, contents = made
    strange = [f"{NAME.path}/{name}" for name in ("packs/aa/bb", "packs/x", "trees/aa/b", "notes", "points/x", "lease")]
    strange += [f"{NAME.path}/packs/bb/aa{'0' * 30}", f"{NAME.path}x/packs/aa/aa{'0' * 30}"]
    strange += [f"{NAME.path}/catalogue/point=x/0.parquet"]
    for key in strange:
        store.put(key, b"")
    settle(store, *contents)
    assert store.everything() == needed(store) | set(strange)


def test_packs_of_which_little_is_in_use_are_written_anew(made: tuple[AgingObjects, dict]) -> None:
    store, contents = made
    first, second, third = contents
    old = {key for key in store.objects if "/packs/" in key}
    digest = repository.read_manifest(store, layout.point_key(NAME, third), KEY).volumes[0].digest
    done = sweep(store, first, share=0.6)
    assert done.packs_rewritten == 0  # the second still needs most of them
    assert len(repository.list_points(store, NAME)) == 2
    done = sweep(store, second, share=0.6)
    assert done.packs_rewritten == 1
    assert held(store) == digests(only(contents, [third]))
    assert repository.list_points(store, NAME) == {third: layout.point_key(NAME, third, 1)}
    again = repository.read_manifest(store, layout.point_key(NAME, third, 1), KEY)
    assert again.volumes[0].digest == digest
    settle(store, share=0.6)
    assert held(store) == digests(only(contents, [third]))
    assert store.everything() == needed(store)
    assert len(old & store.objects.keys()) == 1
    assert sweep(store, share=0.6).packs_rewritten == 0
