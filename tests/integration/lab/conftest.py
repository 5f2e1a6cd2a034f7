# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs of their own for tests that start and end them; the machine image is shared through the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Lab:
    """The command `lab` for one state directory."""

    state: Path

    def run(self, *words: str, wait: float = 120, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `lab WORDS`; never raises for an exit code."""
        return subprocess.run(
            [sys.executable, "-m", "mayfly_lab.cli", *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=wait,
            check=False,
            env={**os.environ, "MAYFLY_LAB_STATE": str(self.state), "PYTHONPATH": "lab:agent"},
        )

    def exec(self, *words: str, wait: float = 120, text: str | None = None) -> str:
        """What a command prints in the lab; fails the test when its exit code is not 0."""
        done = self.run("exec", "--", *words, wait=wait, text=text)
        assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout[-2000:]} {done.stderr[-4000:]}"
        return done.stdout


@pytest.fixture
def fresh_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that is down, and is down again after the test."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    lab = Lab(tmp_path / "state")
    yield lab
    lab.run("down")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that is up for all tests of a file."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    lab = Lab(tmp_path_factory.mktemp("lab") / "state")
    done = lab.run("up", wait=600)
    assert done.returncode == 0, done.stderr
    yield lab
    lab.run("down")
