# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker's credentials: written as a file that only the agent reads, renewed in time, and no longer than needed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import credentials
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.credentials import WorkerCredentials
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError

from tests.unit.plugins.keeper.fakes import until

HOST = "web-1_i-0001"


class Reach:
    """A registry with one worker, which takes what it is sent; ``broken`` says that it cannot be reached.

    ``afterwards`` is what the worker is from the second time on that it is asked for.
    """

    def __init__(self) -> None:
        self.worker: Any = SimpleNamespace(instance_id="i-worker")
        self.afterwards: Any = self.worker
        self.looked = 0
        self.commands: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.broken = False

    def get(self, host: str) -> Any:
        self.looked += 1
        found, self.worker = self.worker, self.afterwards
        return found if host == HOST else None

    def run(self, host: str, command: str, stdin: bytes = b"", timeout: float = 30) -> bytes:
        assert host == HOST
        if self.broken:
            raise KeeperError("WorkerUnreachable", "It cannot be reached.")
        self.commands.append(command)
        self.sent.append(json.loads(stdin))
        self.times.append(time.monotonic())
        return b""


class Session:
    """Makes credentials that last so many seconds, each with another key; ``failures`` says which are refused."""

    def __init__(self, seconds: float, *failures: int) -> None:
        self.seconds = seconds
        self.failures = failures
        self.made = 0

    def __call__(self) -> dict[str, Any]:
        self.made += 1
        if self.made in self.failures:
            raise ConnectionError("STS is not reached")
        ends = datetime.now(UTC) + timedelta(seconds=self.seconds)
        key = {"access_key": f"KEY-{self.made}", "secret_key": "secret", "token": "token"}
        return {**key, "expiry_time": ends.isoformat()}


@pytest.fixture
def reach() -> Reach:
    """The registry."""
    return Reach()


@pytest.fixture
def kept(reach: Reach, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What keeps credentials, looking every 20 ms and trying again after 100 ms."""
    monkeypatch.setattr(credentials, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(credentials, "_RETRY_SECONDS", 0.1)
    keeper = WorkerCredentials(reach)
    yield keeper
    keeper.stop()


@pytest.mark.parametrize("name", ["source", "repository"])
def test_they_are_written_at_once(kept: WorkerCredentials, reach: Reach, name: str) -> None:
    kept.keep(HOST, name, Session(3600))
    assert [each["access_key"] for each in reach.sent] == ["KEY-1"]
    assert f"/run/mayfly/credentials/{name}.json" in reach.commands[0]
    assert "secret" not in reach.commands[0]


def test_the_command_makes_a_whole_file_that_only_the_agent_reads(
    kept: WorkerCredentials, reach: Reach, tmp_path: Path
) -> None:
    """Run by a real shell, in another folder, with a chown that only takes note."""
    kept.keep(HOST, "source", Session(3600))
    (tmp_path / "chown").write_text('#!/bin/sh\necho "$1" "$(stat -c %a "$2")" "${2##*/}" >>"$0.told"\n')
    (tmp_path / "chown").chmod(0o755)
    folder = tmp_path / "credentials"
    command = reach.commands[0].replace("/run/mayfly/credentials", str(folder))
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for number in range(2):
        content = json.dumps({"access_key": f"KEY-{number}"})
        subprocess.run(["sh", "-c", command], input=content.encode(), env=environment, check=True, timeout=30)
        assert (folder / "source.json").read_text() == content
    assert [path.name for path in folder.iterdir()] == ["source.json"]
    assert stat.S_IMODE((folder / "source.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    # It has its owner before it has its name.
    assert (tmp_path / "chown.told").read_text().splitlines() == ["mayfly-agent: 600 source.new"] * 2


def test_they_are_renewed_before_they_end(kept: WorkerCredentials, reach: Reach) -> None:
    session = Session(0.6)
    kept.keep(HOST, "source", session)
    until(lambda: len(reach.sent) >= 3)
    assert [each["access_key"] for each in reach.sent[:3]] == ["KEY-1", "KEY-2", "KEY-3"]
    assert reach.times[1] - reach.times[0] >= 0.28


def test_they_are_not_renewed_before_half_their_time(kept: WorkerCredentials, reach: Reach) -> None:
    session = Session(3600)
    kept.keep(HOST, "source", session)
    time.sleep(0.2)
    assert session.made == 1


def test_those_that_have_ended_already_are_renewed_at_once(kept: WorkerCredentials, reach: Reach) -> None:
    kept.keep(HOST, "source", Session(-10))
    until(lambda: len(reach.sent) >= 2)


def test_both_kinds_are_renewed_by_themselves(kept: WorkerCredentials, reach: Reach) -> None:
    short, long = Session(0.2), Session(3600)
    kept.keep(HOST, "source", short)
    kept.keep(HOST, "repository", long)
    until(lambda: short.made >= 3)
    assert long.made == 1


def test_a_renewal_that_fails_is_tried_again(kept: WorkerCredentials, reach: Reach) -> None:
    session = Session(0.1, 2, 3)
    kept.keep(HOST, "source", session)
    until(lambda: len(reach.sent) >= 2)
    assert reach.sent[1]["access_key"] == "KEY-4"
    assert reach.times[1] - reach.times[0] >= 0.2


def test_a_worker_that_cannot_be_reached_is_tried_again(kept: WorkerCredentials, reach: Reach) -> None:
    session = Session(0.1)
    kept.keep(HOST, "source", session)
    reach.broken = True
    until(lambda: session.made >= 3)
    reach.broken = False
    until(lambda: len(reach.sent) >= 2)


@pytest.mark.parametrize("after", [None, SimpleNamespace(instance_id="i-another")], ids=["gone", "another one"])
def test_a_worker_that_is_gone_gets_no_more(kept: WorkerCredentials, reach: Reach, after: Any) -> None:
    session, reach.afterwards = Session(-10), after
    kept.keep(HOST, "source", session)
    until(lambda: reach.looked >= 2)
    time.sleep(0.1)
    assert (session.made, len(reach.sent), reach.looked) == (1, 1, 2)
    reach.worker = reach.afterwards = SimpleNamespace(instance_id="i-next")
    following = Session(-10)
    kept.keep(HOST, "repository", following)
    until(lambda: following.made >= 2)


def test_a_new_worker_of_the_host_gets_its_own(kept: WorkerCredentials, reach: Reach) -> None:
    first, second = Session(2), Session(0.2)
    kept.keep(HOST, "source", first)
    due = time.monotonic() + 1
    reach.worker = reach.afterwards = SimpleNamespace(instance_id="i-another")
    kept.keep(HOST, "source", second)
    until(lambda: second.made >= 3 and time.monotonic() > due + 0.1)
    assert first.made == 1


def test_nothing_is_renewed_after_the_end(kept: WorkerCredentials, reach: Reach) -> None:
    session = Session(0.1)
    kept.keep(HOST, "source", session)
    kept.stop()
    time.sleep(0.1)
    made = session.made
    time.sleep(0.2)
    assert session.made == made


def test_a_host_without_a_worker_is_refused_before_any_are_made(kept: WorkerCredentials) -> None:
    session = Session(3600)
    with pytest.raises(KeeperError) as caught:
        kept.keep("another-host", "source", session)
    assert caught.value.code == "NoWorker"
    assert "another-host" in caught.value.message
    assert session.made == 0


def test_an_unknown_kind_is_a_mistake(kept: WorkerCredentials) -> None:
    with pytest.raises(ValueError, match="not elsewhere"):
        kept.keep(HOST, "elsewhere", Session(3600))


def test_a_first_failure_reaches_the_caller_and_nothing_is_kept(kept: WorkerCredentials, reach: Reach) -> None:
    session = Session(0.1, *range(1, 100))
    with pytest.raises(ConnectionError):
        kept.keep(HOST, "source", session)
    reach.broken = True
    with pytest.raises(KeeperError):
        kept.keep(HOST, "source", Session(3600))
    reach.broken = False
    time.sleep(0.1)
    assert session.made == 1
    assert reach.sent == []


def test_one_that_fails_does_not_keep_others_from_renewal(kept: WorkerCredentials, reach: Reach) -> None:
    bad, good = Session(0.1, *range(2, 100)), Session(0.1)
    kept.keep(HOST, "source", bad)
    kept.keep(HOST, "repository", good)
    until(lambda: good.made >= 4 and bad.made >= 2)
