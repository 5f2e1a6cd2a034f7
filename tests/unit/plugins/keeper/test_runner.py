# SPDX-License-Identifier: GPL-3.0-or-later
"""A keeper sees the death of the program that has started its playbook, though the playbook would go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import runner, start
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.client import ADDRESS_VARIABLE, RUN_VARIABLE

from mayfly import memory
from tests.unit.plugins.keeper.fakes import until

RUNNER = """\
import os, sys, time
from pathlib import Path
from mayfly import memory
memory.memory_folders = lambda: [Path(sys.argv[1])]
with memory.private_folder() as folder:
    if "fork" in sys.argv:
        child = os.fork()
        print(child, folder, flush=True) if child else None
    else:
        print(0, folder, flush=True)
    time.sleep(60)
"""
PLAYBOOK = """\
import time
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import start
print(start.start().folder, flush=True)
time.sleep(60)
"""
Started = tuple["subprocess.Popen[str]", Path]
Start = Callable[..., Started]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a program that keeps a run's settings in memory, as its playbook is told; it and its folder."""
    begun, children = [], []
    (tmp_path / "memory").mkdir()

    def beginning(*words: str) -> Started:
        command = [sys.executable, "-c", RUNNER, str(tmp_path / "memory"), *words]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        child, folder = begun[-1].stdout.readline().split()  # type: ignore[union-attr]
        children.extend([int(child)] if int(child) else [])
        monkeypatch.setenv("MAYFLY_RUNNER_FOLDER", folder)
        return begun[-1], Path(folder)

    yield beginning
    for child in children:
        os.kill(child, signal.SIGKILL)
    for process in begun:
        process.kill()
        process.wait(10)
        process.stdout.close()  # type: ignore[union-attr]


def found() -> runner.Runner:
    """The runner, which there must be."""
    known = runner.find_runner()
    assert known is not None
    return known


class TestARunner:
    def test_lives_until_it_is_killed(self, begin: Start) -> None:
        process, folder = begin()
        known = found()
        assert not known.dead
        known.forget()
        assert (folder / memory.LOCK).exists()
        process.kill()
        until(lambda: known.dead)
        known.forget()
        assert not folder.exists()

    def test_that_ends_in_order_has_removed_its_folder_itself(self, begin: Start) -> None:
        process, folder = begin()
        known = found()
        process.send_signal(signal.SIGINT)
        process.wait(10)
        assert not folder.exists()
        assert known.dead
        known.forget()

    @pytest.mark.parametrize("fork", [[], ["fork"]], ids=["alone", "with a fork that holds its lock"])
    def test_that_was_dead_before_is_known_to_be(self, begin: Start, fork: list[str]) -> None:
        process, folder = begin(*fork)
        process.kill()
        process.wait(10)
        known = found()
        assert known.dead
        known.forget()
        assert not folder.exists()

    def test_is_no_stranger_that_has_got_its_id(self, begin: Start) -> None:
        process, folder = begin()
        process.kill()
        process.wait(10)
        (folder / memory.LOCK).write_text(str(os.getpid()))
        assert found().dead


@pytest.mark.parametrize("lock", [None, "", "soon"], ids=["no lock", "an empty one", "no number in it"])
def test_what_names_no_process_is_no_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str | None) -> None:
    if lock is not None:
        (tmp_path / memory.LOCK).write_text(lock)
    monkeypatch.setenv("MAYFLY_RUNNER_FOLDER", str(tmp_path))
    assert runner.find_runner() is None


def test_a_playbook_by_itself_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAYFLY_RUNNER_FOLDER", raising=False)
    assert runner.find_runner() is None


@pytest.mark.timeout(60)
def test_a_keeper_kills_the_playbook_of_a_dead_runner_and_ends(tmp_path: Path, begin: Start) -> None:
    process, folder = begin()
    environment = {key: value for key, value in os.environ.items() if key not in (ADDRESS_VARIABLE, RUN_VARIABLE)}
    environment |= {"MAYFLY_RUNS_DIR": str(tmp_path), "PYTHONPATH": str(start._collections_root())}
    command = [sys.executable, "-c", PLAYBOOK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as playbook:
        kept = Path(playbook.stdout.readline().strip())  # type: ignore[union-attr]
        assert not start.is_dead(kept)
        process.kill()
        assert playbook.wait(20) == -signal.SIGKILL
    until(lambda: not kept.exists(), 20)  # of a run that did nothing, its keeper leaves nothing
    assert not folder.exists()
