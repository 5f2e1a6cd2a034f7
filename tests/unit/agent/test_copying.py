# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of restore points: the same blocks under another key, shared as at home, and safe to kill at any call."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.copies import Copies
from mayfly_agent.copying import UNIT
from mayfly_agent.errors import AgentError
from mayfly_agent.job import LockJob, RepositoryPlace
from mayfly_agent.progress import Progress
from mayfly_agent.repository import layout, repository
from mayfly_agent.repository.manifest import open_with_value
from mayfly_agent.repository_jobs import Copied, CopyJob
from mayfly_agent.status import Status

from tests.unit.agent.lines import KEY, NAME, Content, Line, Points, blocks, flipped, volume
from tests.unit.agent.memory import Killed
from tests.unit.agent.retention import sweeps
from tests.unit.agent.retention.aging import AgingObjects, Client, StoreClock
from tests.unit.agent.retention.sweeps import GRACE, SECOND, digests, new_store, three_points
from tests.unit.agent.transfers import job

TARGET = b"t" * 32


@pytest.fixture(autouse=True)
def at_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps and what is held are of the repository that is copied to."""
    monkeypatch.setattr(sweeps, "KEY", TARGET)


@pytest.fixture
def source(tmp_path: Path) -> tuple[AgingObjects, dict[str, Content]]:
    """Three points, of which two are incremental."""
    return three_points(tmp_path)


def copy(
    source: Any,
    target: Any,
    folder: Path,
    *points: str,
    store: AgingObjects | None = None,
    notes: float = 1e9,
    **parts: Any,
) -> dict[str, Any]:
    """Copy these points, within a day; ``store`` is what the target's client sends to.

    A note is made after so many seconds. ``parts``: ``lock`` of the job, and ``failed`` of the resource.
    """
    common = job(resource={"account": "444455556666", "region": "us-east-1", "kind": "repository", "id": "bucket"})
    del common["resource_key"]
    wanted = CopyJob(
        **common,
        resources=(Copied(NAME, KEY, TARGET, frozenset(points), parts.pop("failed", {})),),
        target=RepositoryPlace("second", "", "us-east-1"),
        **parts,
    )
    progress = Progress(StoreClock(store or target))
    progress.deadline = progress.clock.now() + 86_400
    with Status(folder / "status.json", progress) as status:
        result: Any = Copies(wanted, source, target, status, notes).run()["copied"]
        return {**result, "points_done": status.unit(UNIT)["points_done"]}


def keys_of(store: AgingObjects, kind: str) -> set[str]:
    return {key for key in store.objects if f"/{kind}/" in key}


def test_every_point_holds_the_same_under_another_key(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    target = new_store()
    done = copy(store, target, tmp_path, *contents)
    assert (done["points_copied"], done["failed"], done["points_done"]) == (3, 0, 3)
    assert sweeps.held(target) == digests(contents)
    assert not keys_of(store, "packs") & keys_of(target, "packs")
    assert not keys_of(store, "trees") & keys_of(target, "trees")
    # Each block is stored once, whichever points have it, and what two points share they share here as well.
    assert done["blocks_copied"] == len({block for each in contents.values() for block in each.items()})
    assert len(keys_of(target, "packs")) == 3
    assert len(keys_of(target, "trees")) == len(keys_of(store, "trees"))


def test_the_manifest_says_where_it_comes_from_and_keeps_the_rest(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    target = new_store()
    first, second, _third = sorted(contents)
    copy(store, target, tmp_path, first, second)
    key = layout.point_key(NAME, second)
    _, before = open_with_value(store.objects[key], KEY, key)
    manifest, after = open_with_value(target.objects[key], TARGET, key)
    assert after["copied_from"] == repository.open_info(store).id
    assert manifest.parent == first
    assert "first" not in after
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    assert changed <= {"volumes", "parent"}
    told = {name for name, value in before["volumes"][0].items() if after["volumes"][0][name] != value}
    assert told <= {"root", "bytes_stored", "blocks_stored"}


def test_a_copy_does_not_say_of_locks_what_is_so_in_its_source(tmp_path: Path) -> None:
    store, target = new_store(), new_store()
    lock = LockJob("COMPLIANCE", 86_400)
    made = Points(store, tmp_path).make(Line({"snap-0": {0: 1}}), volume("snap-0"), lock=lock)
    copy(store, target, tmp_path, made.id)
    copied = repository.read_manifest(target, layout.point_key(NAME, made.id), TARGET)
    assert made.lock is not None
    assert (copied.lock, copied.objects_lock, copied.lock_mode) == (None, None, None)
    assert target.locks == {}


def test_points_can_come_in_any_order_and_more_than_once(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    target = new_store()
    ids = sorted(contents)
    copy(store, target, tmp_path, ids[2])
    before = dict(target.objects)
    assert copy(store, target, tmp_path, ids[2])["points_copied"] == 0
    assert target.objects == before
    assert copy(store, target, tmp_path, *ids)["points_copied"] == 2
    assert sweeps.held(target) == digests(contents)


def test_what_was_compacted_and_swept_at_the_source_is_copied_too(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, contents = source
    ids = sorted(contents)
    target = new_store()
    copy(store, target, tmp_path, ids[0])
    with monkeypatch.context() as patch:
        patch.setattr(sweeps, "KEY", KEY)
        sweeps.settle(store, *ids[:2], share=0.9)
    copy(store, target, tmp_path, ids[2])
    assert sweeps.held(target) == digests({each: contents[each] for each in (ids[0], ids[2])})


def test_a_volume_that_grows_and_shrinks_to_nothing_is_copied(tmp_path: Path) -> None:
    contents: dict[str, Content] = {"snap-0": {0: 1, 1030: 2}, "snap-1": {0: 1, 1030: 2, 9000: 3}, "snap-2": {}}
    sizes = {"snap-0": 4, "snap-1": 600, "snap-2": 600}
    store, line = new_store(), Line(contents)
    points, parent, ids = Points(store, tmp_path), "", {}
    for snapshot, content in contents.items():
        made = points.make(line, volume(snapshot, size_gib=sizes[snapshot]), parent=parent)
        ids[made.id], parent = content, made.id
    target = new_store()
    done = copy(store, target, tmp_path, *ids)
    assert (done["points_copied"], done["blocks_copied"]) == (3, 3)
    assert sweeps.held(target) == digests(ids)
    backwards = new_store()
    for each in sorted(ids, reverse=True):
        copy(store, backwards, tmp_path, each)
    assert sweeps.held(backwards) == digests(ids)


def test_a_point_that_is_damaged_is_told_and_the_others_are_copied(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    ids = sorted(contents)
    with_one = set(three_packs_of(store, ids))
    (pack,) = with_one
    store.objects[pack] = flipped(store.objects[pack], 40)
    target = new_store()
    done = copy(store, target, tmp_path, *ids)
    (told,) = done["resources"].values()
    assert set(told["failed"]) == set(ids)  # all of them stand on that block
    assert done["failed"] == 3
    assert "is damaged" in told["failed"][ids[0]]["message"]
    assert sweeps.held(target) == {}


@pytest.mark.parametrize("kept", [0, 100])
def test_a_pack_that_was_cut_fails_what_stands_on_it_alone(
    kept: int, source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    other = Points(store, tmp_path)
    other.hours = 9
    line = Line({"snap-9": {4000: 7}})
    whole = other.make(line, volume("snap-9"))
    ids = sorted(contents)
    (pack,) = set(three_packs_of(store, ids))
    store.objects[pack] = store.objects[pack][:kept]
    target = new_store()
    done = copy(store, target, tmp_path, *ids, whole.id)
    (told,) = done["resources"].values()
    assert (set(told["failed"]), told["points"], told["error"]) == (set(ids), [whole.id], None)
    assert {each["code"] for each in told["failed"].values()} == {"RestorePointDamaged"}


def three_packs_of(store: AgingObjects, ids: list[str]) -> list[str]:
    """The pack of the first point."""
    key = layout.point_key(NAME, ids[0])
    when = store.modified[key]
    return [each for each in keys_of(store, "packs") if store.modified[each] == when]


def test_damage_at_the_target_is_not_shared(source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path) -> None:
    store, contents = source
    ids = sorted(contents)
    target = new_store()
    copy(store, target, tmp_path, ids[0])
    for key in keys_of(target, "trees"):
        target.objects[key] = flipped(target.objects[key], 60)
    done = copy(store, target, tmp_path, ids[1])
    assert done["points_copied"] == 1
    target.objects.pop(layout.point_key(NAME, ids[0]))
    assert sweeps.held(target)[ids[1]] == digests(contents)[ids[1]]


@pytest.mark.parametrize("later", [False, True])
def test_a_block_that_is_known_to_be_damaged_at_the_target_is_copied_anew(later: bool, tmp_path: Path) -> None:
    """Its pack is of the newest manifest's second, or (``later``) it looks younger, and the mark says it alone."""
    store, target = new_store(), new_store()
    points, line = Points(store, tmp_path), Line({"snap-0": {0: 1, 1: 2}, "snap-1": {0: 1, 1: 3}})
    first = points.make(line, volume("snap-0"))
    second = points.make(line, volume("snap-1", "snap-0"), parent=first.id)
    copy(store, target, tmp_path, first.id)
    (pack,) = keys_of(target, "packs")
    target.objects[pack] = flipped(target.objects[pack], 60)
    there = Points(target, tmp_path, TARGET)
    assert there.check()["marks"] == 1
    target.modified[pack] += later * SECOND
    assert copy(store, target, tmp_path, second.id)["blocks_reused"] == 0
    assert there.restored(second.id) == blocks(line.snapshots["snap-1"])


def test_one_repository_is_not_copied_to_itself(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    with pytest.raises(AgentError, match="the one to copy from"):
        copy(store, store, tmp_path, *contents)


def calls_of_a_copy(store: AgingObjects, contents: dict[str, Content], folder: Path) -> int:
    target = new_store()
    client = Client(target)
    copy(store, client, folder, *contents, store=target, notes=0)
    return client.calls


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_killed_at_any_call_the_next_one_finishes_and_uses_what_is_there(
    late: bool, source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    calls = calls_of_a_copy(store, contents, tmp_path)
    assert calls > 15
    used = 0
    for dies in range(calls):
        target = new_store()
        target.now = store.now
        with pytest.raises(Killed):
            copy(store, Client(target, dies=dies, late=late), tmp_path, *contents, store=target, notes=0)
        assert sweeps.held(target).items() <= digests(contents).items()
        target.now += SECOND
        done = copy(store, target, tmp_path, *contents)
        used += done["blocks_reused"]
        assert done["blocks_copied"] + done["blocks_reused"] <= len(
            {block for each in contents.values() for block in each.items()}
        )
        assert sweeps.held(target) == digests(contents)
        sweeps.settle(target)
        assert sweeps.held(target) == digests(contents)
        assert {key for key in target.objects if "/marks/" not in key} == sweeps.needed(target)
    assert used > 0


def died(store: AgingObjects, target: AgingObjects, contents: dict[str, Content], folder: Path, **parts: Any) -> str:
    """Of a copy of the first point all is there but the manifest; the point's id."""
    first = min(contents)
    calls = calls_of_a_copy(store, {first: contents[first]}, folder)
    with pytest.raises(Killed):
        copy(store, Client(target, dies=calls - 1), folder, first, store=target, notes=0, **parts)
    assert len(keys_of(target, "packs")) > 0
    return first


def test_who_goes_on_ends_as_if_it_had_begun_with_the_first(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    """And what a sweep has condemned meanwhile comes into use again."""
    store, contents = source
    target = new_store()
    first = died(store, target, contents, tmp_path)
    sweeps.sweep(target)
    target.now += timedelta(days=5)
    done = copy(store, target, tmp_path, first)
    assert (done["blocks_copied"], done["blocks_reused"] > 0) == (0, True)
    target.now += GRACE + SECOND
    sweeps.settle(target)
    assert sweeps.held(target) == digests({first: contents[first]})


def test_what_may_be_deleted_before_its_end_is_not_used_again(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    target = new_store()
    first = died(store, target, contents, tmp_path)
    sweeps.sweep(target)
    target.now += timedelta(days=6, seconds=1)
    assert copy(store, target, tmp_path, first)["blocks_reused"] == 0
    target.now += GRACE + SECOND
    sweeps.settle(target)
    assert sweeps.held(target) == digests({first: contents[first]})


LOCK = LockJob("GOVERNANCE", 30 * 86_400)


def locked_for(target: AgingObjects, identity: str) -> None:
    """The point is locked, and all that it refers to for at least as long."""
    point = repository.read_manifest(target, layout.point_key(NAME, identity), TARGET)
    assert point.lock is not None
    assert point.lock.until is not None
    assert target.locks[layout.point_key(NAME, identity)] == point.lock
    for key in Points(target, Path(), TARGET).referenced(identity):
        found = target.locks[key]
        assert found.until is not None
        assert (found.mode, found.until >= point.lock.until) == (point.lock_mode, True)


def test_a_copy_is_locked_as_a_backup_is(source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path) -> None:
    store, contents = source
    target = new_store(versioned=True)
    target.now = store.now
    first, second, third = sorted(contents)
    copy(store, target, tmp_path, first, lock=LOCK)
    locked_for(target, first)
    target.extended.clear()
    copy(store, target, tmp_path, second, lock=LOCK)
    assert not target.extended  # what it shares is locked for longer than points are
    target.now += timedelta(days=20)
    copy(store, target, tmp_path, third, lock=LOCK)
    assert target.extended
    for each in (second, third):
        locked_for(target, each)


def test_what_is_locked_otherwise_at_the_target_is_not_shared(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    target = new_store(versioned=True)
    first, second, third = sorted(contents)
    copy(store, target, tmp_path, first, lock=LOCK)
    copy(store, target, tmp_path, second)  # says nothing of a lock, and shares what is locked
    other = LockJob("COMPLIANCE", 86_400)
    copy(store, target, tmp_path, third, lock=other)
    locked_for(target, third)
    whole = Points(target, tmp_path, TARGET).manifest(third)
    assert (whole.parent, whole.volumes[0].blocks_stored) == (None, whole.volumes[0].blocks)
    assert sweeps.held(target) == digests(contents)


@pytest.mark.parametrize("lock", [None, LOCK, LockJob("COMPLIANCE", 86_400)])
def test_what_an_attempt_has_put_is_locked_with_the_point(
    lock: LockJob | None, source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    """That of another mode, and one without a lock, is not gone on from by one that locks."""
    store, contents = source
    target = new_store(versioned=True)
    first = died(store, target, contents, tmp_path, lock=lock)
    target.now += timedelta(days=2)
    done = copy(store, target, tmp_path, first, lock=LOCK)
    assert (done["blocks_reused"] > 0) == (lock == LOCK)
    locked_for(target, first)


def test_the_newest_copy_names_those_before_it_that_failed(
    source: tuple[AgingObjects, dict[str, Content]], tmp_path: Path
) -> None:
    store, contents = source
    first, second, third = sorted(contents)
    target = new_store()
    key = layout.point_key(NAME, second)
    whole = store.objects[key]
    store.objects[key] = flipped(whole, 60)
    assert copy(store, target, tmp_path, first, second, third, failed={"gone": 2})["failed"] == 1
    said = open_with_value(target.objects[layout.point_key(NAME, third)], TARGET, layout.point_key(NAME, third))[1]
    assert said["not_copied"] == {second: 1, "gone": 2}
    store.objects[key] = whole
    copy(store, target, tmp_path, second, failed=said["not_copied"])
    assert sweeps.held(target) == digests(contents)
