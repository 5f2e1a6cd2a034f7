# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a machine is told, whatever becomes of its traces."""

from __future__ import annotations

import queue
import subprocess
import threading
from pathlib import Path

import pytest
from mayfly_lab import cgroups, container, host, hosts, network
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
    machines = hosts.Hosts(Paths(tmp_path, tmp_path), ended.put, ended.put)
    process = subprocess.Popen(["true"])
    machine = container.Container(host.Place("i-0123456789abcdef0", "10.20.0.4", tmp_path, "lab"), process)
    machines._wait(machine)
    assert ended.get(timeout=1) == machine.instance_id
    assert machine.released.is_set()


class Machine(host.Host):
    """One without disks or traces."""

    shutdown_seconds = 1.0
    disks = ()

    def leader(self) -> int:
        return self.process.pid

    def attach(self, name: str, volume_id: str, volume: Path) -> None: ...

    def detach(self, name: str) -> None: ...

    def press_power_button(self) -> None:
        self.ending = True
        self.process.terminate()

    def release(self) -> None: ...


@pytest.mark.parametrize(
    ("command", "asked", "told"),
    [("true", False, "exited"), ("false", False, "died"), ("exec sleep 60", True, "exited")],
    ids=["in-order", "crashed", "powered-off"],
)
def test_a_machine_that_nobody_has_ended_in_order_has_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, asked: bool, told: str
) -> None:
    monkeypatch.setattr(network, "silence", lambda _: None)
    monkeypatch.setattr(network, "unsilence", lambda _: None)
    events: queue.Queue[str] = queue.Queue()
    machines = hosts.Hosts(Paths(tmp_path, tmp_path), lambda _: events.put("exited"), lambda _: events.put("died"))
    place = host.Place("i-0123456789abcdef0", "10.20.0.4", tmp_path, "lab")
    machine = machines._hosts[place.instance_id] = Machine(place, subprocess.Popen(["sh", "-c", command]))
    watching = threading.Thread(target=machines._wait, args=(machine,))
    watching.start()
    if asked:
        machines.power_off(place.instance_id)
    watching.join(10)
    assert events.get(timeout=1) == told
    assert [each["state"] for each in machines.list()] == (["dead"] if told == "died" else [])
    if told == "died":  # until EC2 is told to end it
        machines.kill(place.instance_id)
        assert events.get(timeout=1) == "exited"
    assert events.empty()
    assert machines.list() == []
