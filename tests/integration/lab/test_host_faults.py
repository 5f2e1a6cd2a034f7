# SPDX-License-Identifier: GPL-3.0-or-later
"""Launches and hosts that fail on request, seen from the control node."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.lab.calls import Calls
from tests.integration.lab.machine import SSH_OPTIONS, Machine, wait_for_ssh
from tests.integration.lab.things import (
    Command,
    instance,
    launch,
    listed,
    new_group,
    reachable,
    refused,
    terminate,
    wait_for,
)
from tests.labs import ROOT, Lab

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(120)
REFUSALS = {"capacity": ("InsufficientInstanceCapacity", 500), "vcpu-limit": ("VcpuLimitExceeded", 400)}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_launch_that_is_refused(calls: Calls, fault: Command, command: Command, kind: str) -> None:
    subnets = calls("ec2", "describe_subnets")["Subnets"]
    here, there = (next(s["SubnetId"] for s in subnets if s["AvailabilityZone"] == f"us-east-1{z}") for z in "ab")
    counted = fault(kind, "--times", "1", "--type", "c6a.*", "--zone", "us-east-1a")
    made = [launch(calls, SubnetId=there)["InstanceId"]]
    with refused(*REFUSALS[kind]):
        launch(calls, SubnetId=here, ClientToken=kind)
    assert listed(command, counted).endswith("0 left, met 1 times")
    made.append(launch(calls, SubnetId=here, ClientToken=kind)["InstanceId"])
    terminate(calls, *made)


def test_a_launch_that_ends_by_itself(calls: Calls, fault: Command, command: Command) -> None:
    counted = fault("ends-by-itself", "--times", "1", "--type", "c6a.large", "--resource", "token-1")
    other = launch(calls, ClientToken="token-2")["InstanceId"]
    made = launch(calls, ClientToken="token-1")
    assert made["State"]["Name"] == "pending"
    assert listed(command, counted).endswith("0 left, met 1 times")
    found = wait_for(calls, made["InstanceId"], "shutting-down", 3)
    assert found["StateReason"]["Code"] == "Server.InsufficientInstanceCapacity"
    found = wait_for(calls, made["InstanceId"], "terminated", 5)
    assert found["StateReason"]["Code"] == "Server.InsufficientInstanceCapacity"
    assert found["StateReason"]["Message"].startswith("Server.InsufficientInstanceCapacity: ")
    assert made["InstanceId"] not in command("status")
    wait_for(calls, other, "running")
    terminate(calls, other)


def test_a_group_stays_busy_after_its_instances(calls: Calls, fault: Command, command: Command) -> None:
    group = new_group(calls)
    made = launch(calls, SecurityGroupIds=[group])["InstanceId"]
    with refused("DependencyViolation", 400):
        calls("ec2", "delete_security_group", GroupId=group)
    terminate(calls, made)
    with refused("DependencyViolation", 400):
        calls("ec2", "delete_security_group", GroupId=group)
    wait_for(calls, made, "terminated")
    counted = fault("group-busy", "--times", "1", "--seconds", "60")
    fault("group-busy", "--times", "1", "--seconds", "0")
    with refused("DependencyViolation", 400):
        calls("ec2", "delete_security_group", GroupId=group)
    assert listed(command, counted).endswith("0 left, met 1 times")
    calls("ec2", "delete_security_group", GroupId=group)


@pytest.fixture(scope="module")
def machine(calls: Calls) -> Machine:
    """A host that SSH reaches."""
    made = reachable(calls)
    wait_for_ssh(made)
    return made


class Echo:
    """A session over SSH that gives back what it is told."""

    def __init__(self, machine: Machine) -> None:
        words = ["ssh", *SSH_OPTIONS, "-i", str(machine.key), f"admin@{machine.address}", "cat"]
        self.process = subprocess.Popen(
            machine.lab.words("exec", "--", *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=ROOT, env=machine.lab.variables(), bufsize=1,
        )  # fmt: skip
        self.said: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.put(line.strip())

    def say(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(word + "\n")

    def hears(self, word: str, seconds: float) -> bool:
        """Whether a word comes back in time."""
        try:
            return self.said.get(timeout=seconds) == word
        except queue.Empty:
            return False


@pytest.fixture
def echo(machine: Machine) -> Iterator[Echo]:
    """A session that stands when the test begins."""
    made = Echo(machine)
    made.say("first")
    assert made.hears("first", 10)
    yield made
    made.process.kill()
    made.process.wait()


def login(machine: Machine) -> str:
    """What a new login says when it does not succeed within a second."""
    return machine.ssh("true").stderr


SILENT = {"cut-network": ("mend-network", "runs network cut"), "freeze-host": ("thaw-host", "frozen")}


@pytest.mark.parametrize("begin", SILENT)
def test_a_host_that_falls_silent_is_back_when_it_may(
    machine: Machine, echo: Echo, command: Command, calls: Calls, begin: str
) -> None:
    end, shown = SILENT[begin]
    command("fault", begin, machine.instance_id)
    assert f"{machine.instance_id} {shown}" in command("status")
    echo.say("second")
    assert not echo.hears("second", 1)
    assert echo.process.poll() is None, "the connection was reset"
    assert "timed out" in login(machine)
    assert instance(calls, machine.instance_id)["State"]["Name"] == "running"
    command("fault", end, machine.instance_id)
    assert echo.hears("second", 15), "the connection did not survive"
    assert shown not in command("status")
    machine.check("true")


def test_a_frozen_host_stays_so_when_a_snapshot_is_taken(machine: Machine, command: Command, calls: Calls) -> None:
    command("fault", "freeze-host", machine.instance_id)
    calls("ec2", "create_snapshots", InstanceSpecification={"InstanceId": machine.instance_id})
    assert "timed out" in login(machine)
    command("fault", "thaw-host", machine.instance_id)
    machine.check("true")


def test_a_host_that_died_is_silent_until_it_is_terminated(
    machine: Machine, echo: Echo, command: Command, calls: Calls
) -> None:
    command("fault", "kill-host", machine.instance_id)
    assert f"{machine.instance_id} dead" in command("status")
    echo.say("second")
    assert "timed out" in login(machine)
    assert echo.process.poll() is None, "the connection was reset"
    assert instance(calls, machine.instance_id)["State"]["Name"] == "running"
    volume = calls("ec2", "create_volume", Size=1, AvailabilityZone="us-east-1a")["VolumeId"]
    time.sleep(0.6)
    calls("ec2", "attach_volume", VolumeId=volume, InstanceId=machine.instance_id, Device="/dev/sdf")
    calls("ec2", "create_snapshots", InstanceSpecification={"InstanceId": machine.instance_id})
    terminate(calls, machine.instance_id)
    wait_for(calls, machine.instance_id, "terminated")
    assert machine.instance_id not in command("status")
    assert machine.address not in calls.lab.exec("ip", "route")


@pytest.mark.parametrize("words", [["fault", "kill-host"], ["fault", "cut-network"], ["fault", "thaw-host"]])
def test_a_host_that_there_is_not_is_told(lab: Lab, words: list[str]) -> None:
    done = lab.run(*words, "i-0123456789abcdef0")
    assert done.returncode == 2
    assert "i-0123456789abcdef0 does not run" in done.stderr


def test_a_host_that_boots_late(calls: Calls, fault: Command, command: Command) -> None:
    counted = fault("slow-boot", "--times", "1", "--seconds", "5")
    began = time.monotonic()
    made = reachable(calls)
    assert listed(command, counted).endswith("0 left, met 1 times")
    wait_for(calls, made.instance_id, "running", 3)
    assert made.instance_id not in command("status")
    wait_for_ssh(made)
    assert time.monotonic() - began > 5
    terminate(calls, made.instance_id)


def test_a_host_that_boots_late_and_is_not_wanted_any_more(calls: Calls, fault: Command, command: Command) -> None:
    fault("slow-boot", "--seconds", "2")
    ended, stopped = (launch(calls)["InstanceId"] for _ in range(2))
    wait_for(calls, stopped, "running", 3)
    terminate(calls, ended)
    calls("ec2", "stop_instances", InstanceIds=[stopped])
    wait_for(calls, ended, "terminated", 5)
    wait_for(calls, stopped, "stopped", 5)
    time.sleep(1)
    shown = command("status")
    assert ended not in shown
    assert stopped not in shown
    calls("ec2", "start_instances", InstanceIds=[stopped])
    wait_for(calls, stopped, "running", 10)
    assert stopped in command("status")
    terminate(calls, stopped)


def test_a_host_whose_boot_never_reaches_ssh(calls: Calls, fault: Command, command: Command) -> None:
    counted = fault("no-ssh", "--times", "1")
    made = reachable(calls)
    assert listed(command, counted).endswith("0 left, met 1 times")
    wait_for(calls, made.instance_id, "running", 10)
    lab, inside = calls.lab, ("exec", "--host", made.instance_id)
    assert lab.run(*inside, "systemctl", "is-system-running", "--wait").stdout.strip() in ("running", "degraded")
    assert lab.run(*inside, "test", "-e", "/var/lib/cloud/instance").returncode != 0, "its user data ran"
    assert "refused" in login(made)
    terminate(calls, made.instance_id)
    wait_for(calls, made.instance_id, "terminated")
