# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs for tests that start and end them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.labs import Lab


@pytest.fixture
def fresh_lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab that is down, and is down again after the test."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    lab = Lab(tmp_path / "state")
    yield lab
    lab.run("down")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that is up for all tests of a file."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    lab = Lab(tmp_path_factory.mktemp("lab") / "state")
    done = lab.run("up", wait=600)
    assert done.returncode == 0, done.stderr
    yield lab
    lab.run("down")
