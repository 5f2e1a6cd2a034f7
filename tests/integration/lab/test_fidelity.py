# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWS refuses and what it leaves behind, always: limits of sessions, protection, groups in use, leftovers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.lab.calls import Calls
from tests.integration.lab.things import ZONE, instance, launch, new_group, refused, terminate, wait_for

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(120)
BACKUP = "111122223333"


@pytest.fixture(scope="module")
def roles(calls: Calls) -> None:
    """A role of the usual hour, and one of twelve."""
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": BACKUP}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    for name, more in (("usual", {}), ("long", {"MaxSessionDuration": 43200})):
        calls("iam", "create_role", RoleName=name, AssumeRolePolicyDocument=document, **more)


def assume(calls: Calls, role: str, keys: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    words = {"RoleArn": f"arn:aws:iam::{BACKUP}:role/{role}", "RoleSessionName": "tried", **more}
    found: dict[str, Any] = calls("sts", "assume_role", keys=keys, **words)["Credentials"]
    return found


def policy(length: int) -> str:
    """A session policy of that many characters."""
    text = json.dumps({"Version": "2012-10-17", "Statement": []})
    return text + " " * (length - len(text))


@pytest.mark.parametrize(
    ("role", "more"),
    [
        ("usual", {"DurationSeconds": 899}),
        ("usual", {"DurationSeconds": 3601}),
        ("long", {"DurationSeconds": 43201}),
        ("usual", {"Policy": policy(2049)}),
    ],
)
@pytest.mark.usefixtures("roles")
def test_sessions_that_sts_refuses(calls: Calls, role: str, more: dict[str, Any]) -> None:
    with refused("ValidationError", 400):
        assume(calls, role, **more)


@pytest.mark.usefixtures("roles")
def test_sessions_at_the_limits(calls: Calls) -> None:
    assume(calls, "usual", DurationSeconds=900, Policy=policy(2048))
    keys = assume(calls, "long", DurationSeconds=43200)
    with refused("MalformedPolicyDocument", 400):
        assume(calls, "usual", Policy="{")
    with refused("ValidationError", 400):
        assume(calls, "long", keys, DurationSeconds=3601)
    assert assume(calls, "long", keys)["AccessKeyId"].startswith("ASIA")


def test_there_are_no_other_regions(calls: Calls) -> None:
    def names(**words: Any) -> list[str]:
        return [region["RegionName"] for region in calls("ec2", "describe_regions", **words)["Regions"]]

    assert names() == names(AllRegions=True) == ["us-east-1", "eu-central-1"]
    assert names(RegionNames=["eu-central-1"]) == ["eu-central-1"]
    assert names(Filters=[{"Name": "region-name", "Values": ["us-*"]}]) == ["us-east-1"]
    with refused("InvalidParameterValue", 400):
        names(RegionNames=["eu-west-1"])


def test_a_protected_instance_is_terminated_only_after_its_protection_is_lifted(calls: Calls) -> None:
    subnets = calls("ec2", "describe_subnets")["Subnets"]
    here, there = (next(s["SubnetId"] for s in subnets if s["AvailabilityZone"] == f"us-east-1{z}") for z in "ab")
    protected = launch(calls, SubnetId=here, DisableApiTermination=True)["InstanceId"]
    beside, elsewhere = (launch(calls, SubnetId=each)["InstanceId"] for each in (here, there))
    with refused("OperationNotPermitted", 400):
        terminate(calls, beside, protected, elsewhere)
    states = {each: instance(calls, each)["State"]["Name"] for each in (protected, beside, elsewhere)}
    assert states.pop(elsewhere) in ("shutting-down", "terminated")
    assert set(states.values()) <= {"pending", "running"}
    calls("ec2", "modify_instance_attribute", InstanceId=protected, DisableApiTermination={"Value": False})
    calls("ec2", "modify_instance_attribute", InstanceId=beside, Attribute="disableApiTermination", Value="true")
    with refused("OperationNotPermitted", 400):
        terminate(calls, beside)
    asked = {"InstanceId": beside, "Attribute": "disableApiTermination"}
    assert calls("ec2", "describe_instance_attribute", **asked)["DisableApiTermination"] == {"Value": True}
    calls("ec2", "modify_instance_attribute", InstanceId=beside, Attribute="disableApiTermination", Value="false")
    terminate(calls, beside, protected)


def test_a_changed_shutdown_behaviour_is_no_change_of_groups(calls: Calls) -> None:
    made = launch(calls, SecurityGroupIds=[new_group(calls)])
    words = {"InstanceId": made["InstanceId"], "InstanceInitiatedShutdownBehavior": {"Value": "terminate"}}
    calls("ec2", "modify_instance_attribute", **words)
    asked = {"InstanceId": made["InstanceId"], "Attribute": "instanceInitiatedShutdownBehavior"}
    found = calls("ec2", "describe_instance_attribute", **asked)
    assert found["InstanceInitiatedShutdownBehavior"] == {"Value": "terminate"}
    assert instance(calls, made["InstanceId"])["SecurityGroups"] == made["SecurityGroups"] != []
    terminate(calls, made["InstanceId"])


def test_what_an_instance_leaves_behind(calls: Calls) -> None:
    data = [
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 9}},
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}},
        {"DeviceName": "/dev/sdg", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdh", "Ebs": {"VolumeSize": 1}},
    ]
    subnet = calls("ec2", "describe_subnets", Filters=[{"Name": "availability-zone", "Values": [ZONE]}])
    kept = calls("ec2", "create_network_interface", SubnetId=subnet["Subnets"][0]["SubnetId"])["NetworkInterface"]
    interfaces = [
        {"DeviceIndex": 0, "SubnetId": kept["SubnetId"]},
        {"DeviceIndex": 1, "NetworkInterfaceId": kept["NetworkInterfaceId"]},
    ]
    made = launch(calls, BlockDeviceMappings=data, NetworkInterfaces=interfaces)["InstanceId"]
    found = wait_for(calls, made, "running")
    disks = {disk["DeviceName"]: disk["Ebs"]["VolumeId"] for disk in found["BlockDeviceMappings"]}
    own = [each["NetworkInterfaceId"] for each in found["NetworkInterfaces"]]
    assert sorted(disks) == ["/dev/sdf", "/dev/sdg", "/dev/sdh", "/dev/xvda"]
    assert len(own) == 2
    terminate(calls, made)
    found = wait_for(calls, made, "terminated")
    assert found["NetworkInterfaces"] == found["SecurityGroups"] == found["BlockDeviceMappings"] == []
    volumes = {each["VolumeId"]: each["State"] for each in calls("ec2", "describe_volumes")["Volumes"]}
    left = {device: volumes[volume] for device, volume in disks.items() if volume in volumes}
    assert left == {"/dev/sdf": "available", "/dev/sdh": "available"}
    listed = calls("ec2", "describe_network_interfaces")["NetworkInterfaces"]
    (found,) = [each for each in listed if each["NetworkInterfaceId"] in own]
    assert (found["NetworkInterfaceId"], found["Status"]) == (kept["NetworkInterfaceId"], "available")
    calls("ec2", "delete_network_interface", NetworkInterfaceId=kept["NetworkInterfaceId"])


def test_an_address_is_not_given_again_at_once(calls: Calls) -> None:
    first = launch(calls)
    terminate(calls, first["InstanceId"])
    wait_for(calls, first["InstanceId"], "terminated")
    second = launch(calls)
    assert second["PrivateIpAddress"] != first["PrivateIpAddress"]
    terminate(calls, second["InstanceId"])


def test_an_instance_is_found_by_its_client_token(calls: Calls) -> None:
    made = [launch(calls, ClientToken=token)["InstanceId"] for token in ("one", "two")]
    made.append(launch(calls)["InstanceId"])

    def found(*tokens: str) -> list[str]:
        wanted = [{"Name": "client-token", "Values": list(tokens)}]
        groups = calls("ec2", "describe_instances", Filters=wanted)["Reservations"]
        return [each["InstanceId"] for group in groups for each in group["Instances"]]

    assert [found("one"), found("one", "two"), found("three")] == [made[:1], made[:2], []]
    assert instance(calls, made[0])["ClientToken"] == "one"
    terminate(calls, *made)


def test_a_group_that_another_one_refers_to_is_kept(calls: Calls) -> None:
    group, other = new_group(calls), new_group(calls)
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": group}]}
    calls("ec2", "authorize_security_group_ingress", GroupId=other, IpPermissions=[rule])
    with refused("DependencyViolation", 400):
        calls("ec2", "delete_security_group", GroupId=group)
    calls("ec2", "delete_security_group", GroupId=other)
    calls("ec2", "delete_security_group", GroupId=group)
    with refused("InvalidGroup.NotFound", 400):
        calls("ec2", "delete_security_group", GroupId=group)


def test_nobody_may_tag_what_there_is_not(calls: Calls) -> None:
    with refused("InvalidInstanceID.NotFound", 400):
        calls("ec2", "create_tags", Resources=["i-0123456789abcdef0"], Tags=[{"Key": "key", "Value": "value"}])
