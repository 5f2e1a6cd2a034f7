# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmarks run when they are asked for (`-m bench`); their lines come last, and a missed aim is exit code 1."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.benchmarks.aims import Aims
from tests.benchmarks.data import Source, make
from tests.labs import Lab

_AIMS = pytest.StashKey[Aims]()
# A volume of 3 GiB with more than 1 GiB of files; enough for several seconds at full speed.
_SIZE_GIB, _FILLED_MIB = 3, 1280


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_AIMS] = Aims()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "bench" in config.option.markexpr:
        return
    for item in items:
        if item.get_closest_marker("bench"):
            item.add_marker(pytest.mark.skip(reason="measures: make bench"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash[_AIMS].missed and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    lines = config.stash[_AIMS].lines
    if lines:
        print("\n".join(["=== figures", *lines]))


@pytest.fixture(scope="session")
def aims(request: pytest.FixtureRequest) -> Aims:
    """Where figures go."""
    return request.config.stash[_AIMS]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab that is up."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    lab = Lab(tmp_path_factory.mktemp("bench") / "state")
    done = lab.run("up", wait=600)
    assert done.returncode == 0, done.stderr
    yield lab
    lab.run("down")


@pytest.fixture(scope="session")
def seeded(lab: Lab) -> Lab:
    """The lab with accounts, networks and roles for workers."""
    done = lab.run("seed", wait=300)
    assert done.returncode == 0, done.stderr
    return lab


@pytest.fixture(scope="session")
def source(lab: Lab) -> Source:
    """A snapshot of a volume that holds more than 1 GiB of real files."""
    return make(lab, _SIZE_GIB, _FILLED_MIB)
