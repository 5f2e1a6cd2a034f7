# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine images: those that there are, those that are made of instances, and snapshots that belong to them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.lab.calls import Calls
from tests.integration.lab.machine import wait_for_ssh
from tests.integration.lab.things import image, instance, launch, reachable, refused, terminate, wait_for

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(180)
DEBIAN = "136693071363"
ONE = {"MinCount": 1, "MaxCount": 1}


def described(calls: Calls, **words: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = calls("ec2", "describe_images", **words)["Images"]
    return found


def await_image(calls: Calls, identity: str, seconds: float = 40) -> dict[str, Any]:
    ends = time.monotonic() + seconds
    while (found := described(calls, ImageIds=[identity])[0])["State"] == "pending":
        assert time.monotonic() < ends, found
        time.sleep(0.2)
    assert found["State"] == "available"
    return found


def tags(kind: str, **named: str) -> dict[str, Any]:
    return {"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in named.items()]}


def test_an_image_for_another_architecture_is_listed_and_does_not_boot(calls: Calls) -> None:
    found = {each["Architecture"]: each["ImageId"] for each in described(calls, Owners=[DEBIAN])}
    assert sorted(found) == ["arm64", "x86_64"]
    with refused("Unsupported", 400):
        calls("ec2", "run_instances", ImageId=found["arm64"], InstanceType="c6g.large", **ONE)
    for architecture, kind in (("arm64", "c6a.large"), ("x86_64", "c6g.large")):
        with refused("InvalidParameterValue", 400):
            calls("ec2", "run_instances", ImageId=found[architecture], InstanceType=kind, **ONE)


@pytest.mark.parametrize("reboots", [True, False], ids=["reboot", "no-reboot"])
def test_an_image_holds_what_was_installed(calls: Calls, reboots: bool) -> None:
    data = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}]
    source = reachable(calls, BlockDeviceMappings=data)
    wait_for_ssh(source)
    wait_for(calls, source.instance_id, "running")
    source.check("echo installed > /usr/local/lib/installed")
    if not reboots:
        source.check("sync")
    before = source.check("cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1")
    name = f"baked-{reboots}"
    specifications = [tags("image", stamp="one"), tags("snapshot", part="of-image")]
    words = {"Name": name, "NoReboot": not reboots, "TagSpecifications": specifications}
    made = calls("ec2", "create_image", InstanceId=source.instance_id, **words)["ImageId"]
    with refused("InvalidAMIID.Unavailable", 400):
        calls("ec2", "run_instances", ImageId=made, InstanceType="c6a.large", **ONE)
    with refused("InvalidAMIName.Duplicate", 400):
        calls("ec2", "create_image", InstanceId=source.instance_id, Name=name, NoReboot=True)
    found = await_image(calls, made)
    assert [disk["DeviceName"] for disk in found["BlockDeviceMappings"]] == ["/dev/xvda", "/dev/sdf"]
    assert found["Tags"] == [{"Key": "stamp", "Value": "one"}]
    wait_for_ssh(source)
    after = source.check("cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1")
    assert (after != before) == reboots
    copy = reachable(calls, ImageId=made)
    assert instance(calls, copy.instance_id)["ImageId"] == made
    wait_for_ssh(copy)
    assert copy.check("cat /usr/local/lib/installed").strip() == "installed"
    assert copy.check("test -b /dev/xvdf; echo $?").strip() == "0"
    terminate(calls, source.instance_id, copy.instance_id)
    snapshots = [disk["Ebs"]["SnapshotId"] for disk in found["BlockDeviceMappings"]]
    shown = calls("ec2", "describe_snapshots", SnapshotIds=snapshots)["Snapshots"]
    assert [each["Tags"] for each in shown] == [[{"Key": "part", "Value": "of-image"}]] * 2
    with refused("InvalidSnapshot.InUse", 400):
        calls("ec2", "delete_snapshot", SnapshotId=snapshots[0])
    calls("ec2", "deregister_image", ImageId=made)
    for snapshot in snapshots:
        calls("ec2", "delete_snapshot", SnapshotId=snapshot)


def test_images_are_found_by_owner_name_and_tags(calls: Calls) -> None:
    source = launch(calls)["InstanceId"]
    wait_for(calls, source, "running")
    made = [
        calls("ec2", "create_image", InstanceId=source, Name=name, NoReboot=True)["ImageId"]
        for name in ("worker-1", "worker-2")
    ]
    calls("ec2", "create_tags", Resources=made[:1], Tags=[{"Key": "mayfly", "Value": "yes"}])
    for filters, expected in (
        ({"name": "worker-*"}, made),
        ({"name": "worker-2"}, made[1:]),
        ({"tag:mayfly": "yes"}, made[:1]),
        ({"tag-key": "mayfly", "architecture": "x86_64", "root-device-type": "ebs"}, made[:1]),
        ({"name": "debian-*"}, []),
    ):
        asked = [{"Name": key, "Values": [value]} for key, value in filters.items()]
        assert [each["ImageId"] for each in described(calls, Owners=["self"], Filters=asked)] == expected, filters
    assert described(calls, Owners=[DEBIAN], Filters=[{"Name": "name", "Values": ["worker-*"]}]) == []
    await_image(calls, made[0])
    words = {"SourceImageId": made[0], "SourceRegion": "us-east-1", "Name": "worker-1", "region": "eu-central-1"}
    specifications = [tags("image", stamp="two"), tags("snapshot", part="of-copy")]
    copied = calls("ec2", "copy_image", TagSpecifications=specifications, **words)["ImageId"]
    (found,) = calls("ec2", "describe_images", ImageIds=[copied], region="eu-central-1")["Images"]
    (disk,) = found["BlockDeviceMappings"]
    assert disk["Ebs"]["SnapshotId"] != snapshots_of(calls, made[0])[0]
    words = {"SnapshotIds": [disk["Ebs"]["SnapshotId"]], "region": "eu-central-1"}
    (shown,) = calls("ec2", "describe_snapshots", **words)["Snapshots"]
    assert (found["Tags"], shown["Tags"]) == (
        [{"Key": "stamp", "Value": "two"}],
        [{"Key": "part", "Value": "of-copy"}],
    )
    snapshots = snapshots_of(calls, made[1])
    calls("ec2", "deregister_image", ImageId=made[1], DeleteAssociatedSnapshots=True)
    with refused("InvalidSnapshot.NotFound", 400):
        calls("ec2", "describe_snapshots", SnapshotIds=snapshots)
    with refused("AuthFailure"):
        calls("ec2", "deregister_image", ImageId=image(calls))
    terminate(calls, source)


def snapshots_of(calls: Calls, identity: str) -> list[str]:
    (found,) = described(calls, ImageIds=[identity])
    return [disk["Ebs"]["SnapshotId"] for disk in found["BlockDeviceMappings"]]


def test_an_instance_that_neither_runs_nor_is_stopped_is_no_image(calls: Calls) -> None:
    source = launch(calls)["InstanceId"]
    terminate(calls, source)
    with refused("IncorrectState", 400):
        calls("ec2", "create_image", InstanceId=source, Name="too-late")


def test_a_set_of_snapshots_is_made_whole_or_not_at_all(calls: Calls) -> None:
    data = [{"DeviceName": f"/dev/sd{n}", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}} for n in "fg"]
    source = launch(calls, BlockDeviceMappings=data)["InstanceId"]
    found = wait_for(calls, source, "running")
    last = found["BlockDeviceMappings"][-1]["Ebs"]["VolumeId"]
    calls.lab.exec("rm", f"{calls.lab.state}/run/store/volumes/{last}.img")
    before = len(calls("ec2", "describe_snapshots", OwnerIds=["self"])["Snapshots"])
    with refused("InternalError", 500):
        calls("ec2", "create_snapshots", InstanceSpecification={"InstanceId": source})
    assert len(calls("ec2", "describe_snapshots", OwnerIds=["self"])["Snapshots"]) == before
    terminate(calls, source)
