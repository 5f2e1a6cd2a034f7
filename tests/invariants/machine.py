# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups, restores, sweeps, health checks, damage, faults, kills, pauses, locks and rotations of the key in any order,
against a plain model: what each restore point holds.

Some of it goes on at once: two backups, a restore and a sweep pause at one of their requests while others come to their
end and days go by. Clocks: S3's own, which the model sets; each process has another, and a deadline that its
controller may have got wrong by half an hour.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from mayfly_agent.errors import AgentError
from mayfly_agent.job import LONGEST_RUN, LockJob
from mayfly_agent.repository import layout
from mayfly_agent.sweep import GRACE

from tests.invariants.promises import DEAD, DONE, LOST, READ, RESTORES, SPREAD, check, did
from tests.invariants.resource import Resource, Run, digests
from tests.invariants.wire import Luck, Wire
from tests.unit.agent.lines import NAME, Content, volume
from tests.unit.agent.memory import Killed
from tests.unit.agent.retention.processes import Process

LONGEST, DAY, SECOND = timedelta(seconds=LONGEST_RUN), timedelta(days=1), timedelta(seconds=1)
# Of four leaves; those of one leaf lie close enough together to share packs.
indexes = st.sampled_from([0, 1, 2, 3, 1024, 1025, 2048, 3073])
times = st.sampled_from(
    [timedelta(minutes=4), timedelta(minutes=20), timedelta(hours=5), DAY, timedelta(days=3), LONGEST, GRACE + SECOND]
)
picks = st.sets(st.integers(0, 3), max_size=3)
lasts = st.sampled_from([DAY, LONGEST])
# So wrong may a controller's clock have been between the beginning of the run and the job.
skews = st.sampled_from([timedelta(minutes=-30), timedelta(0), timedelta(minutes=31)])
notes = st.sampled_from([0.0, 1e9])
# A lock lasts longer than any run.
locks = st.sampled_from([None, *(LockJob(mode, 8 * 86_400) for mode in ("GOVERNANCE", "COMPLIANCE"))])
_common = {
    "seed": st.integers(0, 2**16),
    "faults": st.sampled_from([0.0, 0.02, 0.1]),
    "lags": st.booleans(),
    "skew": skews,
    "threads": st.sampled_from([False, False, False, True]),
}


def killed(calls: int) -> st.SearchStrategy[Luck]:
    """At one of so many requests, or at none."""
    return st.builds(Luck, dies=st.integers(0, calls), late=st.booleans(), **_common)


def paused(calls: int) -> st.SearchStrategy[Luck]:
    """At one of so many requests."""
    return st.builds(Luck, pauses=st.integers(0, calls), sent=st.booleans(), **_common)


# So many requests has a backup, and a sweep with the lists of what it looks at.
_BACKUP, _SWEEP = 50, 120


class Repository(RuleBasedStateMachine):
    """One resource with one volume."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._begin(versioned=False)
        self.lock: LockJob | None = None
        self.content: dict[int, int] = {0: 1, 1: 2, 1024: 3, 3073: 4}
        self.size, self.volume_id, self.kept = 4, "vol-1", ""
        #: Of each run's point what it holds, whether it is listed by now or not; ids of those that were made.
        self.contents: dict[str, Content] = {}
        self.made: set[str] = set()
        self.chosen: set[str] = set()
        self.known: set[str] = set()
        self.runs: list[Run] = []
        self.dead: list[Run] = []
        self.writers: list[tuple[Process, Run]] = []
        self.sweeper: Process | None = None
        self.reader: tuple[Process, str] | None = None

    def _begin(self, *, versioned: bool) -> None:
        self.resource = Resource(Path(self._folder.name), versioned=versioned)
        self.bucket, self.line = self.resource.bucket, self.resource.line

    @initialize(versioned=st.booleans())
    def begin(self, versioned: bool) -> None:
        """In a bucket without versions, or one with versions and locks."""
        DONE["runs of the machine"] += 1
        self._begin(versioned=versioned)
        self._back_up(self._begun(full=True, lasts=DAY), Wire(self.bucket))

    # What the user does.

    @rule(changes=st.dictionaries(indexes, st.one_of(st.none(), st.integers(0, 40)), min_size=1, max_size=3))
    def change(self, changes: dict[int, int | None]) -> None:
        """Some blocks; None for one that is written no more."""
        did("changes of blocks")
        held = {**self.content, **changes}
        self.content = {index: number for index, number in held.items() if number is not None}

    @rule(how=st.sampled_from(["grows", "is replaced", "its snapshot goes", "its snapshots are deleted"]))
    def something_happens_to_the_volume(self, how: str) -> None:
        did("volumes that grow or are replaced, snapshots that go")
        if how == "grows":
            self.size = {4: 6}.get(self.size, 600)
        elif how == "is replaced":
            self.volume_id = f"vol-{int(self.volume_id[4:]) % 3 + 1}"
        else:
            self.kept = ""
            self.line.gone |= set(self.line.snapshots) if how == "its snapshots are deleted" else set()

    @rule(time=times)
    def wait(self, time: timedelta) -> None:
        did("waits")
        self.bucket.now += time

    @precondition(lambda self: self.bucket.versioned)
    @rule(lock=locks)
    def lock_from_now_on(self, lock: LockJob | None) -> None:
        did("settings of locks")
        self.lock = lock

    @precondition(lambda self: len(getattr(self.bucket.key, "before", ())) < 3)
    @rule()
    def rotate(self) -> None:
        """Who is at work goes on with the keys that he has."""
        did("rotations of the key")
        self.resource.rotate()

    # Backups.

    @rule(full=st.booleans(), lasts=lasts, notes=notes)
    def back_up(self, full: bool, lasts: timedelta, notes: float) -> None:
        """In peace; what was found damaged is whole in it."""
        did("backups")
        found = self.bucket.damaged.keys() <= self.known
        point = self._back_up(self._begun(full, lasts), Wire(self.bucket), notes)
        if found:
            blocks = self.resource.held()[point]
            check(SPREAD, not isinstance(blocks, str), f"{point}, after a health check: {blocks}")

    @rule(full=st.booleans(), lasts=lasts, notes=notes, luck=killed(_BACKUP))
    def back_up_and_be_killed(self, full: bool, lasts: timedelta, notes: float, luck: Luck) -> None:
        did("backups with faults and kills")
        self._try(self._begun(full, lasts), luck, notes)

    @precondition(lambda self: self.dead)
    @rule(pick=st.integers(0, 2), notes=notes, luck=killed(_BACKUP))
    def back_up_by_a_second_worker(self, pick: int, notes: float, luck: Luck) -> None:
        """Of a run whose worker was lost: the same job, and the same deadline."""
        did("second workers")
        self._try(self.dead[pick % len(self.dead)], luck, notes)

    @precondition(lambda self: len(self.writers) < 2)
    @rule(full=st.booleans(), lasts=lasts, notes=notes, luck=paused(_BACKUP))
    def begin_to_back_up(self, full: bool, lasts: timedelta, notes: float, luck: Luck) -> None:
        did("backups that paused")
        run = self._begun(full, lasts)
        writer = Process(Wire(self.bucket, luck), lambda wire: self.resource.back_up(run, wire, notes))  # type: ignore[arg-type]
        writer.until_paused()
        self.writers.append((writer, run))

    @precondition(lambda self: self.writers)
    @rule(pick=st.integers(0, 1), lease=st.booleans())
    def end_the_backup(self, pick: int, lease: bool) -> None:
        """Its worker has ended when ``lease`` is over: only what was on its way still acts."""
        did("backups that paused, ended")
        writer, run = self.writers.pop(pick % len(self.writers))
        self._end(writer, lease)
        if self.bucket.damaged:
            self.known = set()  # it may have shared what was found since it began
        if writer.error is None:
            self._has_made(run)
        else:
            self.dead.append(run)

    # Sweeps, checks and restores.

    @rule(gone=picks)
    def sweep(self, gone: set[int]) -> None:
        """In peace; what cannot be read stops it."""
        did("sweeps")
        self._sweep(gone)

    @rule(gone=picks, luck=killed(_SWEEP))
    def sweep_and_be_killed(self, gone: set[int], luck: Luck) -> None:
        did("sweeps with faults and kills")
        self._sweep(gone, luck)

    @precondition(lambda self: self.sweeper is None)
    @rule(gone=picks, lasts=lasts, luck=paused(_SWEEP))
    def begin_to_sweep(self, gone: set[int], lasts: timedelta, luck: Luck) -> None:
        did("sweeps that paused")
        remove = self._choose(gone)
        self.sweeper = Process(Wire(self.bucket, luck), lambda wire: self.resource.sweep(remove, wire, lasts))  # type: ignore[arg-type]
        self.sweeper.until_paused()

    @precondition(lambda self: self.sweeper is not None)
    @rule(lease=st.booleans())
    def end_the_sweep(self, lease: bool) -> None:
        did("sweeps that paused, ended")
        sweeper, self.sweeper = self.sweeper, None
        assert sweeper is not None
        self._end(sweeper, lease)

    @precondition(lambda self: not self.writers and self.sweeper is None and not self.bucket.damaged)
    @rule()
    def sweep_twice(self) -> None:
        """With nothing else at work: what was dead before the first of two sweeps is gone after the second.

        But for what was locked then, and the lists that name it.
        """
        did("pairs of sweeps")
        dead = self.bucket.everything() - self.resource.needed()
        for _ in range(2):
            self._sweep(set())
            held = {each for each in dead if self.bucket.is_locked(each)}
            self.bucket.now += GRACE + SECOND
        stay = {each for each in dead & self.bucket.everything() if "/damaged/" not in each} - self.resource.needed()
        stay -= held | {each for each in stay if held and "/condemned/" in each}
        check(DEAD, not stay, f"{stay} are there after two sweeps")

    @precondition(lambda self: self.reader is None and self.made)
    @rule(pick=st.integers(0, 5), lasts=lasts, pauses=st.integers(0, 12), sent=st.booleans())
    def begin_to_restore(self, pick: int, lasts: timedelta, pauses: int, sent: bool) -> None:
        did("restores that paused")
        listed = self.resource.points()
        point = listed[pick % len(listed)]
        wire = Wire(self.bucket, Luck(pauses=pauses, sent=sent))
        reader = Process(wire, lambda wire: self.resource.restore(point, wire, lasts))  # type: ignore[arg-type]
        reader.until_paused()
        self.reader = reader, point

    @precondition(lambda self: self.reader is not None)
    @rule()
    def end_the_restore(self) -> None:
        """Its point may have gone meanwhile."""
        did("restores that paused, ended")
        assert self.reader is not None
        (reader, point), self.reader = self.reader, None
        self._end(reader, lease=False)
        if reader.error is None:
            check(READ, reader.result == digests(self.contents[point]), f"{point} restores other bytes")
            return
        assert isinstance(reader.error, AgentError)
        late = reader.error.code in ("DeadlinePassed", "RequestTimeTooSkewed")
        gone = reader.error.code == "RestorePointMissing" or layout.point_key(NAME, point) in reader.error.message
        damaged = any(each in reader.error.message for each in self.bucket.ever_damaged)
        check(READ, late or gone or damaged, f"{point}: {reader.error.message}")

    @rule(pick=st.integers(0, 2**16), how=st.sampled_from(["flip", "flip", "cut", "gone"]))
    def damage(self, pick: int, how: str) -> None:
        """A node, a pack or a manifest that a listed point stands on."""
        did("objects damaged")
        keys = sorted(each for each in self.resource.needed() - self.bucket.damaged.keys() if each.count("/") > 3)
        if not keys:
            return
        key = keys[pick % len(keys)]
        # A manifest that is taken away takes all that it stands on along, sooner or later: nothing knows of it.
        self.bucket.damage(key, "flip" if "/points/" in key else how)
        self.known.discard(key)

    @precondition(lambda self: self.bucket.damaged)
    @rule()
    def mend(self) -> None:
        did("mends")
        self.bucket.mend()
        self.known = set()

    @rule(luck=st.one_of(st.just(Luck()), killed(_BACKUP)))
    def check_health(self, luck: Luck) -> None:
        """When it comes to its end, all that is damaged is marked."""
        did("health checks")
        try:
            self.resource.check(Wire(self.bucket, luck), DAY)
        except (AgentError, Killed):
            if luck.breaks:
                return
            raise
        if luck.lags:
            return  # it may not have seen the newest point
        damaged = {point for point, blocks in self.resource.held().items() if isinstance(blocks, str)}
        unmarked = damaged - self.resource.marked()
        check(SPREAD, not unmarked, f"a health check has not marked {unmarked}")
        self.known = set(self.bucket.damaged)

    # What always holds.

    @invariant()
    def every_listed_point_restores(self) -> None:
        found = self.resource.held()
        DONE["restore points read"] += len(found)
        for point, blocks in found.items():
            damaged = isinstance(blocks, str) and self._is_damage(blocks)
            check(RESTORES, damaged or blocks == digests(self.contents[point]), f"{point}: {str(blocks)[:300]}")
        lost = self.made - found.keys() - self.chosen
        check(LOST, not lost, f"{lost} are gone, which nobody has chosen")
        check(LOST, bool(found) or not self.made, "the newest point is gone")

    def teardown(self) -> None:
        """Whatever has happened, sweeps that are left alone leave what is needed and nothing else."""
        try:
            while self.writers:
                self.end_the_backup(0, lease=False)
            if self.sweeper is not None:
                self.end_the_sweep(lease=False)
            if self.reader is not None:
                self.end_the_restore()
            self.bucket.mend()
            ends = [lock.until for lock in self.bucket.locks.values() if lock.until]
            self.bucket.now = max([self.bucket.now, *ends]) + SECOND
            for _ in range(4):
                self._sweep(set())
                self.bucket.now += GRACE + SECOND
            self.every_listed_point_restores()
            stay = {each for each in self.bucket.everything() - self.resource.needed() if "/damaged/" not in each}
            check(DEAD, not stay, f"{stay} are there after four sweeps")
        finally:
            for process in self._processes():
                process.client.go_on.set()
            self._folder.cleanup()

    def _begun(self, full: bool, lasts: timedelta) -> Run:
        """A run whose snapshot is taken now, on the newest point unless it is a full one."""
        listed = self.resource.points()
        parent = "" if full or not listed else listed[-1]
        number = len(self.runs)
        snapshot = f"snap-{number}"
        self.line.snapshots[snapshot] = dict(self.content)
        before = {each.point: each.volume.snapshot_id for each in self.runs}.get(parent, "")
        what = volume(snapshot, before if self.kept else "", size_gib=self.size, volume_id=self.volume_id)
        self.kept = snapshot
        # Times of points are their order.
        time = datetime(2026, 11, 24, tzinfo=UTC) + timedelta(hours=number)
        until = self.bucket.now + lasts
        run = Run(number, what, time, parent, self.bucket.now, until, self.lock, self.bucket.key)
        self.runs.append(run)
        self.contents[run.point] = self.line.snapshots[snapshot]
        return run

    def _back_up(self, run: Run, wire: Wire, notes: float = 1e9) -> str:
        point = self.resource.back_up(run, wire, notes)
        self._has_made(run)
        return point

    def _try(self, run: Run, luck: Luck, notes: float) -> None:
        """One that may not come to its end; a second worker may take it up then, once."""
        self.dead = [each for each in self.dead if each is not run]
        try:
            self._back_up(run, Wire(self.bucket, luck, run.began), notes)
        except (AgentError, Killed):
            DONE["backups that died"] += 1
            if run.point not in self.resource.points():
                self.dead = [*self.dead, run][-3:]

    def _has_made(self, run: Run) -> None:
        """It says so; the point may be gone again."""
        key = layout.point_key(NAME, run.point)
        check(RESTORES, key in self.bucket.refers, f"{run.point} was made and never listed")
        if run.point in self.resource.points():
            self.made.add(run.point)

    def _choose(self, gone: set[int]) -> list[str]:
        chosen = [each for number, each in enumerate(self.resource.points()) if number in gone]
        self.chosen |= set(chosen)
        return chosen

    def _sweep(self, gone: set[int], luck: Luck | None = None) -> None:
        quiet = not (luck or self.bucket.damaged or self.sweeper)
        good = [each for each in self.resource.points() if each not in self.resource.marked()]
        try:
            self.resource.sweep(self._choose(gone), Wire(self.bucket, luck), LONGEST)
            if quiet and good:
                check(LOST, good[-1] in self.resource.points(), f"{good[-1]} is gone, the newest that is good")
        except (AgentError, Killed):
            if quiet:
                raise
            DONE["sweeps that died"] += 1

    def _end(self, process: Process, lease: bool) -> None:
        process.client.ends_after = process.client.calls if lease else -1
        process.finish()

    def _is_damage(self, message: str) -> bool:
        return any(each in message for each in self.bucket.damaged)

    def _processes(self) -> list[Process]:
        found = [each for each, _ in self.writers]
        found += [self.sweeper] if self.sweeper else []
        return found + ([self.reader[0]] if self.reader else [])
