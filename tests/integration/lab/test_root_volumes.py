# SPDX-License-Identifier: GPL-3.0-or-later
"""The root file system of a host is a volume: another one can be put in its place."""

from __future__ import annotations

import pytest

from tests.integration.lab import things
from tests.integration.lab.calls import Calls
from tests.integration.lab.machine import wait_for_ssh

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(240)


def test_a_host_boots_what_is_attached_as_its_root(calls: Calls) -> None:
    machine = things.reachable(calls)
    identity = machine.instance_id
    wait_for_ssh(machine)
    machine.check("echo before >/var/kept; sync")
    old = things.volume_at(calls, identity, "/dev/xvda")
    restored = things.restored(calls, old)
    machine.check("echo after >/var/kept; sync")
    key = machine.check("cat /etc/ssh/ssh_host_ed25519_key.pub")
    with things.refused("OperationNotPermitted"):
        calls("ec2", "detach_volume", VolumeId=old)

    things.stop(calls, identity)
    calls("ec2", "detach_volume", VolumeId=old)
    with things.refused("InvalidParameterValue"):
        calls("ec2", "start_instances", InstanceIds=[identity])
    things.attach(calls, restored, identity, "/dev/xvda")
    calls("ec2", "start_instances", InstanceIds=[identity])
    wait_for_ssh(machine)
    assert machine.check("cat /var/kept").strip() == "before"
    assert machine.check("cat /etc/ssh/ssh_host_ed25519_key.pub") == key, "the same instance has the same identity"
    things.wait_for_status(calls, identity, "ok")

    # What cannot boot runs for all that EC2 knows, and fails its check.
    things.stop(calls, identity)
    things.swap_root(calls, identity, things.new_volume(calls))
    calls("ec2", "start_instances", InstanceIds=[identity])
    things.wait_for_status(calls, identity, "impaired")
    assert things.instance(calls, identity)["State"]["Name"] == "running"
    assert "mount" in calls("ec2", "get_console_output", InstanceId=identity)["Output"]

    things.stop(calls, identity)
    things.swap_root(calls, identity, old)
    calls("ec2", "start_instances", InstanceIds=[identity])
    wait_for_ssh(machine)
    assert machine.check("cat /var/kept").strip() == "after"
    things.terminate(calls, identity)
    things.wait_for(calls, identity, "terminated")
    left = {each["VolumeId"]: each["State"] for each in calls("ec2", "describe_volumes")["Volumes"]}
    assert left[restored] == "available"
    assert left[old] == "available", "a volume that was attached is not the instance's to delete"
