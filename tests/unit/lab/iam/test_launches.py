# SPDX-License-Identifier: GPL-3.0-or-later
"""RunInstances: every resource by itself."""

from __future__ import annotations

import pytest
from mayfly_lab.iam import ec2, launches
from mayfly_lab.iam.checks import Check
from mayfly_lab.iam.parameters import Parameters

from tests.unit.lab.iam.world import ACCOUNT, EC2, FREE, KEY, PLACE, VPC, WORLD, shown

IMAGE = ("ImageId", "ami-0a")


def checks(*pairs: tuple[str, str]) -> list[Check]:
    return ec2.checks("RunInstances", Parameters(pairs), PLACE, WORLD)


def of(kind: str, *pairs: tuple[str, str]) -> list[Check]:
    return [check for check in checks(*pairs) if f"{kind}/" in check.resource and check.action == "ec2:RunInstances"]


LAUNCHES = [
    (
        [],
        [
            f"{FREE}image/ami-0a",
            f"{EC2}instance/*",
            f"{EC2}network-interface/*",
            f"{EC2}subnet/subnet-0a",
            f"{EC2}security-group/sg-0d",
            f"{EC2}volume/*",
        ],
    ),
    (
        [("SubnetId", "subnet-0b"), ("SecurityGroupId.1", "sg-0a"), ("KeyName", "k")],
        [
            f"{FREE}image/ami-0a",
            f"{EC2}instance/*",
            f"{EC2}network-interface/*",
            f"{EC2}subnet/subnet-0b",
            f"{EC2}security-group/sg-0a",
            f"{EC2}volume/*",
            f"{EC2}key-pair/k",
        ],
    ),
    (
        [("NetworkInterface.1.NetworkInterfaceId", "eni-0a"), ("NetworkInterface.1.DeviceIndex", "0")],
        [f"{FREE}image/ami-0a", f"{EC2}instance/*", f"{EC2}network-interface/eni-0a", f"{EC2}volume/*"],
    ),
    (
        [
            ("NetworkInterface.1.SubnetId", "subnet-0a"),
            ("NetworkInterface.1.SecurityGroupId.1", "sg-0a"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.1.Ebs.SnapshotId", "snap-0a"),
            ("LaunchTemplate.LaunchTemplateId", "lt-0a"),
        ],
        [
            f"{FREE}image/ami-0a",
            f"{EC2}instance/*",
            f"{EC2}network-interface/*",
            f"{EC2}subnet/subnet-0a",
            f"{EC2}security-group/sg-0a",
            f"{FREE}snapshot/snap-0a",
            f"{EC2}launch-template/lt-0a",
            f"{EC2}volume/*",
            f"{EC2}volume/*",
        ],
    ),
]


@pytest.mark.parametrize(("pairs", "wanted"), LAUNCHES)
def test_the_resources_of_a_launch(pairs, wanted):
    assert [shown(check) for check in checks(IMAGE, *pairs)] == [f"ec2:RunInstances {each}" for each in wanted]


def test_the_settings_of_the_instance():
    pairs = {
        "InstanceType": "c6a.large",
        "MetadataOptions.HttpTokens": "required",
        "MetadataOptions.HttpPutResponseHopLimit": "2",
        "InstanceMarketOptions.MarketType": "spot",
    }
    (plain,) = of("instance", IMAGE)
    assert plain.context["ec2:MetadataHttpTokens"] == "optional"
    (instance,) = of("instance", IMAGE, *pairs.items())
    assert instance.context == {
        "ec2:AvailabilityZone": "us-east-1a",
        "ec2:EbsOptimized": "false",
        "ec2:InstanceMarketType": "spot",
        "ec2:InstanceMetadataTags": "disabled",
        "ec2:InstanceType": "c6a.large",
        "ec2:MetadataHttpEndpoint": "enabled",
        "ec2:MetadataHttpPutResponseHopLimit": "2",
        "ec2:MetadataHttpTokens": "required",
        "ec2:Region": "us-east-1",
        "ec2:RootDeviceType": "ebs",
        "ec2:Tenancy": "default",
    }


def test_the_settings_of_the_network_interface():
    (interface,) = of(
        "network-interface",
        IMAGE,
        ("NetworkInterface.1.SubnetId", "subnet-0a"),
        ("NetworkInterface.1.AssociatePublicIpAddress", "false"),
    )
    assert interface.context == {
        "ec2:AssociatePublicIpAddress": "false",
        "ec2:AvailabilityZone": "us-east-1a",
        "ec2:Region": "us-east-1",
        "ec2:Subnet": f"{EC2}subnet/subnet-0a",
        "ec2:Vpc": VPC,
    }


def test_the_root_volume_is_the_images_as_the_request_changes_it():
    (plain,) = of("volume", IMAGE)
    assert (plain.context["ec2:VolumeSize"], plain.context["ec2:Encrypted"]) == ("8", "false")
    assert plain.context["ec2:ParentSnapshot"] == f"{FREE}snapshot/snap-0f"
    changed = {"DeviceName": "/dev/xvda", "Ebs.VolumeSize": "20", "Ebs.Encrypted": "true"}
    (root,) = of("volume", IMAGE, *((f"BlockDeviceMapping.1.{name}", value) for name, value in changed.items()))
    assert (root.context["ec2:VolumeSize"], root.context["ec2:Encrypted"]) == ("20", "true")


def test_each_kind_has_its_own_tags():
    pairs = []
    for number, (kind, value) in enumerate((("instance", "one"), ("volume", "two")), 1):
        one = f"TagSpecification.{number}."
        pairs += [(f"{one}ResourceType", kind), (f"{one}Tag.1.Key", "run"), (f"{one}Tag.1.Value", value)]
    found = {kind: of(kind, IMAGE, *pairs)[0].context.get("aws:RequestTag/run") for kind in ("instance", "volume")}
    assert found == {"instance": "one", "volume": "two"}
    for kind in ("image", "subnet", "network-interface"):
        assert not [key for key in of(kind, IMAGE, *pairs)[0].context if key.startswith(("aws:RequestTag", "aws:TagK"))]
    tagging = [check for check in checks(IMAGE, *pairs) if check.action == "ec2:CreateTags"]
    assert [check.resource for check in tagging] == [f"{EC2}instance/*", f"{EC2}volume/*"]
    assert {check.context["ec2:CreateAction"] for check in tagging} == {"RunInstances"}


def test_a_role_is_passed_to_the_instance():
    passed = checks(IMAGE, ("IamInstanceProfile.Name", "worker"))[-1]
    assert shown(passed) == f"iam:PassRole arn:aws:iam::{ACCOUNT}:role/worker"
    assert passed.context == {"iam:PassedToService": "ec2.amazonaws.com"}


@pytest.mark.parametrize(
    ("call", "pairs", "wanted"),
    [
        ("RunInstances", [IMAGE], []),
        ("CreateVolume", [("KmsKeyId", KEY), ("Encrypted", "true")], [(KEY, None)]),
        ("CreateVolume", [("SnapshotId", "snap-0e")], [(KEY, KEY)]),
        ("CreateVolume", [("SnapshotId", "snap-0e"), ("KmsKeyId", "alias/o")], [("alias/o", KEY)]),
        (
            "RunInstances",
            [IMAGE, ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"), ("BlockDeviceMapping.1.Ebs.KmsKeyId", "alias/o")],
            [("alias/o", None)],
        ),
    ],
)
def test_the_keys_of_encrypted_volumes(call, pairs, wanted):
    assert list(launches.keys(call, Parameters(pairs), WORLD)) == wanted
