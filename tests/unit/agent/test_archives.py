# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore points that go into sets of their own, and come back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.archives import Archiving, Sets
from mayfly_agent.errors import AgentError
from mayfly_agent.job import LockJob
from mayfly_agent.objects import Lock
from mayfly_agent.progress import Progress
from mayfly_agent.repository import layout, repository, seal
from mayfly_agent.repository.marks import read_marks
from mayfly_agent.repository_jobs import Archived, ArchiveJob
from mayfly_agent.s3 import S3Objects
from mayfly_agent.status import Status

from tests.unit.agent.hostile import Hostile
from tests.unit.agent.lines import KEY, NAME, Line, Points, blocks, flipped, volume
from tests.unit.agent.memory import NOW, Below, DyingObjects, Killed, MemoryObjects, set_in
from tests.unit.agent.retention.sweeps import digests, held, only, settle, three_points
from tests.unit.agent.transfers import job

BEFORE = {0: 1, 1: 2, 700: 3, 3000: 4}
AFTER = {**BEFORE, 1: 9}
RUN = "20261127T000000Z-fedcba"


@pytest.fixture
def points(store: MemoryObjects, tmp_path: Path) -> Points:
    return Points(store, tmp_path)


@pytest.fixture
def two(points: Points) -> tuple[str, str]:
    """Two restore points that share three blocks of four."""
    line = Line({"snap-0": BEFORE, "snap-1": AFTER})
    first = points.make(line, volume("snap-0"))
    return first.id, points.make(line, volume("snap-1", "snap-0"), parent=first.id).id


def copy(
    points: Points,
    *names: str,
    back: bool = False,
    sets: Sets | None = None,
    store: Any = None,
    key: bytes = KEY,
    notes: float = 1e9,
    **parts: Any,
) -> dict[str, Any]:
    """Archive these restore points, or bring these sets back, within a day; a note is made after so many seconds."""
    wanted = tuple(Archived(NAME, key, each) for each in names)
    common = job(**{"run": RUN, "points": wanted, "storage_class": "GLACIER", **parts})
    del common["resource_key"]
    sets = sets or (lambda folder: set_in(points.store, folder))
    progress = Progress()
    progress.deadline = progress.clock.now() + 86_400
    with Status(points.folder / "status.json", progress) as status:
        archiving = Archiving(ArchiveJob(**common), store or points.store, sets, status, back=back, notes_every=notes)
        made: Any = archiving.run()
    return dict(made["archive"])


class Glacier(MemoryObjects):
    """Packs are archived: they are listed, and cannot be read."""

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        if layout.is_pack(key):
            self.body(key)
            raise AgentError("InvalidObjectState", "It is archived.")
        return super().get_range(key, offset, length)


def glacier(points: Points, folder: str) -> MemoryObjects:
    made = Glacier()
    made.objects = Below(points.store.objects, folder)  # type: ignore[assignment]
    made.locks = points.store.locks
    return made


def sets_of(points: Points) -> set[str]:
    prefix = layout.archives_prefix(NAME)
    return {key.removeprefix(prefix).split("/")[0] for key in points.store.objects if key.startswith(prefix)}


def own_pack(points: Points, two: tuple[str, str]) -> str:
    """The pack that the second point alone refers to."""
    (pack,) = (key for key in points.referenced(two[1]) - points.referenced(two[0]) if "/packs/" in key)
    return pack


def test_a_set_holds_all_of_one_point_and_refers_to_nothing_else(points: Points, two: tuple[str, str]) -> None:
    second, before = two[1], dict(points.store.objects)
    result = copy(points, second)
    (told,) = result["points"]
    assert (told["from"], told["blocks"], result["failed"]) == (second, 4, 0)
    assert layout.parse_archive(told["made"]) == second
    alone = Points(set_in(points.store, layout.archive_folder(NAME, told["made"])), points.folder)
    assert alone.restored(second) == blocks(AFTER)
    data = {key: body for key, body in alone.store.objects.items() if "/points/" not in key}
    assert data.keys() == alone.referenced(second)
    assert result["bytes_stored"] == sum(map(len, data.values()))
    (record,) = alone.manifest(second).volumes
    assert (alone.manifest(second).parent, record.blocks_stored, record.method) == (None, 4, "full")
    assert {key: body for key, body in points.store.objects.items() if "/archives/" not in key} == before


def test_no_pack_of_it_has_the_id_of_another(points: Points, two: tuple[str, str]) -> None:
    copy(points, *two)
    names = [key.rpartition("/")[2] for key in points.store.objects if layout.is_pack(key)]
    assert len(names) == len(set(names)) == 4


def test_it_comes_back_as_another_point_of_its_time_and_is_kept(points: Points, two: tuple[str, str]) -> None:
    second = two[1]
    (archived,) = copy(points, second)["points"]
    time = points.manifest(second).time
    for key in list(points.store.objects):
        if key.startswith(NAME.path) and "/archives/" not in key:
            del points.store.objects[key]
    (told,) = copy(points, archived["made"], back=True)["points"]
    assert (told["from"], told["made"]) == (archived["made"], f"{second.split('-')[0]}-{RUN}")
    assert (points.manifest(told["made"]).time, points.restored(told["made"])) == (time, blocks(AFTER))
    assert read_marks(points.store, NAME).keep == {told["made"]}
    assert points.check()["damaged_points"] == 0


def test_sweeps_leave_sets_alone_and_keep_what_came_back(tmp_path: Path) -> None:
    store, contents = three_points(tmp_path)
    points, (first, _second, third) = Points(store, tmp_path), contents
    (archived,) = copy(points, first)["points"]
    sets = {key for key in store.objects if "/archives/" in key}
    settle(store, *contents)
    assert held(store) == digests(only(contents, [third]))
    (told,) = copy(points, archived["made"], back=True)["points"]
    settle(store, *repository.list_points(store, NAME))
    assert held(store) == digests({told["made"]: contents[first], third: contents[third]})
    assert {key for key in store.objects if "/archives/" in key} == sets


def test_what_is_damaged_is_told_and_the_others_are_copied(points: Points, two: tuple[str, str]) -> None:
    first, second = two
    pack = own_pack(points, two)
    points.store.objects[pack] = flipped(points.store.objects[pack], 100)
    result = copy(points, second, first)
    assert result["failed"] == 1
    errors = {told["from"]: told["error"] for told in result["points"]}
    assert (errors[second]["code"], errors[first]) == ("ObjectDamaged", None)
    whole = [key for key in points.store.objects if "/archives/" in key and "/points/" in key]
    assert [key.rpartition("/")[2] for key in whole] == [first]


def test_a_writer_that_is_killed_leaves_a_set_without_its_manifest(points: Points, two: tuple[str, str]) -> None:
    copy(points, two[1])
    puts = sum("/archives/" in key for key in points.store.objects)
    for survived in range(puts):
        before = set(points.store.objects)
        view = lambda folder, left=survived: DyingObjects(Below(points.store.objects, folder), left)  # type: ignore[arg-type, misc]  # noqa: E731
        with pytest.raises(Killed):
            copy(points, two[1], sets=view)
        assert not [key for key in points.store.objects.keys() - before if "/points/" in key]


def die(points: Points, name: str, left: int, **parts: Any) -> None:
    """Begin to archive a point, or to bring a set back, and be killed at the last of so many puts."""
    parts = {"notes": 0, **parts}
    if parts.get("back"):
        with pytest.raises(Killed):
            copy(points, name, store=DyingObjects(points.store.objects, left), **parts)
        return

    def view(folder: str) -> Any:
        return DyingObjects(Below(points.store.objects, folder), left)  # type: ignore[arg-type]

    with pytest.raises(Killed):
        copy(points, name, sets=view, **parts)


def test_an_archive_that_was_cut_off_is_gone_on_with_in_its_set(points: Points, two: tuple[str, str]) -> None:
    """At every put, though what is there can only be listed; a set that is whole is left alone."""
    second = two[1]
    copy(points, two[0])
    before, resumed = dict(points.store.objects), []
    copy(points, second, notes=0)
    puts = sum("/archives/" in key for key in points.store.objects.keys() - before.keys())
    for left in range(puts):
        points.store.objects.clear()
        points.store.objects.update(before)
        die(points, second, left=left)
        (told,) = copy(points, second, sets=lambda folder: glacier(points, folder))["points"]
        assert told["error"] is None
        alone = Points(set_in(points.store, layout.archive_folder(NAME, told["made"])), points.folder)
        assert alone.restored(second) == blocks(AFTER)
        resumed.append(told["blocks_resumed"])
        begun = {each for each in sets_of(points) if layout.parse_archive(each) == second}
        assert begun == {told["made"]} if resumed[-1] else len(begun) <= 2
    assert (min(resumed), max(resumed)) == (0, 4)


@pytest.mark.parametrize("how", ["a pack is gone", "a pack is shorter", "a week has passed"])
def test_what_is_not_as_it_was_is_not_gone_on_with(
    how: str, points: Points, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    die(points, two[1], left=9)
    (begun,) = sets_of(points)
    packs = [key for key in points.store.objects if begun in key and layout.is_pack(key)]
    if how == "a pack is gone":
        del points.store.objects[packs[0]]
    elif how == "a pack is shorter":
        points.store.objects[packs[0]] = points.store.objects[packs[0]][:-1]
    else:
        later = points.store.get
        monkeypatch.setattr(
            points.store, "get", lambda key: replace(later(key), date=later(key).date + timedelta(days=7))
        )
    (told,) = copy(points, two[1], sets=lambda folder: glacier(points, folder))["points"]
    assert (told["blocks_resumed"], told["made"] == begun) == (0, False)


def test_a_way_back_that_was_cut_off_is_gone_on_with(points: Points, two: tuple[str, str]) -> None:
    (archived,) = copy(points, two[1])["points"]
    for key in list(points.store.objects):
        if key.startswith(NAME.path) and "/archives/" not in key:
            del points.store.objects[key]
    die(points, archived["made"], back=True, left=10)
    (told,) = copy(points, archived["made"], back=True, run=RUN.replace("fedcba", "later"))["points"]
    assert (told["made"], told["blocks_resumed"] > 0) == (f"{two[1].split('-')[0]}-{RUN}", True)
    assert points.restored(told["made"]) == blocks(AFTER)


def test_a_set_that_is_whole_is_no_set_to_go_on_with(points: Points, two: tuple[str, str]) -> None:
    copy(points, two[1], notes=0)
    before = dict(points.store.objects)
    (told,) = copy(points, two[1])["points"]
    assert told["blocks_resumed"] == 0
    assert before.items() <= points.store.objects.items()


@pytest.mark.parametrize("back", [False, True])
def test_what_is_made_is_locked_as_a_backup_is(points: Points, two: tuple[str, str], back: bool) -> None:
    lock = LockJob("COMPLIANCE", 30 * 86_400)
    store = points.store

    def locking(folder: str) -> Any:
        made = set_in(store, folder)
        made.locks = locks
        return made

    locks: dict[str, Lock] = {}
    (archived,) = copy(points, two[1], sets=locking, lock=lock)["points"]
    where = set_in(store, layout.archive_folder(NAME, archived["made"]))
    made = two[1]
    if back:
        (told,) = copy(points, archived["made"], back=True, lock=lock)["points"]
        where, made, locks = store, told["made"], store.locks
    there = Points(where, points.folder)
    point = there.manifest(made)
    assert point.lock is not None
    assert point.lock.until == NOW + timedelta(days=30, seconds=1)
    objects = there.referenced(made)
    assert {key for key in locks if "/marks/" not in key} == {layout.point_key(NAME, made), *objects}
    assert {locks[key] for key in objects} == {point.objects_lock}
    assert locks[layout.point_key(NAME, made)] == point.lock


@pytest.mark.parametrize("back", [False, True])
def test_what_cannot_be_asked_ends_it(points: Points, two: tuple[str, str], back: bool) -> None:
    (archived,) = copy(points, two[1])["points"]

    class Closed(MemoryObjects):
        def get_range(self, key: str, offset: int, length: int) -> bytes:
            raise AgentError("AccessDenied", "No.")

    def closed(objects: Any) -> MemoryObjects:
        made = Closed()
        made.objects = objects
        return made

    if not back:
        points.store = closed(points.store.objects)
    with pytest.raises(AgentError, match="No"):
        copy(
            points,
            archived["made"] if back else two[1],
            back=back,
            sets=lambda folder: closed(Below(points.store.objects, folder)),
        )


def test_an_archived_pack_says_what_to_do(points: Points, two: tuple[str, str]) -> None:
    """As S3 answers, of one set among others."""
    archived = [each["made"] for each in copy(points, *two)["points"]]

    class Glacier(MemoryObjects):
        def get_range(self, key: str, offset: int, length: int) -> bytes:
            raise AgentError("InvalidObjectState", "It is archived.")

    def open_set(folder: str) -> MemoryObjects:
        made = Glacier() if archived[0] in folder else MemoryObjects()
        made.objects = Below(points.store.objects, folder)  # type: ignore[assignment]
        return made

    result = copy(points, *archived, back=True, sets=open_set)
    assert [each["error"] and each["error"]["code"] for each in result["points"]] == ["InvalidObjectState", None]


@pytest.mark.parametrize(
    ("key", "wanted"), [(layout.pack_key(NAME, bytes(16)), "GLACIER"), (layout.node_key(NAME, bytes(32)), None)]
)
def test_packs_of_a_set_alone_are_in_its_class(s3: S3Objects, hostile: Hostile, key: str, wanted: str | None) -> None:
    folder = layout.archive_folder(NAME, "20261124T013000Z-a.0123abcd")
    made = S3Objects(s3._client, "bucket", folder, None, packs_class="GLACIER")
    made.put(key, b"body")
    s3.put(key, b"body")
    (archived, plain) = hostile.requests
    assert archived.path == f"/bucket/{folder}/{key}"
    assert archived.headers.get("x-amz-storage-class") == wanted
    assert "x-amz-storage-class" not in plain.headers


def test_what_keys_before_a_rotation_have_sealed_is_sealed_with_the_newest(
    points: Points, two: tuple[str, str]
) -> None:
    newest = seal.ResourceKey(b"n" * 32, (KEY,))
    (archived,) = copy(points, two[1], key=newest)["points"]
    inside = set_in(points.store, layout.archive_folder(NAME, archived["made"]))
    for key, body in inside.objects.items():
        assert seal.key_id(newest) in body[:16], key
    (told,) = copy(points, archived["made"], back=True, key=newest)["points"]
    assert told["error"] is None
