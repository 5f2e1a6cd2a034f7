# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts that meet each other, and starts that are killed: one lab, or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.lab.test_lifecycle import assert_nothing_remains
from tests.labs import ROOT, Lab

pytestmark = pytest.mark.timeout(300)


def begin(lab: Lab, *words: str) -> subprocess.Popen[str]:
    """`lab WORDS`, not waited for, in a group of its own."""
    return subprocess.Popen(
        lab.words(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=ROOT, env=lab.variables(), start_new_session=True,
    )  # fmt: skip


def wait_until(what: Callable[[], object], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.001)


def test_two_that_start_one_lab_get_one_lab(fresh_lab: Lab) -> None:
    starting = [begin(fresh_lab, "up") for _ in range(3)]
    said = [each.communicate(timeout=200)[0] for each in starting]
    assert [each.returncode for each in starting] == [0, 0, 0], said
    assert sum("after" in each for each in said) == 1, said
    assert sum("waiting for another command" in each for each in said) >= 1, said
    assert "111122223333" in fresh_lab.exec("aws", "sts", "get-caller-identity")
    assert fresh_lab.run("down").returncode == 0
    assert_nothing_remains(fresh_lab)


MOMENTS = {
    "the holder is written down": lambda state: (state / "run/home.json").exists(),
    "the holder runs": lambda state: (state / "run/log/supervisor.log").exists(),
    "the supervisor has begun": lambda state: (state / "run/resolv.conf").exists(),
    "the services begin": lambda state: (state / "run/supervisor.sock").exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_down_leaves_nothing_of_a_start_that_was_killed(fresh_lab: Lab, moment: str) -> None:
    starting = begin(fresh_lab, "up")
    wait_until(lambda: MOMENTS[moment](fresh_lab.state))
    starting.kill()
    starting.wait()
    assert fresh_lab.run("down").returncode == 0
    assert_nothing_remains(fresh_lab)
    assert not (fresh_lab.state / "run").exists()


def test_down_knows_a_lab_whose_start_was_killed_before_it_knew_process_1(fresh_lab: Lab) -> None:
    blind = "import sys, time; from mayfly_lab import cli, namespace; namespace._children = lambda _: time.sleep(60);"
    words = [sys.executable, "-c", f"{blind} sys.argv = ['lab', 'up']; cli.main()"]
    starting = subprocess.Popen(words, stdin=subprocess.DEVNULL, cwd=ROOT, env=fresh_lab.variables())
    wait_until((fresh_lab.state / "run/supervisor.sock").exists)
    starting.kill()
    starting.wait()
    assert fresh_lab.run("status").returncode == 2
    assert fresh_lab.run("down").returncode == 0
    assert_nothing_remains(fresh_lab)


def test_a_start_that_is_interrupted_ends_what_it_began(fresh_lab: Lab) -> None:
    starting = begin(fresh_lab, "up")
    wait_until(lambda: MOMENTS["the supervisor has begun"](fresh_lab.state))
    starting.send_signal(signal.SIGINT)
    said = starting.communicate(timeout=60)[0]
    assert starting.returncode == 128 + signal.SIGINT, said
    assert "Traceback" not in said
    assert_nothing_remains(fresh_lab)


def test_a_build_that_is_killed_takes_everything_with_it(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    cache = tmp_path / "cache"
    lab = Lab(tmp_path / "state", {"MAYFLY_LAB_CACHE": str(cache)})
    starting = begin(lab, "up")
    wait_until(lambda: any(cache.glob("build-*/root/*")))
    waiting = begin(Lab(tmp_path / "other", lab.environment), "up")
    assert waiting.stdout
    assert "waiting for another lab" in waiting.stdout.readline()
    os.killpg(waiting.pid, signal.SIGKILL)
    waiting.wait()
    starting.kill()
    starting.wait()

    def left() -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(cache) in command:
                found.append(command)
        return found

    wait_until(lambda: not left(), 5)
    assert str(cache) not in Path("/proc/self/mounts").read_text()
