# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups, sweeps, kills and pauses in any order, against a plain model: what each restore point holds.

Some of it goes on at once: a backup and a sweep pause at one of their requests while others come to their end and days
go by. None of their requests is sent after their deadline, nor acts more than 30 minutes after it was sent.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from mayfly_agent.job import LONGEST_RUN
from mayfly_agent.repository import repository
from mayfly_agent.sweep import GRACE

from tests.unit.agent.lines import NAME, Content, Line, Points, volume
from tests.unit.agent.memory import Killed
from tests.unit.agent.retention.aging import Client
from tests.unit.agent.retention.processes import Process
from tests.unit.agent.retention.sweeps import SECOND, digests, held, needed, new_store, settle, sweep

LONGEST = timedelta(seconds=LONGEST_RUN)
SHARE = 0.6
# Of two leaves, close enough together to share packs.
indexes = st.sampled_from([0, 1, 2, 3, 4, 5, 1024, 1025])
times = st.sampled_from(
    [timedelta(minutes=4), timedelta(minutes=20), timedelta(hours=5), timedelta(days=3), LONGEST, GRACE + SECOND]
)
picks = st.sets(st.integers(0, 3), max_size=3)
#: What all machines of this process have done.
DONE: Counter[str] = Counter()


class Repository(RuleBasedStateMachine):
    """One resource with one volume."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.store = new_store()
        self.line = Line({})
        self.points = Points(self.store, Path(self._folder.name))
        self.content: dict[int, int] = {0: 1, 1: 2, 1024: 3}
        self.contents: dict[str, Content] = {}
        self.snapshots: dict[str, str] = {}
        self.asked: set[str] = set()
        self.writer: Process | None = None
        self.written: tuple[str, Content] | None = None
        self.sweeper: Process | None = None

    @initialize()
    def begin(self) -> None:
        self.back_up(False)
        DONE["runs"] += 1

    @rule(index=indexes, number=st.integers(0, 40))
    def change(self, index: int, number: int) -> None:
        self.content = {**self.content, index: number}

    @rule(full=st.booleans())
    def back_up(self, full: bool) -> None:
        point = self._back_up(self.points, full)
        self.contents[point] = self.line.snapshots[self.snapshots[point]]

    @precondition(lambda self: self.writer is None)
    @rule(full=st.booleans(), pauses=st.integers(1, 12), sent=st.booleans())
    def begin_to_back_up(self, full: bool, pauses: int, sent: bool) -> None:
        client = self._client(pauses, sent)
        points = Points(client, self.points.folder)  # type: ignore[arg-type]
        points.hours, self.points.hours = self.points.hours, self.points.hours + 1
        self.writer = Process(client, lambda _client: self._back_up(points, full))
        self.writer.until_paused()

    @precondition(lambda self: self.writer is not None)
    @rule()
    def end_the_backup(self) -> None:
        writer, self.writer = self.writer, None
        assert writer is not None
        writer.finish()
        if writer.error is None:
            self.contents[writer.result] = self.line.snapshots[self.snapshots[writer.result]]
            DONE["backups that paused"] += 1
        for listed in repository.list_points(self.store, NAME):
            if listed not in self.contents:  # its answer was all that was lost
                self.contents[listed] = self.line.snapshots[self.snapshots[listed]]

    @rule(gone=picks)
    def sweep(self, gone: set[int]) -> None:
        sweep(self.store, *self._chosen(gone), share=SHARE)
        DONE["sweeps"] += 1

    @rule(gone=picks, dies=st.integers(0, 60), late=st.booleans())
    def sweep_and_be_killed(self, gone: set[int], dies: int, late: bool) -> None:
        try:
            sweep(self.store, *self._chosen(gone), client=Client(self.store, dies=dies, late=late), share=SHARE)
        except Killed:
            DONE["sweeps that were killed"] += 1

    @precondition(lambda self: self.sweeper is None)
    @rule(gone=picks, pauses=st.integers(1, 60), sent=st.booleans())
    def begin_to_sweep(self, gone: set[int], pauses: int, sent: bool) -> None:
        chosen = self._chosen(gone)
        work = lambda client: sweep(self.store, *chosen, client=client, share=SHARE)  # noqa: E731
        self.sweeper = Process(self._client(pauses, sent), work)
        self.sweeper.until_paused()

    @precondition(lambda self: self.sweeper is not None)
    @rule()
    def end_the_sweep(self) -> None:
        sweeper, self.sweeper = self.sweeper, None
        assert sweeper is not None
        sweeper.finish()
        DONE["sweeps that paused"] += 1

    @rule(time=times)
    def wait(self, time: timedelta) -> None:
        self.store.now += time

    @invariant()
    def every_listed_point_restores(self) -> None:
        found = held(self.store)
        DONE["restore points read"] += len(found)
        assert found == digests({each: self._content_of(each) for each in found})
        assert found.keys() >= self.contents.keys() - self.asked, "a point is gone that nobody asked to remove"
        assert not self.contents or found, "the newest point is gone"

    def teardown(self) -> None:
        """Whatever has happened, sweeps that are left alone leave what is needed and nothing else."""
        try:
            if self.writer is not None:
                self.end_the_backup()
            if self.sweeper is not None:
                self.end_the_sweep()
            settle(self.store, share=SHARE)
            self.every_listed_point_restores()
            assert self.store.everything() == needed(self.store)
        finally:
            self._folder.cleanup()

    def _client(self, pauses: int, sent: bool) -> Client:
        client = Client(self.store, pauses=pauses, sent=sent)
        client.until = self.store.now + LONGEST
        return client

    def _back_up(self, points: Points, full: bool) -> str:
        """A backup of what the volume holds now, on the newest point unless it is a full one; the new point's id."""
        listed = list(repository.list_points(points.store, NAME))
        parent = "" if full or not listed else listed[-1]
        snapshot = f"snap-{len(self.line.snapshots)}"
        self.line.snapshots[snapshot] = dict(self.content)
        self.snapshots[points.next_id()] = snapshot
        made = points.make(self.line, volume(snapshot, self.snapshots.get(parent, "")), parent=parent)
        return made.id

    def _content_of(self, point: str) -> Content:
        """Also of one whose writer has committed and pauses in reading the answer."""
        return self.line.snapshots[self.snapshots[point]]

    def _chosen(self, gone: set[int]) -> list[str]:
        listed = list(repository.list_points(self.store, NAME))
        chosen = [each for number, each in enumerate(listed) if number in gone]
        self.asked |= set(chosen)
        return chosen
