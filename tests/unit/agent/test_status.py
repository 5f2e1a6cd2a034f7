# SPDX-License-Identifier: GPL-3.0-or-later
"""The state that the agent shows of its transfer."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.progress import Progress
from mayfly_agent.status import Status

from tests.unit.agent.hostile import FastClock

COUNTERS = ("blocks_total", "blocks_done", "bytes_read")


def test_counters_and_the_end_are_written(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    with Status(path) as status:
        assert json.loads(path.read_text())["state"] == "running"
        status.begin("Reading", "vol-1", COUNTERS)
        status.count("vol-1", blocks_done=2, bytes_read=7)
        status.count("vol-1", blocks_done=1)
        status.succeeded({"restore_point": "p"})
    written = json.loads(path.read_text())
    assert (written["state"], written["result"]) == ("succeeded", {"restore_point": "p"})
    assert written["stage"] == "Reading vol-1"
    counted = written["units"]["vol-1"]
    assert counted.pop("seconds") >= 0
    assert counted == {"blocks_total": 0, "blocks_done": 3, "bytes_read": 7}


def test_each_operation_counts_what_it_does_of_its_own_units(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    with Status(path) as status:
        status.begin("Sweeping", "ec2/i-1", ["objects_deleted"])
        status.count("ec2/i-1", objects_deleted=5)
        status.begin("Sweeping", "ec2/i-2", ["objects_deleted"])
        assert status.unit("ec2/i-1")["objects_deleted"] == 5
        status.stage("Giving the lease back")
    written = json.loads(path.read_text())
    assert written["stage"] == "Giving the lease back"
    assert {name: each["objects_deleted"] for name, each in written["units"].items()} == {"ec2/i-1": 5, "ec2/i-2": 0}


def test_what_moves_and_what_waits_is_written(tmp_path: Path, progress: Progress, clock: FastClock) -> None:
    path, request = tmp_path / "status.json", object()
    with Status(path, progress) as status:
        status.begin("Reading", "vol-1", COUNTERS)
        status.count("vol-1", blocks_total=5)  # says what is to do, and is no move
        progress.moved()
        progress.waits(request, clock.now())
        clock.time += 7
    written = json.loads(path.read_text())
    assert (written["progress"], written["waiting"]) == (1, 7)
    progress.goes_on(request)
    with Status(path, progress):
        assert json.loads(path.read_text())["waiting"] == 0


def test_a_snapshot_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    with Status(path) as status:
        assert json.loads(path.read_text())["snapshots"] == {}
        before = json.loads(path.read_text())["serial"]
        status.started("vol-1", "snap-1")
        written = json.loads(path.read_text())
    assert written["snapshots"] == {"vol-1": "snap-1"}
    assert written["serial"] > before


def test_a_snapshot_that_nobody_would_hear_of_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "transfer"
    folder.mkdir()
    status = Status(folder / "status.json")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(AgentError, match="cannot be written"):
        status.started("vol-1", "snap-1")


def count_for_ever(status: Status) -> None:
    """A transfer that goes on, for 20 seconds at most."""
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        status.count("vol-1", blocks_done=1)
        time.sleep(0.05)


def test_nothing_goes_on_when_the_state_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "transfer"
    folder.mkdir()
    status = Status(folder / "status.json")
    status.__enter__()
    status.begin("Reading", "vol-1", COUNTERS)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(AgentError, match="cannot be written"):
        count_for_ever(status)
    with pytest.raises(OSError, match="No such file"):
        status.__exit__(None, None, None)
