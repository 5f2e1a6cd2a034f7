# SPDX-License-Identifier: GPL-3.0-or-later
"""The state that the agent shows of its transfer."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.status import Status


def test_counters_and_the_end_are_written(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    with Status(path) as status:
        assert json.loads(path.read_text())["state"] == "running"
        status.stage("Reading", "vol-1")
        status.count("vol-1", blocks_done=2, bytes_read=7)
        status.count("vol-1", blocks_done=1)
        status.succeeded({"restore_point": "p"})
    written = json.loads(path.read_text())
    assert (written["state"], written["result"]) == ("succeeded", {"restore_point": "p"})
    assert written["volumes"]["vol-1"]["blocks_done"] == 3
    assert written["volumes"]["vol-1"]["bytes_read"] == 7


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
    status.stage("Reading", "vol-1")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(AgentError, match="cannot be written"):
        count_for_ever(status)
    with pytest.raises(OSError, match="No such file"):
        status.__exit__(None, None, None)
