# SPDX-License-Identifier: GPL-3.0-or-later
"""Things of EC2's, made and looked at through boto3, and how calls are refused and faults listed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.lab.calls import Calls, Refused
from tests.integration.lab.machine import Machine, key_pair

ZONE = "us-east-1a"
SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.255.0.10/32"}]}
Command = Callable[..., str]  # `lab WORDS`, and what it printed


@contextmanager
def refused(code: str, status: int | None = None) -> Iterator[None]:
    """What is done inside is refused so."""
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.code == code, repr(caught.value)
    assert status in (None, caught.value.status)


def meets(code: str, status: int | None, call: Callable[[], Any]) -> bool:
    """Whether a call is refused so; what refuses it in another way is raised."""
    try:
        call()
    except Refused as error:
        if error.code != code or status not in (None, error.status):
            raise
        return True
    return False


def image(calls: Calls) -> str:
    return str(calls("ec2", "describe_images", Owners=["136693071363"])["Images"][0]["ImageId"])


def launch(calls: Calls, **more: Any) -> dict[str, Any]:
    words = {"ImageId": image(calls), "InstanceType": "c6a.large", "MinCount": 1, "MaxCount": 1}
    made: dict[str, Any] = calls("ec2", "run_instances", **{**words, **more})["Instances"][0]
    return made


def reachable(calls: Calls, **more: Any) -> Machine:
    """A launch whose user data lets the test's key in, in a new group that lets SSH in, unless ``more`` names one."""
    key = key_pair(calls.lab)
    public = key.with_suffix(".pub").read_text().strip()
    if "SecurityGroupIds" not in more:
        more["SecurityGroupIds"] = [group_with_ssh(calls)]
    user_data = f"#cloud-config\nssh_authorized_keys: ['{public}']\n"
    made = launch(calls, **{"UserData": user_data, **more})
    return Machine(calls.lab, made["InstanceId"], made["PrivateIpAddress"], key, "backup")


def terminate(calls: Calls, *instances: str) -> None:
    calls("ec2", "terminate_instances", InstanceIds=list(instances))


def instance(calls: Calls, identity: str) -> dict[str, Any]:
    found = calls("ec2", "describe_instances", InstanceIds=[identity])
    one: dict[str, Any] = found["Reservations"][0]["Instances"][0]
    return one


def wait_for(calls: Calls, identity: str, state: str, seconds: float = 15) -> dict[str, Any]:
    ends = time.monotonic() + seconds
    while (found := instance(calls, identity))["State"]["Name"] != state:
        assert time.monotonic() < ends, found["State"]
        time.sleep(0.1)
    return found


def new_volume(calls: Calls, **more: Any) -> str:
    return str(calls("ec2", "create_volume", Size=1, AvailabilityZone=ZONE, **more)["VolumeId"])


def new_group(calls: Calls) -> str:
    vpc = calls("ec2", "describe_vpcs", Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    name = f"group-{time.monotonic_ns()}"
    return str(calls("ec2", "create_security_group", GroupName=name, Description="tried", VpcId=vpc)["GroupId"])


def group_with_ssh(calls: Calls) -> str:
    """A group that lets SSH in from the control node."""
    calls("ec2", "authorize_security_group_ingress", GroupId=(group := new_group(calls)), IpPermissions=[SSH])
    return group


def attach(calls: Calls, volume: str, instance_id: str, device: str) -> None:
    """Attach a volume once it is available."""
    ends = time.monotonic() + 20
    while calls("ec2", "describe_volumes", VolumeIds=[volume])["Volumes"][0]["State"] != "available":
        assert time.monotonic() < ends, volume
        time.sleep(0.1)
    calls("ec2", "attach_volume", VolumeId=volume, InstanceId=instance_id, Device=device)


def volume_at(calls: Calls, instance_id: str, device: str) -> str:
    disks = instance(calls, instance_id)["BlockDeviceMappings"]
    return next(str(each["Ebs"]["VolumeId"]) for each in disks if each["DeviceName"] == device)


def restored(calls: Calls, volume: str) -> str:
    """A volume with what another one holds now."""
    snapshot = calls("ec2", "create_snapshot", VolumeId=volume)["SnapshotId"]
    ends = time.monotonic() + 60
    while calls("ec2", "describe_snapshots", SnapshotIds=[snapshot])["Snapshots"][0]["State"] != "completed":
        assert time.monotonic() < ends, snapshot
        time.sleep(0.2)
    return str(calls("ec2", "create_volume", SnapshotId=snapshot, AvailabilityZone=ZONE)["VolumeId"])


def stop(calls: Calls, instance_id: str) -> None:
    """Stop an instance, and wait until it is."""
    calls("ec2", "stop_instances", InstanceIds=[instance_id])
    wait_for(calls, instance_id, "stopped", 60)


def swap_root(calls: Calls, instance_id: str, volume: str) -> None:
    """Put a volume in the place of a stopped instance's root volume."""
    calls("ec2", "detach_volume", VolumeId=volume_at(calls, instance_id, "/dev/xvda"))
    attach(calls, volume, instance_id, "/dev/xvda")


def status(calls: Calls, identity: str) -> str:
    """What EC2's check of the instance says."""
    found = calls("ec2", "describe_instance_status", InstanceIds=[identity], IncludeAllInstances=True)
    return str(found["InstanceStatuses"][0]["InstanceStatus"]["Status"])


def wait_for_status(calls: Calls, identity: str, wanted: str, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while (found := status(calls, identity)) != wanted:
        assert time.monotonic() < ends, f"{identity}: {found}, not {wanted}"
        time.sleep(0.2)


def count_volumes(calls: Calls) -> int:
    return len(calls("ec2", "describe_volumes")["Volumes"])


def listed(command: Command, identity: str) -> str:
    """How `lab status` shows a fault, without its id and kind."""
    lines = [line.split() for line in command("status").splitlines()]
    return next((" ".join(words[3:]) for words in lines if words[:2] == ["fault", identity]), "")
