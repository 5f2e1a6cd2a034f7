# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to EC2, and what each of them must be allowed to do."""

from __future__ import annotations

import pytest
from mayfly_lab.iam import ec2
from mayfly_lab.iam.checks import Check
from mayfly_lab.iam.parameters import Parameters

from tests.unit.lab.iam.world import ACCOUNT, EC2, FREE, PLACE, VPC, WORLD, shown

TAGS = [("Tag.1.Key", "run"), ("Tag.1.Value", "r2"), ("Tag.2.Key", "Name"), ("Tag.2.Value", "w")]


def specified(*kinds: str) -> list[tuple[str, str]]:
    found = []
    for number, kind in enumerate(kinds, 1):
        one = f"TagSpecification.{number}."
        found += [(f"{one}ResourceType", kind), (f"{one}Tag.1.Key", "run"), (f"{one}Tag.1.Value", "r2")]
    return found


def checks(call: str, *pairs: tuple[str, str]) -> list[Check]:
    return ec2.checks(call, Parameters(pairs), PLACE, WORLD)


CALLS = [
    ("DescribeInstances", [("InstanceId.1", "i-0a"), ("Filter.1.Value.1", "i-0b")], ["*"]),
    ("DescribeInstanceAttribute", [("InstanceId", "i-0a")], [f"{EC2}instance/i-0a"]),
    ("DescribeSnapshotAttribute", [("SnapshotId", "snap-0a")], [f"{FREE}snapshot/snap-0a"]),
    ("GetEbsDefaultKmsKeyId", [], ["*"]),
    (
        "TerminateInstances",
        [("InstanceId.1", "i-0a"), ("InstanceId.2", "i-0b")],
        [f"{EC2}instance/i-0a", f"{EC2}instance/i-0b"],
    ),
    ("StopInstances", [("InstanceId.1", "i-0a"), ("Force", "true")], [f"{EC2}instance/i-0a"]),
    (
        "AttachVolume",
        [("VolumeId", "vol-0a"), ("InstanceId", "i-0a"), ("Device", "/dev/sdf")],
        [f"{EC2}instance/i-0a", f"{EC2}volume/vol-0a"],
    ),
    ("DetachVolume", [("VolumeId", "vol-0a")], [f"{EC2}volume/vol-0a"]),
    ("DeleteVolume", [("VolumeId", "vol-0a")], [f"{EC2}volume/vol-0a"]),
    ("CreateVolume", [("AvailabilityZone", "us-east-1a"), ("Size", "1")], [f"{EC2}volume/*"]),
    (
        "CreateVolume",
        [("AvailabilityZone", "us-east-1a"), ("SnapshotId", "snap-0a")],
        [f"{FREE}snapshot/snap-0a", f"{EC2}volume/*"],
    ),
    ("CreateSnapshot", [("VolumeId", "vol-0a")], [f"{EC2}volume/vol-0a", f"{FREE}snapshot/*"]),
    (
        "CreateSnapshots",
        [("InstanceSpecification.InstanceId", "i-0a")],
        [f"{EC2}instance/i-0a", f"{EC2}volume/vol-0a", f"{EC2}volume/vol-0b", *[f"{FREE}snapshot/*"] * 2],
    ),
    (
        "CreateSnapshots",
        [("InstanceSpecification.InstanceId", "i-0a"), ("InstanceSpecification.ExcludeDataVolumeId.1", "vol-0b")],
        [f"{EC2}instance/i-0a", f"{EC2}volume/vol-0a", f"{FREE}snapshot/*"],
    ),
    ("DeleteSnapshot", [("SnapshotId", "snap-0a")], [f"{FREE}snapshot/snap-0a"]),
    (
        "CreateImage",
        [("InstanceId", "i-0a"), ("Name", "n")],
        [f"{EC2}instance/i-0a", f"{FREE}image/*", f"{FREE}snapshot/*"],
    ),
    ("CreateSecurityGroup", [("GroupName", "g")], [VPC, f"{EC2}security-group/*"]),
    ("CreateSecurityGroup", [("VpcId", "vpc-0b")], [f"{EC2}vpc/vpc-0b", f"{EC2}security-group/*"]),
    (
        "AuthorizeSecurityGroupIngress",
        [("GroupId", "sg-0a"), ("IpPermissions.1.Groups.1.GroupId", "sg-0b")],
        [f"{EC2}security-group/sg-0a"],
    ),
    ("DeleteSecurityGroup", [("GroupName", "ssh")], [f"{EC2}security-group/sg-0a"]),
    (
        "ModifyInstanceAttribute",
        [("InstanceId", "i-0a"), ("GroupId.1", "sg-0a")],
        [f"{EC2}instance/i-0a", f"{EC2}security-group/sg-0a"],
    ),
    ("CreateKeyPair", [("KeyName", "k")], [f"{EC2}key-pair/k"]),
    ("CreateSubnet", [("VpcId", "vpc-0a"), ("CidrBlock", "10.0.0.0/24")], [VPC, f"{EC2}subnet/*"]),
    ("ReleaseAddress", [("AllocationId", "eipalloc-0a")], [f"{EC2}elastic-ip/eipalloc-0a"]),
]


@pytest.mark.parametrize(("call", "pairs", "wanted"), CALLS)
def test_the_resources_of_a_call(call, pairs, wanted):
    assert [shown(check) for check in checks(call, *pairs)] == [f"ec2:{call} {resource}" for resource in wanted]


def test_a_resource_that_exists_is_known_by_its_tags_and_settings():
    (check,) = checks("TerminateInstances", ("InstanceId.1", "i-0a"))
    assert check.account == ACCOUNT
    assert check.context == {
        "ec2:Region": "us-east-1",
        "ec2:InstanceID": "i-0a",
        "ec2:InstanceType": "t3.small",
        "aws:ResourceTag/run": "r1",
        "ec2:ResourceTag/run": "r1",
    }
    assert "aws:ResourceTag/run" not in checks("TerminateInstances", ("InstanceId.1", "i-0b"))[0].context


def test_tags_of_what_is_made_are_a_permission_of_their_own():
    pairs = [("VolumeId", "vol-0a"), *specified("snapshot")]
    _, made, tagged = checks("CreateSnapshot", *pairs)
    assert shown(tagged) == f"ec2:CreateTags {FREE}snapshot/*"
    assert tagged.context == {
        "ec2:Region": "us-east-1",
        "ec2:CreateAction": "CreateSnapshot",
        "aws:TagKeys": ["run"],
        "aws:RequestTag/run": "r2",
    }
    assert made.context == {
        "ec2:ParentVolume": f"{EC2}volume/vol-0a",
        "ec2:VolumeSize": "8",
        "ec2:Region": "us-east-1",
        "aws:TagKeys": ["run"],
        "aws:RequestTag/run": "r2",
    }


def test_tags_by_themselves_are_no_part_of_a_creation():
    (check,) = checks("CreateTags", ("ResourceId.1", "i-0a"), *TAGS)
    assert check.context["aws:TagKeys"] == ["run", "Name"]
    assert (check.context["aws:RequestTag/run"], check.context["aws:ResourceTag/run"]) == ("r2", "r1")
    assert "ec2:CreateAction" not in check.context
    (taken,) = checks("DeleteTags", ("ResourceId.1", "i-0a"), ("Tag.1.Key", "run"))
    assert taken.context["aws:TagKeys"] == ["run"]


def test_the_settings_of_a_new_volume():
    pairs = {"SnapshotId": "snap-0a", "VolumeType": "gp3", "Iops": "4000", "Encrypted": "true", "KmsKeyId": "alias/k"}
    made = checks("CreateVolume", ("AvailabilityZone", "us-east-1a"), *pairs.items())[1]
    assert made.context == {
        "ec2:AvailabilityZone": "us-east-1a",
        "ec2:Encrypted": "true",
        "ec2:KmsKeyId": "alias/k",
        "ec2:ParentSnapshot": f"{FREE}snapshot/snap-0a",
        "ec2:Region": "us-east-1",
        "ec2:VolumeIops": "4000",
        "ec2:VolumeSize": "9",
        "ec2:VolumeType": "gp3",
    }


@pytest.mark.parametrize(
    ("pairs", "wanted"),
    [
        ([("CreateVolumePermission.Add.1.UserId", "4")], {"ec2:Add/userId": ["4"]}),
        ([("CreateVolumePermission.Remove.1.Group", "all")], {"ec2:Remove/group": ["all"]}),
        ([("OperationType", "add"), ("UserId.1", "4"), ("UserId.2", "5")], {"ec2:Add/userId": ["4", "5"]}),
    ],
)
def test_whom_a_snapshot_is_shared_with(pairs, wanted):
    (check,) = checks("ModifySnapshotAttribute", ("SnapshotId", "snap-0a"), *pairs)
    assert {key: value for key, value in check.context.items() if key.startswith(("ec2:Add", "ec2:Remove"))} == wanted


@pytest.mark.parametrize(
    ("pairs", "name", "value"),
    [
        ([("InstanceInitiatedShutdownBehavior.Value", "stop")], "InstanceInitiatedShutdownBehavior", "stop"),
        ([("Attribute", "disableApiTermination"), ("Value", "true")], "DisableApiTermination", "true"),
    ],
)
def test_the_attribute_that_is_changed(pairs, name, value):
    (check,) = checks("ModifyInstanceAttribute", ("InstanceId", "i-0a"), *pairs)
    assert (check.context["ec2:Attribute"], check.context[f"ec2:Attribute/{name}"]) == (name, value)


def test_a_call_that_the_table_does_not_have_is_about_every_id_it_names():
    found = checks("ModifySubnetAttribute", ("SubnetId", "subnet-0a"), ("MapPublicIpOnLaunch.Value", "true"))
    assert [(each.resource, each.open) for each in found] == [(f"{EC2}subnet/subnet-0a", True)]
