# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention beside health checks: what is marked as damaged is not good, and its marks go with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mayfly_agent.objects import ObjectInfo, Stored
from mayfly_agent.repository import damaged, layout, packs, repository
from mayfly_agent.repository.trees import TreeReader
from mayfly_agent.repository_jobs import Chosen

from tests.unit.agent.lines import KEY, NAME, Line, Points, blocks, flipped, volume
from tests.unit.agent.retention.aging import AgingObjects
from tests.unit.agent.retention.sweeps import (
    CONTENTS,
    digests,
    held,
    needed,
    new_store,
    only,
    settle,
    sweep,
    three_points,
)
from tests.unit.agent.retention.test_run import run

LINE = Line({**CONTENTS, "snap-3": {**CONTENTS["snap-2"], 0: 7}})


@pytest.fixture(params=[False, True], ids=["plain", "versioned"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Points, dict]:
    """Three points; all have blocks 0 and 3000 of one pack, blocks 5 and 9 the last has for itself."""
    store, contents = three_points(tmp_path, versioned=request.param)
    points = Points(store, tmp_path)
    points.hours = 9
    return points, contents


def damage(points: Points, point: str, *indexes: int) -> dict[str, set[str]]:
    """Damage blocks of a point and let a health check look: keys of marks by point."""
    store = points.store
    manifest = repository.read_manifest(store, repository.list_points(store, NAME)[point], KEY)
    (record,) = manifest.volumes
    for entry in TreeReader(manifest.place(record), KEY, record.tree(), store).entries():
        if entry.index in indexes:
            pack = layout.pack_key(NAME, entry.location.pack)
            store.objects[pack] = flipped(store.objects[pack], entry.location.offset)
    points.check()
    return marks(store)


def marks(store: AgingObjects) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    prefix = layout.damaged_prefix(NAME)
    for key in store.everything():
        if key.startswith(prefix):
            found.setdefault(key.removeprefix(prefix).rpartition(".")[0], set()).add(key)
    return found


def test_a_damaged_newest_point_is_not_good_and_its_marks_go_with_it(
    made: tuple[Points, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    points, contents = made
    first, second, third = contents
    monkeypatch.setattr(damaged, "MAXIMUM_NAMED", 1)
    found = damage(points, third, 5, 9)
    assert found.keys() == {third}
    assert len(found[third]) == 2
    assert sweep(points.store, *contents).points_deleted == [first, third]
    assert marks(points.store) == {}
    assert held(points.store) == digests(only(contents, [second]))
    settle(points.store)
    assert points.store.everything() == needed(points.store)


def test_where_no_point_is_good_all_stay_with_their_marks(made: tuple[Points, dict]) -> None:
    points, contents = made
    found = damage(points, next(iter(contents)), 0)
    assert found.keys() == contents.keys()
    assert sweep(points.store, *contents).points_deleted == []
    assert marks(points.store) == found
    assert list(repository.list_points(points.store, NAME)) == list(contents)


def test_the_marks_of_what_stays_stay(made: tuple[Points, dict]) -> None:
    """The next backup has copied the damaged block, so its point is good."""
    points, contents = made
    first, second, third = contents
    found = damage(points, third, 0)
    new = points.make(LINE, volume("snap-2", "snap-2"), parent=third)
    assert points.restored(new.id) == blocks(CONTENTS["snap-2"])
    assert sweep(points.store, first, second, new.id).points_deleted == [first, second]
    assert marks(points.store) == {third: found[third]}
    settle(points.store)
    assert points.store.everything() == needed(points.store) | found[third]


def test_a_point_that_is_made_and_marked_meanwhile_keeps_its_marks(
    made: tuple[Points, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the sweep has listed the points, and before it lists the marks."""
    points, contents = made
    first, _second, third = contents
    store, ids = points.store, []
    ask = store.list

    def list_later(prefix: str, *, versions: bool = False) -> Iterator[ObjectInfo]:
        if prefix == layout.marks_prefix(NAME) and not ids:
            ids.append(points.make(LINE, volume("snap-3", "snap-2"), parent=third).id)
            ids.extend(damage(points, ids[0], 0))
        return ask(prefix, versions=versions)

    monkeypatch.setattr(store, "list", list_later)
    assert sweep(store, first).points_deleted == [first]
    assert ids[1:] == ids[:1]
    assert marks(store).keys() == set(ids)


@pytest.mark.parametrize("readable", [True, False])
def test_a_pack_that_is_known_to_be_damaged_is_not_written_anew(
    made: tuple[Points, dict], monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    """All before the damaged block would be put in each sweep, for nothing."""
    points, contents = made
    first, second, third = contents
    found = damage(points, third, 3000 if readable else 9)[third]
    for key in () if readable else found:
        points.store.objects[key] = b"other"
    points.make(LINE, volume("snap-3", "snap-2"), parent=third)
    monkeypatch.setattr(packs, "TARGET_BYTES", 1)
    points.store.puts.clear()
    done = sweep(points.store, first, second, share=0.9)
    assert done.points_deleted == [first, second]
    assert (done.packs_rewritten, done.points_damaged) == (0, [])
    assert not [key for key in points.store.puts if "/packs/" in key or "/trees/" in key]


def test_points_that_were_written_anew_are_damaged_as_before(made: tuple[Points, dict]) -> None:
    """Marks name blocks, whose places alone have changed."""
    points, contents = made
    first, _second, third = contents
    found = damage(points, third, 9)
    assert sweep(points.store, first, share=0.9).packs_rewritten == 1
    assert repository.list_points(points.store, NAME)[third] == layout.point_key(NAME, third, 1)
    sweep(points.store)
    assert marks(points.store) == found
    new = points.make(LINE, volume("snap-3", "snap-2"), parent=third)
    assert (new.volumes[0].method, new.volumes[0].blocks_stored) == ("compared", 2)
    assert points.restored(new.id) == blocks(LINE.snapshots["snap-3"])
    assert points.check()["marks"] == 0


@pytest.mark.parametrize("harmed", [False, True], ids=["whole", "damaged"])
def test_a_point_that_is_written_anew_while_it_is_checked_is_checked_as_it_is_then(
    made: tuple[Points, dict], monkeypatch: pytest.MonkeyPatch, harmed: bool
) -> None:
    """After the check has listed points and packs the manifest that it is about to read goes, and packs with it."""
    points, contents = made
    first, second, third = contents
    store = points.store
    listed, ask = repository.list_points(store, NAME)[third], store.get
    went: list[str] = []

    def get_later(key: str) -> Stored:
        if key == listed and not went:
            went.append(key)
            before = set(store.objects)
            settle(store, first, second, share=0.9)
            (pack,) = [each for each in set(store.objects) - before if "/packs/" in each]
            store.objects[pack] = flipped(store.objects[pack], 45) if harmed else store.objects[pack]
        return ask(key)

    monkeypatch.setattr(store, "get", get_later)
    result = points.check()
    assert repository.list_points(store, NAME) == {third: layout.point_key(NAME, third, 1)}
    assert (result["points"], result["damaged_points"], result["failed"]) == (3, int(harmed), 0)


def test_a_point_that_goes_while_it_is_checked_does_not_count(
    made: tuple[Points, dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    points, contents = made
    _first, second, _third = contents
    store = points.store
    listed, ask = repository.list_points(store, NAME)[second], store.get

    def get_later(key: str) -> Stored:
        if key == listed:
            store.objects.pop(listed, None)
        return ask(key)

    monkeypatch.setattr(store, "get", get_later)
    result = points.check()
    assert (result["points"], result["damaged_points"], result["failed"]) == (2, 0, 0)


def test_a_pack_that_was_cut_is_told_of_its_points_and_fails_no_sweep(tmp_path: Path) -> None:
    """Of the one that is to be written anew, the very block that is still needed."""
    store, line = new_store(), Line({"snap-0": {index: index + 1 for index in range(60)}, "snap-1": {59: 60}})
    points = Points(store, tmp_path)
    first = points.make(line, volume("snap-0"))
    second = points.make(line, volume("snap-1", "snap-0"), parent=first.id)
    (record,) = second.volumes
    (entry,) = TreeReader(second.place(record), KEY, record.tree(), store).entries()
    pack, at = layout.pack_key(NAME, entry.location.pack), entry.location
    store.objects[pack] = store.objects[pack][: at.offset + at.length - 1]
    done = run(store, tmp_path, Chosen(NAME, KEY, frozenset([first.id])))
    told = done["resources"][NAME.path]
    assert (done["failed"], told["error"], told["points_damaged"]) == (0, None, [second.id])
