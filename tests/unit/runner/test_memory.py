# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a run lie in memory, in a folder that goes with the run, or with the next start of another."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import start

import mayfly
from mayfly import memory


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the memory of the machine."""
    monkeypatch.setattr(memory, "memory_folders", lambda: [tmp_path])
    return tmp_path


def left(place: Path, *files: str) -> Path:
    """What a runner that was killed has left."""
    folder = place / f"{memory.PREFIX}dead"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    return folder


class TestTheFolder:
    def test_is_this_users_alone_and_goes_with_the_run(self, place: Path) -> None:
        with memory.private_folder() as folder:
            assert folder.parent == place
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "extra-vars.json").touch()
        assert list(place.iterdir()) == []

    def test_may_be_removed_by_the_keeper_as_well(self, place: Path) -> None:
        with memory.private_folder() as folder:
            shutil.rmtree(folder)
        assert list(place.iterdir()) == []

    def test_is_removed_before_its_lock_is_free(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def remove(folder: Path, **options: Any) -> None:
            with (folder / memory.LOCK).open() as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            removed.append(folder)
            own(folder, **options)

        removed: list[Path] = []
        own = shutil.rmtree
        monkeypatch.setattr(memory.shutil, "rmtree", remove)
        with memory.private_folder() as folder:
            pass
        assert removed == [folder]

    def test_that_is_swept_before_it_was_locked_is_made_anew(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lock(file: Any, how: int) -> None:
            own(file, how)
            if not swept:
                swept.append(Path(file.name).parent)
                shutil.rmtree(swept[0])

        swept: list[Path] = []
        own = fcntl.flock
        monkeypatch.setattr(memory.fcntl, "flock", lock)
        with memory.private_folder() as folder:
            assert folder.exists()
            assert swept != [folder]

    def test_is_on_no_disk(self, monkeypatch: pytest.MonkeyPatch, small_project: Path) -> None:
        monkeypatch.setattr(memory, "_in_memory", lambda _folder: False)
        with pytest.raises(mayfly.BadInput, match="mount one"):
            mayfly.run("two_results", inventory=small_project / "inventory.yml")


class TestWhatAKilledRunnerLeft:
    def test_goes_with_the_next_start(self, place: Path) -> None:
        folder = left(place, memory.LOCK, "extra-vars.json")
        with memory.private_folder():
            assert not folder.exists()

    def test_is_told_from_what_lives(self, place: Path) -> None:
        with memory.private_folder() as first, memory.private_folder() as second:
            assert first.exists()
            assert second.exists()

    def test_is_another_users_affair_when_it_is_anothers(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = left(place, memory.LOCK)
        monkeypatch.setattr(memory.os, "getuid", lambda: os.geteuid() + 1)
        memory.forget_the_dead(place)
        assert folder.exists()

    def test_is_free_when_it_was_killed(self, place: Path) -> None:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=hold, args=(theirs,))
        process.start()
        folder = Path(ours.recv())
        memory.forget_the_dead(place)
        assert folder.exists()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(20)
        memory.forget_the_dead(place)
        assert not folder.exists()


def hold(told: Any) -> None:
    """Be a runner until killed."""
    with memory.private_folder() as folder:
        told.send(str(folder))
        signal.pause()


@pytest.mark.parametrize("named", [None, "/dev/shm", "/proc", "/nowhere", "/"])
def test_the_runner_and_the_keeper_have_one_rule(monkeypatch: pytest.MonkeyPatch, named: str | None) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if named:
        monkeypatch.setenv("XDG_RUNTIME_DIR", named)
    assert memory.memory_folders() == start.memory_folders()
    assert start.memory_folder() == memory.memory_folders()[0]
    assert (start.RUNNER_PREFIX, start.RUNNER_LOCK) == (memory.PREFIX, memory.LOCK)
    assert (start._PREFIX, start.PLAYBOOK, start.ALIVE) == (memory.KEEPER_PREFIX, memory.PLAYBOOK, memory.ALIVE)


def kept(place: Path, name: str, run: str) -> Path:
    """What a keeper has in memory while it starts."""
    folder = place / f"{memory.KEEPER_PREFIX}{name}"
    folder.mkdir()
    (folder / memory.ALIVE).touch()
    (folder / memory.PLAYBOOK).write_text(f"4711 99 {run}")
    return folder


def test_what_a_keeper_left_that_died_before_it_kept_anything_is_forgotten(place: Path) -> None:
    mine, others = kept(place, "a", "the-run"), kept(place, "b", "the-run-2")
    memory.forget("the-run")
    assert (mine.exists(), others.exists()) == (False, True)


def test_a_keeper_that_lives_is_not_forgotten(place: Path) -> None:
    mine = kept(place, "a", "the-run")
    with (mine / memory.ALIVE).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        memory.forget("the-run")
        assert mine.exists()
    memory.forget("the-run")
    assert not mine.exists()
