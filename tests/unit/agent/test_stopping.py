# SPDX-License-Identifier: GPL-3.0-or-later
"""A transfer that fails says so when nothing of it runs any more, and begins nothing new meanwhile."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent import main as agent
from mayfly_agent.errors import AgentError
from mayfly_agent.pipeline import Uploads, ordered, pools
from mayfly_agent.progress import Progress
from mayfly_agent.retries import Broken, Retries

from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.transfers import Snapshots, back_up, restore

FAILURE = AgentError("AccessDenied", "no")


class Held:
    """Calls that wait until they are let go; one of them fails at once, when others are under way."""

    def __init__(self, fails: int) -> None:
        self.begun, self.ended = 0, 0
        self.let_go = threading.Event()
        self.failing = threading.Event()
        self._fails = fails
        self._lock = threading.Lock()

    def call(self) -> None:
        with self._lock:
            self.begun += 1
            number = self.begun
        if number == self._fails:
            self.failing.set()
            raise FAILURE
        assert self.let_go.wait(20)
        with self._lock:
            self.ended += 1


class HeldSink(Snapshots):
    """Its blocks are put as Held says."""

    def __init__(self, held: Held) -> None:
        super().__init__([])
        self._held = held

    def put_block(self, snapshot_id: str, index: int, block: bytes, digest: bytes) -> None:
        self._held.call()


class HeldSource(Snapshots):
    """Its blocks are read as Held says."""

    def __init__(self, held: Held) -> None:
        super().__init__()
        self._held = held

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        self._held.call()
        return super().get_block(snapshot_id, index, token)


def failed_while_held(held: Held, transfer: Callable[[], Any]) -> None:
    """The transfer is not over while calls are under way; then it has failed, and has begun no others."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            transfer()
        except AgentError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert held.failing.wait(20)
    thread.join(0.3)
    assert thread.is_alive()
    assert not errors
    begun = held.begun
    held.let_go.set()
    thread.join(20)
    assert errors == [FAILURE]
    assert held.begun == begun
    assert held.ended == begun - 1  # all but the one that failed


def test_a_restore_that_fails_waits_for_the_blocks_under_way(store: MemoryObjects, tmp_path: Path) -> None:
    point = back_up(store, Snapshots(), tmp_path)["restore_point"]
    held = Held(fails=1)
    failed_while_held(held, lambda: restore(store, HeldSink(held), tmp_path, point))


def test_a_backup_that_fails_waits_for_the_blocks_under_way(store: MemoryObjects, tmp_path: Path) -> None:
    held = Held(fails=1)
    failed_while_held(held, lambda: back_up(store, HeldSource(held), tmp_path))
    assert not [key for key in store.objects if "/points/" in key or "/packs/" in key]


def test_what_waits_for_aws_waits_no_longer(progress: Progress) -> None:
    """A thread between two tries ends with the transfer."""
    progress = Progress()
    asked: list[float] = []

    def attempt(_doubtful: bool) -> None:
        asked.append(time.monotonic())
        raise Broken(AgentError("S3Unreachable", "gone"))

    def fail() -> None:
        with pools(progress, write=2) as (writers,):
            uploads = Uploads(writers, 1)
            uploads.add(lambda: Retries(progress).run(attempt))
            while not asked:
                time.sleep(0.001)
            raise FAILURE

    began = time.monotonic()
    with pytest.raises(AgentError, match="no"):
        fail()
    assert len(asked) == 1
    assert time.monotonic() - began < 0.5  # the shortest pause after a broken connection


def test_what_has_not_begun_never_does(progress: Progress) -> None:
    begun: list[int] = []
    second, let_go = threading.Event(), threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number > 0:
            second.set()
            assert let_go.wait(20)

    def fail() -> None:
        with pools(progress, read=1) as (readers,):
            for _result in ordered(readers, work, iter(range(8)), 4):
                assert second.wait(20)
                threading.Timer(0.1, let_go.set).start()
                raise FAILURE

    with pytest.raises(AgentError, match="no"):
        fail()
    assert begun == [0, 1]


def test_pools_are_empty_when_the_block_is_left(progress: Progress) -> None:
    done: list[int] = []
    with pools(progress, read=2, write=3) as (readers, writers):
        assert (readers._max_workers, writers._max_workers) == (2, 3)
        for number in range(20):
            uploads = Uploads(writers, 3)
            uploads.add(lambda number=number: done.append(number))
            uploads.finish()
    assert sorted(done) == list(range(20))
    progress.pause(0)  # nothing has failed


def test_a_signal_stops_the_agent_once() -> None:
    before = signal.signal(signal.SIGTERM, agent._stop)
    try:
        with pytest.raises(agent.Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # the way out is not interrupted
    finally:
        signal.signal(signal.SIGTERM, before)
