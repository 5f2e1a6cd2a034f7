# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the agent share."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import botocore.session
import pytest
from botocore.config import Config
from mayfly_agent.clients import CONFIG
from mayfly_agent.credentials import FileKeys
from mayfly_agent.progress import Progress
from mayfly_agent.quick import QuickClient
from mayfly_agent.repository import keys, repository
from mayfly_agent.s3 import S3Objects

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


@pytest.fixture(scope="session")
def session() -> botocore.session.Session:
    """It keeps what it has read of S3's description: a second each time."""
    return botocore.session.Session()


@pytest.fixture(params=["botocore", "quick"])
def s3(
    request: pytest.FixtureRequest, hostile: Hostile, progress: Progress, session: botocore.session.Session
) -> S3Objects:
    """A bucket of the server that is hostile, by the client of the controller and by that of a worker."""
    config = CONFIG.merge(Config(s3={"addressing_style": "path"}))
    client = session.create_client("s3", region_name="us-east-1", endpoint_url=hostile.url, config=config)
    client.meta.events.register_last("before-send.s3", lambda **_request: progress.check_deadline())
    if request.param == "quick":
        keys = FileKeys("access", "secret", None)
        client = QuickClient(
            SimpleNamespace(get_frozen_credentials=lambda: keys),
            "us-east-1",
            "bucket",
            lambda made=client: made,
            clock=progress.clock,
            before=lambda: progress.check_deadline(),  # noqa: PLW0108 - one that a test has replaced
            url=hostile.url,
        )
    return S3Objects(client, "bucket", "prefix", "444455556666", progress)
