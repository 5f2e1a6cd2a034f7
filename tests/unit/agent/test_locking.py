# SPDX-License-Identifier: GPL-3.0-or-later
"""Object Lock: no restore point is locked longer than what it stands on, and retention takes nothing that is locked."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.blocks import BLOCK_SIZE
from mayfly_agent.job import LockJob
from mayfly_agent.locking import lock_repository
from mayfly_agent.objects import Lock
from mayfly_agent.repository import layout, repository
from mayfly_agent.sweep import GRACE

from tests.unit.agent.lines import NAME, Line, Points, blocks, flipped, volume
from tests.unit.agent.retention.aging import AgingObjects
from tests.unit.agent.retention.sweeps import CONTENTS, SECOND, new_store, sweep

DAY = timedelta(days=1)
LOCK = LockJob("GOVERNANCE", 30 * 86_400)
# A quarter of the time.
SLACK = timedelta(days=7.5)
FIRST = {0: 1, 1: 2, 3000: 3}


class Site:
    """A line of backups of vol-1 in a store with a clock; each changes one block."""

    def __init__(self, folder: Path) -> None:
        self.store: AgingObjects = new_store(versioned=True)
        self.points = Points(self.store, folder)
        self.line = Line({"snap-0": FIRST})
        self.ids: list[str] = []

    def back_up(self, lock: LockJob | None = LOCK, **parts: Any) -> str:
        number = len(self.ids)
        if number:
            self.line.snapshots[f"snap-{number}"] = {**FIRST, 1: 10 + number}
        before = (f"snap-{number - 1}", self.ids[-1]) if number else ("", "")
        self.store.extended.clear()
        made = self.points.make(self.line, volume(f"snap-{number}", before[0]), parent=before[1], lock=lock, **parts)
        self.ids.append(made.id)
        return made.id

    def until(self, point: str) -> datetime:
        lock = self.store.locks[layout.point_key(NAME, point)]
        assert lock == self.points.manifest(point).lock
        assert lock.until is not None
        return lock.until

    def check(self) -> None:
        """All that a locked point stands on is locked for as long at least, in its mode."""
        for point in repository.list_points(self.store, NAME):
            lock = self.points.manifest(point).lock
            for key in self.points.referenced(point) if lock else ():
                assert self.store.locks[key].until >= lock.until, (point, key)
                assert self.store.locks[key].mode == lock.mode


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_point_and_all_that_it_stands_on_is_locked(site: Site) -> None:
    now = site.store.now
    point = site.back_up()
    assert site.until(point) == now + 30 * DAY + SECOND
    assert {site.store.locks[key].until for key in site.points.referenced(point)} == {now + 30 * DAY + SECOND + SLACK}
    assert site.store.extended == []
    site.check()


def test_what_is_shared_is_locked_anew_only_when_it_must_be(site: Site) -> None:
    """Within a quarter of the time no request is made for it; then one for each object."""
    site.back_up()
    for days, anew in ((1, False), (6, False), (1, True), (7, False), (40, True), (0, False)):
        site.store.now += days * DAY
        point = site.back_up()
        assert site.until(point) == site.store.now + 30 * DAY + SECOND
        assert sorted(site.store.extended) == (sorted(site.points.referenced(point)) if anew else [])
        site.check()
    assert site.points.manifest(site.ids[-1]).volumes[0].blocks_stored == 1


def test_what_was_not_locked_before_is_locked_with_the_first_point_that_is(site: Site) -> None:
    site.back_up(lock=None)
    assert site.store.locks == {}
    point = site.back_up()
    assert sorted(site.store.extended) == sorted(site.points.referenced(point))
    site.check()
    assert site.points.manifest(site.back_up(lock=None)).lock is None


def test_nothing_is_shared_with_a_point_of_another_mode(site: Site) -> None:
    site.back_up()
    point = site.points.manifest(site.back_up(lock=LockJob("COMPLIANCE", 86_400)))
    assert (point.volumes[0].method, point.volumes[0].reason) == ("full", "the parent is locked in mode GOVERNANCE")
    assert point.lock_mode == "COMPLIANCE"
    site.check()


@pytest.mark.parametrize("days", [1, 90])
def test_what_a_point_without_a_lock_shares_may_be_locked_in_another_mode(site: Site, days: int) -> None:
    """Then the backup begins anew in full, whether that lock is the longer one or not; the next shares again."""
    site.back_up()
    site.back_up(lock=None)
    lock = LockJob("COMPLIANCE", days * 86_400)
    point = site.points.manifest(site.back_up(lock=lock))
    (record,) = point.volumes
    assert (record.method, record.reason) == ("full", "what it would share is locked in mode GOVERNANCE")
    assert (point.parent, record.blocks_stored, record.bytes_read) == (None, 3, 3 * BLOCK_SIZE)
    assert site.points.manifest(site.back_up(lock=lock)).volumes[0].method == "changed"
    site.check()


def test_what_is_locked_no_longer_can_be_locked_in_another_mode(site: Site) -> None:
    site.back_up()
    site.store.now += 40 * DAY
    site.back_up(lock=None)
    point = site.points.manifest(site.back_up(lock=LockJob("COMPLIANCE", 86_400)))
    assert (point.volumes[0].method, point.volumes[0].blocks_stored) == ("changed", 1)
    assert {site.store.locks[key].mode for key in site.points.referenced(point.id)} == {"COMPLIANCE"}


@pytest.mark.parametrize("kind", ["packs", "trees"])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_what_cannot_be_locked_is_not_shared(site: Site, kind: str, how: str) -> None:
    """Where a lock meets damage, the backup begins anew in full. Of a pack that was changed, no lock tells."""
    site.line.snapshots["snap-0"] = {**FIRST, 5000: 7}
    first = site.back_up()
    site.line.snapshots["snap-1"] = {**site.line.snapshots["snap-0"], 1: 11}
    manifest = site.points.manifest(first)
    keys = sorted(key for key in site.points.referenced(first) if f"/{kind}/" in key)
    site.store.now += SLACK + DAY
    for key in keys if kind == "packs" else [key for key in keys if manifest.volumes[0].root not in key]:
        if how == "gone":
            del site.store.objects[key]
        else:
            site.store.objects[key] = flipped(site.store.objects[key], 60)
    before = ("snap-0", first)
    point = site.points.make(site.line, volume("snap-1", before[0]), parent=before[1], lock=LOCK)
    if kind == "trees" or how == "gone":
        assert (point.parent, point.volumes[0].method) == (None, "full")
        assert site.points.restored(point.id) == blocks(site.line.snapshots["snap-1"])
    for key in site.points.referenced(point.id):
        assert site.store.locks[key].until >= point.lock.until


def test_retention_leaves_what_is_locked_until_the_end_of_its_lock(site: Site) -> None:
    first, second = site.back_up(), site.back_up()
    done = sweep(site.store, first)
    assert (done.points_deleted, done.points_locked) == ([], [first])
    assert done.locked_until == site.until(first)
    assert site.points.restored(first) == blocks(FIRST)

    site.store.now = site.until(first) + SECOND
    done = sweep(site.store, first)
    assert (done.points_deleted, done.points_locked) == ([first], [])
    site.store.now += GRACE + SECOND
    locked = sweep(site.store)
    end = site.store.locks[next(key for key in site.points.referenced(second) if "/packs/" in key)].until
    assert (locked.objects_deleted, locked.locked > 0) == (0, True) if site.store.now < end else (True, True)
    site.store.now = max(site.store.now, end) + SECOND
    assert sweep(site.store).objects_deleted > 0
    needed = {each for each in site.store.everything() if "/packs/" in each or "/trees/" in each}
    assert needed == site.points.referenced(second)


def test_what_is_locked_is_not_written_anew(tmp_path: Path) -> None:
    store, line = new_store(versioned=True), Line(CONTENTS)
    points, parent, before, ids = Points(store, tmp_path), "", "", []
    for snapshot in CONTENTS:  # of the pack of the first, the last needs three blocks of eight
        lock = LOCK if snapshot == "snap-2" else None
        parent = points.make(line, volume(snapshot, before), parent=parent, lock=lock).id
        ids.append(parent)
        before = snapshot
    store.now += 29 * DAY
    assert sweep(store, *ids[:2], share=0.9).packs_rewritten == 0
    store.now += 2 * DAY
    assert sweep(store, share=0.9).packs_rewritten > 0
    key = repository.list_points(store, NAME)[ids[2]]
    assert key.endswith(".1")
    assert repository.read_manifest(store, key, points.key).objects_lock is None


def test_a_point_that_was_written_anew_does_not_vouch_for_its_locks(tmp_path: Path) -> None:
    """Its new packs have none, though the time is not over that those before were locked for."""
    store, line = new_store(versioned=True), Line({**CONTENTS, "snap-3": {**CONTENTS["snap-2"], 9: 99}})
    points, parent, before, ids = Points(store, tmp_path), "", "", []
    for snapshot in CONTENTS:
        parent = points.make(line, volume(snapshot, before), parent=parent, lock=LOCK).id
        ids.append(parent)
        before = snapshot
    store.now += 31 * DAY
    assert sweep(store, *ids[:2], share=0.9).packs_rewritten > 0
    old = points.manifest(ids[2]).objects_lock
    short = LockJob("GOVERNANCE", 86_400)
    store.now += SECOND
    assert old is not None
    assert old.until > store.now + DAY + SECOND
    points.hours += 31 * 24
    store.extended.clear()
    made = points.make(line, volume("snap-3", "snap-2"), parent=ids[2], lock=short)
    assert made.volumes[0].method == "changed"
    assert sorted(store.extended) == sorted(points.referenced(made.id))
    assert all(store.locks[key].until >= made.lock.until for key in points.referenced(made.id))


def test_what_opens_the_repository_is_locked_too(site: Site) -> None:
    info, now = repository.open_info(site.store), site.store.now
    (key,) = (each.key for each in site.store.list(layout.KEYS))
    assert lock_repository(site.store, info, LOCK)
    assert site.store.locks == dict.fromkeys(
        (layout.REPOSITORY, key), Lock(now + 30 * DAY + SECOND + SLACK, "GOVERNANCE")
    )
    site.store.extended.clear()
    lock_repository(site.store, info, LOCK)
    assert site.store.extended == []
    site.store.now += SLACK + DAY
    lock_repository(site.store, info, LockJob("COMPLIANCE", LOCK.seconds))
    assert {each.mode for each in site.store.locks.values()} == {"GOVERNANCE"}
    assert len(site.store.extended) == 2


@pytest.mark.parametrize(("mode", "seconds"), [("governance", 1), ("", 1), ("GOVERNANCE", 0), ("COMPLIANCE", -1)])
def test_a_lock_that_is_none_is_refused(mode: str, seconds: float) -> None:
    with pytest.raises(ValueError, match="lock"):
        LockJob(mode, seconds)
