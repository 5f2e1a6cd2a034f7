# SPDX-License-Identifier: GPL-3.0-or-later
"""A keeper that dies during a long task is replaced at once, although nothing asks it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import keeper_watch
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.start import LOCK, Keeper
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper_watch import KeeperWatch

ROOT = Path(__file__).parents[4]
PLAYBOOK = """\
- name: Configure for long
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Configure
      ansible.builtin.wait_for:
        path: "{{ playbook_dir }}/go-on"
        timeout: 60
"""


def until(holds: Callable[[], bool], seconds: float = 40) -> None:
    """Wait for it."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it has not come"
        time.sleep(0.05)


def test_during_a_long_task(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", str(tmp_path / "play.yml")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "MAYFLY_RUNS_DIR": str(tmp_path / "runs"),
            "MAYFLY_RUN_ID": "r",
        },
    )
    folder = tmp_path / "runs/r"

    def keeper() -> int:
        return int((folder / LOCK).read_text() or 0) if (folder / LOCK).exists() else 0

    def kept() -> int:
        log = folder / "keeper.log"
        return log.read_text().count("run r is kept") if log.exists() else 0

    until(lambda: kept() == 1)
    first = keeper()
    time.sleep(1)
    os.kill(first, signal.SIGKILL)
    until(lambda: kept() == 2)
    assert process.poll() is None  # within its task
    assert keeper() not in (0, first)
    assert "another keeper of this run has died" in (folder / "keeper.log").read_text()
    (tmp_path / "go-on").touch()
    said, _ = process.communicate(timeout=60)
    assert said.count("The keeper of the run r has died; another one ends the run.") == 1
    assert "Traceback" not in said
    assert process.returncode == 0, said  # nothing was launched
    assert json.loads((folder / "report.json").read_text())["ended"]


class TestTheWatch:
    @pytest.fixture
    def said(self) -> list[str]:
        return []

    @pytest.fixture
    def replaced(self, monkeypatch: pytest.MonkeyPatch) -> list[Exception | None]:
        """How tries to start another keeper go; those that were made are taken away."""
        outcomes: list[Exception | None] = []

        def replace() -> None:
            outcome = outcomes.pop(0)
            if outcome is not None:
                raise outcome

        monkeypatch.setattr(keeper_watch.start, "replace", replace)
        monkeypatch.setattr(keeper_watch.start, "is_dead", lambda _folder: True)
        return outcomes

    @pytest.fixture
    def clock(self) -> list[float]:
        return [100.0]

    @pytest.fixture
    def watch(self, said: list[str], clock: list[float]) -> KeeperWatch:
        return KeeperWatch(Keeper("r", Path("/nowhere")), said.append, lambda: clock[0])

    def test_tries_again_after_a_while(
        self, watch: KeeperWatch, said: list[str], clock: list[float], replaced: list[Exception | None]
    ) -> None:
        replaced[:] = [KeeperError("NoKeeper", "It does not start."), OSError("no memory"), None]
        watch.look()
        watch.look()
        assert len(replaced) == 2
        clock[0] += keeper_watch._AGAIN_SECONDS
        watch.look()
        clock[0] += keeper_watch._AGAIN_SECONDS
        watch.look()
        assert replaced == []
        assert ["no other" in line for line in said] == [True, True, False]

    def test_ends_with_the_run(
        self, watch: KeeperWatch, said: list[str], clock: list[float], replaced: list[Exception | None]
    ) -> None:
        replaced[:] = [KeeperError("KeeperGone", "It has ended."), None]
        watch.look()
        clock[0] += keeper_watch._AGAIN_SECONDS
        watch.look()
        assert len(replaced) == len(said) == 1

    def test_is_not_of_a_keeper_that_is_told_to_end(
        self, watch: KeeperWatch, said: list[str], replaced: list[Exception | None]
    ) -> None:
        replaced[:] = [None]
        watch.stop()
        watch.look()
        assert (len(replaced), said) == (1, [])

    def test_leaves_a_keeper_alone_that_lives(
        self, watch: KeeperWatch, replaced: list[Exception | None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replaced[:] = [None]
        monkeypatch.setattr(keeper_watch.start, "is_dead", lambda _folder: False)
        watch.look()
        assert len(replaced) == 1
