# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a machine is told, whatever becomes of its traces."""

from __future__ import annotations

import queue
import subprocess
from pathlib import Path

import pytest
from mayfly_lab import cgroups, hosts
from mayfly_lab.commands import CommandFailed
from mayfly_lab.paths import Paths


@pytest.mark.parametrize("error", [CommandFailed("umount: not done"), OSError("busy"), RuntimeError("unforeseen")])
def test_a_machine_that_cannot_be_cleaned_up_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: str) -> None:
        raise error

    monkeypatch.setattr(cgroups, "kill", fail)
    ended: queue.Queue[str] = queue.Queue()
    machines = hosts.Hosts(Paths(tmp_path, tmp_path), ended.put)
    process = subprocess.Popen(["true"])
    host = hosts.Host("i-0123456789abcdef0", "10.20.0.4", tmp_path, process)
    machines._wait(host)
    assert ended.get(timeout=1) == host.instance_id
    assert host.released.is_set()
