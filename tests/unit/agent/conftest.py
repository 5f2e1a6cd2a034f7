# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the agent share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mayfly_agent.progress import Progress
from mayfly_agent.repository import keys, repository

from tests.unit.agent.hostile import FastClock, Hostile
from tests.unit.agent.memory import MemoryObjects


@pytest.fixture
def store() -> MemoryObjects:
    """A new repository."""
    made = MemoryObjects()
    repository.create(made, lambda identity: [keys.wrap_with_recovery_key(b"m" * 32, b"r" * 32, identity)])
    return made


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with Hostile().running() as server:
        yield server


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


@pytest.fixture
def progress(clock: FastClock) -> Progress:
    return Progress(clock)
