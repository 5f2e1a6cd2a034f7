# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left in memory of runs that were killed, and whose playbook a keeper watches."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import client, protocol, start
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.server import Server

from tests.unit.plugins.keeper.fakes import until

LONG_AGO = 2 * start._REPLACED_SECONDS


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands in for a playbook."""
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process
        process.kill()


def ended() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def kept(memory: Path, silent: float, playbook: str) -> Path:
    """The folder of a keeper that has given its last beat so many seconds ago, with what names its playbook."""
    folder = memory / "mayfly-x"
    folder.mkdir()
    (folder / start.ALIVE).touch()
    (folder / start.PLAYBOOK).write_text(playbook)
    os.utime(folder / start.ALIVE, (time.time() - silent,) * 2)
    return folder


def named(pid: int) -> str:
    """What is written of a process that lives."""
    return f"{pid} {start._started(pid)} run"


class TestARunThatIsKnownToHaveEnded:
    @pytest.mark.parametrize(("run", "stays"), [("run", False), ("another", True)])
    def test_is_forgotten_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, stays: bool) -> None:
        monkeypatch.setattr(start, "memory_folders", lambda: [tmp_path])
        folder = kept(tmp_path, 1, f"{ended()} 1 run")
        start.forget(run)
        assert folder.exists() is stays

    def test_is_left_while_its_playbook_lives(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sleeper: subprocess.Popen[bytes]
    ) -> None:
        monkeypatch.setattr(start, "memory_folders", lambda: [tmp_path])
        folder = kept(tmp_path, 1, named(sleeper.pid))
        start.forget("run")
        assert folder.exists()


class TestTheSweep:
    @pytest.mark.parametrize(("silent", "stays"), [(LONG_AGO, False), (60, True)])
    def test_takes_what_has_been_dead_for_long(self, tmp_path: Path, silent: float, stays: bool) -> None:
        folder = kept(tmp_path, silent, f"{ended()} 1 run")
        start._forget_the_dead(tmp_path)
        assert folder.exists() is stays

    def test_leaves_a_run_whose_playbook_lives(self, tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
        folder = kept(tmp_path, LONG_AGO, named(sleeper.pid))
        start._forget_the_dead(tmp_path)
        assert folder.exists()
        sleeper.kill()
        start._forget_the_dead(tmp_path)  # not waited for: a zombie lives no more
        until(lambda: start._started(sleeper.pid) is None)
        start._forget_the_dead(tmp_path)
        assert not folder.exists()

    @pytest.mark.parametrize("playbook", ["", f"{os.getpid()} 1 run", "nonsense"], ids=["none", "another", "nonsense"])
    def test_takes_no_stranger_for_the_playbook(self, tmp_path: Path, playbook: str) -> None:
        folder = kept(tmp_path, LONG_AGO, playbook)
        start._forget_the_dead(tmp_path)
        assert not folder.exists()

    def test_leaves_a_keeper_that_lives(self, tmp_path: Path) -> None:
        folder = kept(tmp_path, LONG_AGO, f"{ended()} 1 run")
        with (folder / start.ALIVE).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            start._forget_the_dead(tmp_path)
        assert folder.exists()

    @pytest.mark.parametrize("lives", [True, False])
    def test_takes_what_a_runner_has_left(self, tmp_path: Path, lives: bool) -> None:
        folder = tmp_path / f"{start.RUNNER_PREFIX}x"
        folder.mkdir()
        (folder / "extra-vars.json").touch()
        with (folder / start.RUNNER_LOCK).open("w") as lock:
            if lives:
                fcntl.flock(lock, fcntl.LOCK_EX)
            start._forget_the_dead(tmp_path)
            assert folder.exists() is lives

    def test_leaves_what_is_another_users(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = kept(tmp_path, LONG_AGO, "")
        monkeypatch.setattr(start.os, "getuid", lambda: os.geteuid() + 1)
        start._forget_the_dead(tmp_path)
        assert folder.exists()

    def test_looks_wherever_there_is_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        places = [tmp_path / "session", tmp_path / "machine"]
        for place in places:
            place.mkdir()
        folder = kept(places[1], LONG_AGO, "")
        monkeypatch.setattr(start, "memory_folders", lambda: places)
        monkeypatch.setattr(start, "_spawn", lambda *_arguments: None)
        monkeypatch.setenv(start.RUNS_VARIABLE, str(tmp_path / "runs"))
        for variable in (client.ADDRESS_VARIABLE, client.RUN_VARIABLE):
            monkeypatch.setenv(variable, "")  # to have it back as it was
            monkeypatch.delenv(variable)
        start.start()
        assert not folder.exists()
        [private] = places[0].iterdir()
        assert start._playbook(private) == os.getpid()


def test_a_keeper_beats_while_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "ALIVE_SECONDS", 0.02)
    alive = kept(tmp_path, LONG_AGO, "") / start.ALIVE
    server = Server(Run("r", tmp_path, alive.parent, Report(tmp_path, "r")), alive.parent / start.SOCKET)
    server.start()
    until(lambda: time.time() - alive.stat().st_mtime < 10)
    server.stop()


class TestAReplacement:
    @pytest.fixture
    def spawned(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """The playbooks that new keepers were told to watch; the run's folder has no keeper."""
        found: list[Any] = []
        monkeypatch.setattr(start, "_spawn", lambda run, folder, private, playbook, *more: found.append(playbook))
        monkeypatch.setenv(start.RUNS_VARIABLE, str(tmp_path / "runs"))
        monkeypatch.setenv(client.RUN_VARIABLE, "r")
        monkeypatch.setenv(client.ADDRESS_VARIABLE, str(tmp_path / "mayfly-x" / start.SOCKET))
        return found

    def test_watches_the_playbook(self, tmp_path: Path, spawned: list[Any], sleeper: subprocess.Popen[bytes]) -> None:
        kept(tmp_path, 0, named(sleeper.pid))
        start.replace()
        assert spawned == [sleeper.pid]

    @pytest.mark.parametrize("started", ["1", "0"])
    def test_watches_no_stranger_that_has_got_its_id(
        self, tmp_path: Path, spawned: list[Any], sleeper: subprocess.Popen[bytes], started: str
    ) -> None:
        kept(tmp_path, 0, f"{sleeper.pid} {started}")
        start.replace()
        assert spawned == [0]

    @pytest.mark.parametrize("silent", [0.0, 29.0, 31.0])
    def test_is_not_made_for_one_that_lives_and_is_busy(
        self, tmp_path: Path, spawned: list[Any], monkeypatch: pytest.MonkeyPatch, silent: float
    ) -> None:
        monkeypatch.setattr(start, "_kill", lambda _folder: None)
        alive = kept(tmp_path, 0, named(os.getpid())) / start.ALIVE
        os.utime(alive, (time.time() - silent,) * 2)
        run = tmp_path / "runs/r"
        run.mkdir(parents=True)
        with (run / start.LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            start.replace()
        assert bool(spawned) is (silent > 30)

    def test_is_not_made_of_a_run_that_has_ended(self, spawned: list[Any]) -> None:
        with pytest.raises(KeeperError, match="has ended"):
            start.replace()
        assert spawned == []

    def test_leaves_its_lock_to_no_fork(
        self, tmp_path: Path, spawned: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A task that Ansible forks meanwhile holds the same open file until it ends."""
        held = []
        monkeypatch.setattr(start, "_kill", lambda _folder: held.append(forked_lock(folder / "replace.lock")))
        folder = kept(tmp_path, 0, "")
        start.replace()
        with (folder / "replace.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(held[0])


def forked_lock(path: Path) -> int:
    """What a fork of this process has of a file that is open in it."""
    for name in Path("/proc/self/fd").iterdir():
        if name.exists() and name.resolve() == path.resolve():
            return os.dup(int(name.name))
    raise AssertionError(path)


@pytest.mark.parametrize(("held", "dead"), [(True, False), (False, True), (None, False)])
def test_a_keepers_lock_tells_whether_it_is_dead(tmp_path: Path, held: bool | None, dead: bool) -> None:
    if held is None:
        assert start.is_dead(tmp_path) is dead
        return
    with (tmp_path / start.LOCK).open("w") as lock:
        if held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        assert start.is_dead(tmp_path) is dead


def test_the_look_at_a_lock_leaves_it_to_no_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a task that was forked meanwhile would keep the next keeper from its start."""

    def flock(file: Any, how: int) -> None:
        own(file, how)
        forked.append(os.dup(file.fileno()))

    forked: list[int] = []
    own = fcntl.flock
    (tmp_path / start.LOCK).touch()
    monkeypatch.setattr(start.fcntl, "flock", flock)
    assert start.is_dead(tmp_path)
    with (tmp_path / start.LOCK).open() as lock:
        own(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for each in forked:
        os.close(each)


def test_a_process_is_known_by_its_start() -> None:
    assert start._started(os.getpid()) == start._started(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(50)"]) as child:
        assert int(start._started(child.pid) or 0) >= int(start._started(os.getpid()) or 0)
        child.kill()
    assert start._started(child.pid) is None
