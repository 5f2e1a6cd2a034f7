# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that died, and what the next one takes over of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.blocks import BLOCK_SIZE, FANOUT
from mayfly_agent.job import LONGEST_RUN, LockJob
from mayfly_agent.objects import Lock
from mayfly_agent.progress import Progress
from mayfly_agent.repository import layout, repository
from mayfly_agent.repository.damaged import BlockRange, Damage, mark_damaged
from mayfly_agent.repository.manifest import Manifest
from mayfly_agent.repository.seal import ResourceKey
from mayfly_agent.sweep import GRACE

from tests.unit.agent.lines import KEY, NAME, Content, Line, Points, blocks, volume
from tests.unit.agent.memory import Killed
from tests.unit.agent.retention.aging import AgingObjects, Client, StoreClock
from tests.unit.agent.retention.sweeps import SECOND, needed, new_store, settle, sweep
from tests.unit.agent.transfers import back_up

LONGEST = timedelta(seconds=LONGEST_RUN)
DAY = timedelta(days=1)
# Two blocks in each of four leaves; of each leaf a note is made.
CONTENT: Content = {leaf * FANOUT + slot: 1 + 2 * leaf + slot for leaf in range(4) for slot in (0, 1)}
# Another snapshot: of each leaf the second block is another one.
LATER: Content = {index: number + 50 * (index % 2) for index, number in CONTENT.items()}


class Case:
    """A repository whose clock the test sets, and a line of snapshots."""

    def __init__(self, folder: Path) -> None:
        self.store = new_store()
        self.points = Points(self.store, folder)
        self.line = Line({"snap-0": CONTENT, "snap-1": LATER})

    def back_up(self, store: Any, snapshot: str, before: str = "", lasts: timedelta = DAY, **parts: Any) -> Manifest:
        """One that may last so long."""
        points = Points(store, self.points.folder)
        points.hours = self.points.hours
        self.line.read.clear()
        return points.make(self.line, volume(snapshot, before), progress=self.progress(lasts), notes_every=0, **parts)

    def progress(self, lasts: timedelta) -> Progress:
        made = Progress(StoreClock(self.store))
        made.deadline = (self.store.now + lasts).timestamp()
        return made

    def die(self, snapshot: str, before: str = "", notes: int = 2, **parts: Any) -> None:
        """Begin one that is killed when it has made so many notes."""

        class Dying(Client):
            def put(self, key: str, body: bytes, condition: Any = None, lock: Lock | None = None) -> str:
                if len(notes_of(self._store)) >= notes + known:
                    self.dead = True
                return self.__getattr__("put")(key, body, condition, lock)

        known = len(notes_of(self.store))
        with pytest.raises(Killed):
            self.back_up(Dying(self.store), snapshot, before, **parts)
        self.store.now += timedelta(minutes=10)

    def next(self, snapshot: str, before: str = "", **parts: Any) -> Manifest:
        """The next run's, of a time of its own, which restores what its snapshot held."""
        self.points.hours += 1
        made = self.back_up(self.store, snapshot, before, **parts)
        self.points.hours += 1
        assert self.points.restored(made.id) == blocks(self.line.snapshots[snapshot])
        return made


def notes_of(store: AgingObjects) -> list[str]:
    return [key for key in store.objects if key.startswith(layout.attempts_prefix(NAME))]


def counts(made: Manifest) -> tuple[int, int]:
    (record,) = made.volumes
    return record.blocks_stored, record.blocks_resumed


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_the_second_worker_of_a_run_reads_and_stores_the_rest(case: Case) -> None:
    case.die("snap-0")
    made = case.back_up(case.store, "snap-0")
    assert counts(made) == (4, 4)
    assert sorted(case.line.read) == [2 * FANOUT, 2 * FANOUT + 1, 3 * FANOUT, 3 * FANOUT + 1]
    assert made.volumes[0].method == "full"
    assert case.points.restored(made.id) == blocks(CONTENT)


def test_a_process_that_was_killed_half_way(tmp_path: Path) -> None:
    """The next one reads and stores the rest, and no more."""

    def attempt(notes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.unit.agent.interrupted", str(tmp_path), notes]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    killed = attempt("2")
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, ""), killed.stderr
    made = attempt("-1")
    assert made.returncode == 0, made.stderr
    record = json.loads(made.stdout)
    assert record["read"] == [2 * FANOUT, 2 * FANOUT + 1, 3 * FANOUT, 3 * FANOUT + 1]
    assert (record["bytes_read"], record["blocks_stored"], record["blocks_resumed"]) == (4 * BLOCK_SIZE, 4, 4)


def test_a_later_run_reads_all_and_stores_what_was_not_stored(case: Case) -> None:
    case.die("snap-0")
    made = case.next("snap-1")
    assert counts(made) == (6, 2)
    assert sorted(case.line.read) == sorted(LATER)
    settle(case.store)
    assert case.points.restored(made.id) == blocks(LATER)
    assert case.store.everything() == needed(case.store)


def test_one_that_goes_on_dies_as_well(case: Case) -> None:
    """The third goes on from what both have done, and what the first had begun counts for it too."""
    case.die("snap-0", notes=1)
    case.store.now += DAY
    case.points.hours += 1
    case.die("snap-0", notes=3)
    made = case.next("snap-0")
    assert counts(made) == (2, 6)
    case.die("snap-1", notes=1)
    case.store.now += LONGEST
    case.die("snap-1", notes=1)
    assert counts(case.next("snap-1")) == (6, 2)


@pytest.mark.parametrize(("late", "resumed"), [(timedelta(0), 4), (SECOND, 0)])
def test_who_may_outlive_what_it_would_go_on_from_does_not(case: Case, late: timedelta, resumed: int) -> None:
    began = case.store.now
    case.die("snap-0")
    case.store.now = began + LONGEST - DAY + late
    assert counts(case.next("snap-0")) == (8 - resumed, resumed)


def test_who_has_gone_on_counts_as_if_it_had_begun_first(case: Case) -> None:
    began = case.store.now
    case.die("snap-0", notes=1)
    case.store.now = began + LONGEST - DAY
    case.points.hours += 1
    case.die("snap-0", notes=3)
    assert counts(case.next("snap-0")) == (8, 0)


def test_objects_that_were_condemned_are_taken_back_when_they_are_used(case: Case) -> None:
    case.next("snap-1")
    began = case.store.now
    case.die("snap-0", notes=3)
    sweep(case.store)
    case.store.now = began + LONGEST - DAY
    made = case.next("snap-0")
    assert counts(made)[1] == 6
    case.store.now = began + GRACE + timedelta(hours=1)
    sweep(case.store)
    assert case.points.restored(made.id) == blocks(CONTENT)
    settle(case.store)
    assert case.store.everything() == needed(case.store)


@pytest.mark.parametrize("kind", ["packs", "trees", "attempts"])
@pytest.mark.parametrize("how", ["gone", "short"])
def test_what_is_not_there_is_not_used(case: Case, kind: str, how: str) -> None:
    """Of the second of two notes an object, or the note itself: the first one is gone on from."""
    case.die("snap-0")
    first, second = sorted(notes_of(case.store))
    keys = list(case.store.objects)
    lost = next(key for key in reversed(keys) if f"/{kind}/" in key)
    assert keys.index(first) < keys.index(lost) <= keys.index(second)
    body = case.store.objects.pop(lost)
    if how == "short":
        case.store.objects[lost] = body[:-1]
    assert counts(case.next("snap-0")) == (6, 2)


def test_a_leaf_that_was_changed_is_not_used(case: Case) -> None:
    case.die("snap-0", notes=1)
    leaf = next(key for key in case.store.objects if "/trees/" in key)
    case.store.objects[leaf] = case.store.objects[leaf][:-1] + b"?"
    assert counts(case.next("snap-0"))[1] <= 2


def test_an_incremental_backup_goes_on_from_one(case: Case) -> None:
    parent = case.next("snap-0")
    case.die("snap-1", "snap-0", parent=parent.id)
    made = case.next("snap-1", "snap-0", parent=parent.id)
    assert (made.volumes[0].method, *counts(made)) == ("changed", 2, 2)
    assert sorted(case.line.read) == [2 * FANOUT + 1, 3 * FANOUT + 1]


def test_a_full_backup_shares_nothing_that_an_incremental_has_shared(case: Case) -> None:
    parent = case.next("snap-0")
    case.die("snap-1", "snap-0", parent=parent.id)
    assert counts(case.next("snap-1")) == (8, 0)


def test_what_was_found_damaged_meanwhile_is_not_taken_over(case: Case) -> None:
    """The attempt has shared it with a parent that nobody had checked."""
    parent = case.next("snap-0")
    case.line.gone.add("snap-0")
    case.die("snap-1", "snap-0", parent=parent.id)
    damage = Damage(blocks=(BlockRange("vol-1", 0, 0),))
    mark_damaged(case.store, NAME, KEY, parent.id, damage=damage, run="check")
    assert counts(case.next("snap-1", "snap-0", parent=parent.id)) == (5, 0)


def test_what_was_noted_down_before_a_rotation_is_not_taken_over(case: Case) -> None:
    """Somebody may know the key from before."""
    case.die("snap-0")
    keys = ResourceKey(b"n" * 32, [KEY])
    common = {"restore_point_time": case.store.now, "resource_key": keys, "progress": case.progress(DAY)}
    made = back_up(case.store, case.line, case.points.folder, volumes=(volume("snap-0"),), **common)
    assert counts(repository.read_manifest(case.store, made["manifest_key"], keys)) == (8, 0)


def test_an_attempt_is_over_with_any_later_point_but_for_its_own(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked for then of what it has put."""
    lock = LockJob("GOVERNANCE", 30 * 86_400.0)
    case.die("snap-0", lock=lock)
    parent = case.next("snap-0", lock=lock)
    asked: list[str] = []
    read = case.store.get_range
    monkeypatch.setattr(case.store, "get_range", lambda key, *at: asked.append(key) or read(key, *at))
    case.store.extended.clear()
    common = {"parent": parent.id, "lock": lock}
    made = case.back_up(case.store, "snap-1", "snap-0", **common)
    assert counts(made) == (4, 0)
    assert (asked, case.store.extended) == ([], [])
    case.store.now += timedelta(minutes=10)
    case.points.hours = 0
    assert counts(case.back_up(case.store, "snap-0"))[1] == 4


def test_what_an_attempt_has_left_costs_no_lock_when_nothing_of_it_is_taken_over(case: Case) -> None:
    lock = LockJob("GOVERNANCE", 30 * 86_400.0)
    parent = case.next("snap-0", lock=lock)
    case.die("snap-1", "snap-0", parent=parent.id, lock=lock)
    case.line.snapshots["snap-2"] = {**CONTENT, 0: 99}
    case.store.extended.clear()
    made = case.next("snap-2", "snap-0", parent=parent.id, lock=lock)
    assert (counts(made), case.store.extended) == ((1, 0), [])


def test_another_volume_takes_nothing_over(case: Case) -> None:
    case.die("snap-0")
    case.points.hours += 1
    made = case.points.make(case.line, volume("snap-0", volume_id="vol-2"))
    assert counts(made) == (8, 0)


def test_notes_go_with_the_sweep_after_their_point_or_when_nobody_may_go_on_from_them(case: Case) -> None:
    case.die("snap-0", notes=1)
    case.back_up(case.store, "snap-0")
    assert len(notes_of(case.store)) == 5
    sweep(case.store)
    assert notes_of(case.store) == []
    case.points.hours += 1
    case.die("snap-1", notes=1)
    case.store.now += GRACE - timedelta(minutes=11)
    sweep(case.store)
    assert len(notes_of(case.store)) == 1
    case.store.now += timedelta(minutes=11)
    sweep(case.store)
    assert notes_of(case.store) == []


def test_a_short_backup_notes_nothing_down(case: Case) -> None:
    case.points.make(case.line, volume("snap-0"))
    assert notes_of(case.store) == []


def test_what_is_taken_over_is_locked_as_long_as_the_point(case: Case) -> None:
    """It was put under a lock that began when the attempt did."""
    lock = LockJob("GOVERNANCE", 2 * 86_400.0)
    case.die("snap-0", lock=lock)
    case.store.now += timedelta(days=4)
    made = case.next("snap-0", lock=lock)
    assert counts(made) == (4, 4)
    assert made.lock is not None
    assert all(case.store.locks[key].until >= made.lock.until for key in case.points.referenced(made.id))


def test_a_leaf_of_an_attempt_is_locked_as_long_as_the_point_though_it_has_no_block_of_it(case: Case) -> None:
    """The attempt has put a leaf without the block that is gone; the second parent's locks are for long enough."""
    first = case.next("snap-0")
    second = case.next("snap-0", "snap-0", parent=first.id, lock=LockJob("GOVERNANCE", 30 * 86_400.0))
    case.line.snapshots["snap-2"] = {index: number for index, number in CONTENT.items() if index}
    lock = LockJob("GOVERNANCE", 86_400.0)
    case.points.hours += 1
    case.die("snap-2", "snap-0", notes=1, parent=first.id, lock=lock)
    case.store.now += DAY
    made = case.next("snap-2", "snap-0", parent=second.id, lock=lock)
    assert counts(made) == (0, 0)
    assert made.objects_lock is not None
    assert all(case.store.locks[key].until >= made.objects_lock.until for key in case.points.referenced(made.id))


@pytest.mark.parametrize(("before", "resumed"), [(None, 0), ("COMPLIANCE", 0), ("GOVERNANCE", 4)])
def test_nothing_is_taken_over_of_a_lock_of_another_mode(case: Case, before: str | None, resumed: int) -> None:
    """Nor without one: it may have shared what is locked otherwise."""
    mode = "GOVERNANCE"
    case.die("snap-0", lock=LockJob(before, 86_400.0) if before else None)
    assert counts(case.next("snap-0", lock=LockJob(mode, 86_400.0)))[1] == resumed
