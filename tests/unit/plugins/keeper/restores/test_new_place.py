# SPDX-License-Identifier: GPL-3.0-or-later
"""A new instance is what was recorded, unless something else was asked for; what cannot be is refused at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import elsewhere
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import restored_instance
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import (
    InstanceType,
    Picture,
    SecurityGroup,
    Subnet,
    Zone,
)
from botocore.exceptions import ClientError

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION, refused
from tests.unit.plugins.keeper.restores.cloud import PLACE, RESOURCE, ZONE, Cloud, context_for, failing_at

OTHER = "444455556666"
PICTURE = Picture(
    account=ACCOUNT,
    region=REGION,
    zones=(Zone(ZONE, "az1"), Zone(f"{REGION}b", "az2")),
    subnets=(
        Subnet("subnet-1", "vpc-1", "az1", 9, cidr="10.0.1.0/24"),
        Subnet("subnet-2", "vpc-2", "az2", 9, cidr="10.0.2.0/24"),
        Subnet("subnet-full", "vpc-1", "az1", 0, cidr="10.0.3.0/24"),
    ),
    security_groups=(SecurityGroup("sg-1", "vpc-1"), SecurityGroup("sg-2", "vpc-2")),
    instance_types={
        "t3.small": InstanceType("t3.small", "x86_64", frozenset({"az1", "az2"}), 2),
        "m6g.large": InstanceType("m6g.large", "arm64", frozenset({"az1", "az2"}), 2),
        "m5.large": InstanceType("m5.large", "x86_64", frozenset({"az2"}), 2),
    },
)
RECORDED: dict[str, Any] = {
    "instance_id": "i-1",
    "instance_type": "t3.small",
    "image_id": "ami-1",
    "architecture": "x86_64",
    "platform": "Linux/UNIX",
    "vpc_id": "vpc-1",
    "subnet_id": "subnet-1",
    "private_ip_address": "10.0.1.7",
    "security_group_ids": ["sg-1"],
    "key_name": "mine",
    "iam_instance_profile": f"arn:aws:iam::{ACCOUNT}:instance-profile/web",
    "root_device_name": "/dev/xvda",
    "metadata_options": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled"},
    "cpu_options": {"CoreCount": 1, "ThreadsPerCore": 2},
    "source_dest_check": False,
    "tags": {"Name": "web-1", "team": "a"},
}
VOLUMES = [
    {"volume_id": "vol-root", "device": "/dev/xvda", "size_gib": 8, "attributes": {"type": "gp3", "tags": {}}},
    {"volume_id": "vol-data", "device": "/dev/sdf", "size_gib": 2, "attributes": {"delete_on_termination": True}},
]
POINT: dict[str, Any] = {"id": "p", "resource": RESOURCE, "settings": RECORDED, "volumes": VOLUMES}
IMAGE = {
    "ImageId": "ami-1",
    "Architecture": "x86_64",
    "RootDeviceName": "/dev/sda1",
    "RootDeviceType": "ebs",
    "CreationDate": "2026-01-01T00:00:00.000Z",
    "PlatformDetails": "Linux/UNIX",
    "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": {}}, {"DeviceName": "/dev/sdb", "Ebs": {}}],
}
TARGET = {"account": ACCOUNT, "region": REGION}
pytestmark = pytest.mark.usefixtures("quick")


class Pages:
    """A paginator with nothing on its pages but what is in use."""

    def __init__(self, used: list[str]) -> None:
        self.used = used

    def __call__(self, call: str) -> Any:
        assert call == "describe_network_interfaces"
        return self

    def paginate(self, Filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"NetworkInterfaces": [{} for each in self.used if each in Filters[0]["Values"]]}]


@pytest.fixture
def cloud() -> Cloud:
    made = Cloud()

    def images(Filters: Any = (), ImageIds: Any = (), **_owners: Any) -> dict[str, Any]:
        wanted = {each["Name"]: each["Values"] for each in Filters}
        named = wanted.get("image-id", ImageIds) or ["ami-1"]
        return {"Images": [IMAGE] if "ami-1" in named else []}

    def profile(InstanceProfileName: str) -> dict[str, Any]:
        if InstanceProfileName not in ("web", "other"):
            raise refused("NoSuchEntity")
        return {}

    def key(KeyNames: list[str]) -> dict[str, Any]:
        if KeyNames != ["mine"]:
            raise refused("InvalidKeyPair.NotFound")
        return {}

    made.other = {
        "describe_images": images,
        "get_instance_profile": profile,
        "describe_key_pairs": key,
        "get_paginator": Pages(["10.0.1.8"]),
    }
    return made


@pytest.fixture
def context(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    made = context_for(cloud, tmp_path, monkeypatch)
    monkeypatch.setattr(made.run.pictures, "picture", lambda _account, _region, _types=(): PICTURE)
    return made


def plan(context: Context, point: dict[str, Any] = POINT, **options: Any) -> dict[str, Any]:
    return elsewhere.plan(context, {"target": TARGET, **options}, point)


def recorded(**changes: Any) -> dict[str, Any]:
    return {**POINT, "settings": {**RECORDED, **changes}}


def test_everything_is_as_it_was_recorded(context: Context) -> None:
    assert plan(context) == {
        "image": {"id": "ami-1", "root_device_name": "/dev/sda1", "devices": ["/dev/sda1", "/dev/sdb"]},
        "instance_type": "t3.small",
        "subnet_id": "subnet-1",
        "vpc_id": "vpc-1",
        "availability_zone": ZONE,
        "security_group_ids": ["sg-1"],
        "private_ip_address": None,
        "key_name": "mine",
        "instance_profile": "web",
        "options": {"MetadataOptions": RECORDED["metadata_options"]},
        "source_dest_check": False,
        "tags": {"Name": "web-1", "team": "a"},
        "root": "vol-root",
        "devices": {"vol-root": "/dev/sda1", "vol-data": "/dev/sdf"},
        "notes": [],
    }


def test_everything_can_be_another(context: Context) -> None:
    found = plan(
        context,
        subnet_id="subnet-2",
        security_group_ids=["sg-2"],
        instance_type="m5.large",
        name="other",
        key_name="none",
        instance_profile=f"arn:aws:iam::{ACCOUNT}:instance-profile/path/other",
        image={"owner": "1", "name": "x*"},
        tags={"team": "b"},
    )
    assert found["subnet_id"] == "subnet-2"
    assert found["availability_zone"] == f"{REGION}b"
    assert found["security_group_ids"] == ["sg-2"]
    assert (found["instance_type"], found["key_name"], found["instance_profile"]) == ("m5.large", None, "other")
    assert found["tags"] == {"Name": "other", "team": "b"}


@pytest.mark.parametrize(
    ("address", "kept", "said"),
    [("10.0.1.7", "10.0.1.7", ""), ("10.0.1.8", None, "is in use"), ("10.9.9.9", None, "is not one of subnet-1")],
)
def test_an_address_is_kept_that_is_free(context: Context, address: str, kept: str | None, said: str) -> None:
    found = plan(context, recorded(private_ip_address=address), keep_address=True)
    assert found["private_ip_address"] == kept
    assert [said in note for note in found["notes"]] == [True] * bool(said)


def test_what_is_not_in_another_account_is_left_out(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = replace(PICTURE, account=OTHER)
    monkeypatch.setattr(context.run.pictures, "picture", lambda _account, _region, _types=(): picture)
    target = {"account": OTHER, "region": REGION}
    point = recorded(key_name="theirs")
    found = plan(context, point, target=target, subnet_id="subnet-1", security_group_ids=["sg-1"])
    assert (found["key_name"], found["instance_profile"]) == (None, None)
    assert len(found["notes"]) == 2


def test_of_several_interfaces_one_is_made(context: Context) -> None:
    [note] = plan(context, recorded(network_interfaces=[{}, {}]))["notes"]
    assert "2 network interfaces" in note


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "a subnet that is not there": ({}, {"subnet_id": "subnet-9"}, "NoSubnet", "subnet_id"),
    "a recorded subnet that is gone": ({"subnet_id": "subnet-9"}, {}, "NoSubnet", "subnet_id"),
    "no subnet in another Region": ({}, {"target": {**TARGET, "region": "eu-west-1"}}, "NoSubnet", "subnet_id"),
    "a subnet of another zone": ({}, {"target": {**TARGET, "availability_zone": "az2"}}, "NoSubnet", "subnet_id"),
    "a full subnet": ({}, {"subnet_id": "subnet-full"}, "NoSubnet", "subnet_id"),
    "its groups in another VPC": ({}, {"subnet_id": "subnet-2"}, "NoGroups", "security_group_ids"),
    "groups of another VPC": ({}, {"security_group_ids": ["sg-2"]}, "NoGroups", "security_group_ids"),
    "a type of another architecture": ({}, {"instance_type": "m6g.large"}, "NoInstanceType", "instance_type"),
    "a type that its zone has not": ({}, {"instance_type": "m5.large"}, "NoInstanceType", "instance_type"),
    "an unknown type": ({}, {"instance_type": "x.y"}, "NoInstanceType", "instance_type"),
    "an image that is gone": ({"image_id": "ami-9"}, {}, "NoImage", "image"),
    "an image of another platform": ({"platform": "Windows"}, {}, "NoImage", "image"),
    "a key pair that is not there": ({}, {"key_name": "theirs"}, "NoKeyPair", "key_name"),
    "a profile that is not there": ({}, {"instance_profile": "theirs"}, "NoInstanceProfile", "instance_profile"),
    "a root that was not backed up": ({"root_device_name": "/dev/sda1"}, {}, "NoRootVolume", ""),
    "too many tags": ({"tags": {str(number): "" for number in range(44)}}, {}, "BadTags", "tags"),
}


@pytest.mark.parametrize(("changes", "options", "code", "setting"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_with_the_setting_that_mends_it(
    context: Context, changes: dict[str, Any], options: dict[str, Any], code: str, setting: str
) -> None:
    with pytest.raises(KeeperError) as caught:
        plan(context, recorded(**changes), **options)
    assert caught.value.code == code
    assert f"mayfly_restore_{setting}" in caught.value.remedy or not setting


class Launched:
    """A launch in the cloud, with volumes that were restored before."""

    def __init__(self, cloud: Cloud, context: Context) -> None:
        self.cloud, self.context = cloud, context
        self.requests: list[dict[str, Any]] = []
        for volume in ("vol-1", "vol-2"):
            cloud.volumes[volume] = {"Tags": {"mayfly:temporary": "true", "mayfly:run": "the-run"}}
            context.run.temporaries.add(*PLACE, volume, "volume")
        cloud.other |= {
            "run_instances": self.run,
            "create_security_group": lambda **_words: {"GroupId": "sg-isolated"},
            "revoke_security_group_egress": {},
            "delete_volume": self.delete,
        }

    def run(self, **words: Any) -> dict[str, Any]:
        self.requests.append(words)
        tags = {each["ResourceType"]: each["Tags"] for each in words["TagSpecifications"]}

        def do() -> dict[str, Any]:
            interface = {"NetworkInterfaceId": "eni-1"}
            more = {"PrivateIpAddress": "10.0.1.9", "NetworkInterfaces": [interface], "RootDeviceName": "/dev/sda1"}
            self.cloud.add_instance("i-new", {"/dev/sda1": "vol-image"}, **more)
            self.cloud.instances["i-new"]["state"] = "pending"
            self.cloud.instances["i-new"]["tags"] = {tag["Key"]: tag["Value"] for tag in tags["instance"]}
            return {"Instances": [{"InstanceId": "i-new", "State": {"Name": "pending"}}]}

        answer: dict[str, Any] = self.cloud._step("run", words, do)
        return answer

    def delete(self, VolumeId: str) -> None:
        assert self.cloud.holder(VolumeId) is None
        del self.cloud.volumes[VolumeId]

    def restore(self, **options: Any) -> dict[str, Any]:
        planned = plan(self.context, recorded(), keep_address=True)
        arguments = {"plan": planned, "restore_point": POINT, "boot_timeout": 0, **options}
        made = {"vol-root": "vol-1", "vol-data": "vol-2"}
        return restored_instance._launched(self.context, PLACE, arguments, made, float("inf"))

    def temporary(self) -> set[str]:
        return {each.id for each in self.context.run.temporaries.all()}


@pytest.fixture
def launched(cloud: Cloud, context: Context) -> Launched:
    return Launched(cloud, context)


LAUNCH = [
    "run",
    "stop",
    "detach",
    "attach",
    "modify",
    "attach",
    "modify",
    "modify",
    "modify",
    "start",
    "modify",
    "untag",
]


def test_a_new_instance_boots_in_isolation_and_is_the_users_in_the_end(cloud: Cloud, launched: Launched) -> None:
    assert launched.restore() == {"instance_id": "i-new", "private_ip_address": "10.0.1.9", "status": "ok"}
    assert [name for name, _ in cloud.steps] == LAUNCH
    [request] = launched.requests
    assert "UserData" not in request
    [interface] = request["NetworkInterfaces"]
    assert (interface["Groups"], interface["PrivateIpAddress"]) == (["sg-isolated"], "10.0.1.7")
    assert {"DeviceName": "/dev/sdb", "NoDevice": ""} in request["BlockDeviceMappings"]
    assert cloud.disks("i-new") == {"/dev/sda1": "vol-1", "/dev/sdf": "vol-2"}
    goes = {device: disk["DeleteOnTermination"] for device, disk in cloud.instances["i-new"]["disks"].items()}
    assert goes == {"/dev/sda1": False, "/dev/sdf": True}
    assert cloud.instances["i-new"]["groups"] == ["sg-1"]
    assert cloud.instances["i-new"]["tags"] == {"Name": "web-1", "team": "a"}
    assert "vol-image" not in cloud.volumes
    assert set(cloud.steps[-1][1]["things"]) == {"i-new", "eni-1", "vol-1", "vol-2"}
    assert launched.temporary() == {"sg-isolated"}


@pytest.mark.parametrize("number", range(len(LAUNCH)), ids=[f"{n}-{step}" for n, step in enumerate(LAUNCH)])
def test_what_failed_half_way_is_the_runs_to_remove(cloud: Cloud, launched: Launched, number: int) -> None:
    cloud.before = failing_at(number, refused("UnauthorizedOperation"))
    with pytest.raises((ClientError, KeeperError)):
        launched.restore()
    assert {"vol-1", "vol-2"} <= launched.temporary()
    assert ("i-new" in launched.temporary()) == (number > 0)
    held = list(cloud.instances.get("i-new", {"disks": {}})["disks"].values())
    if number > len(LAUNCH) - 2:
        return  # its flags are the user's already: what it lets go is removed by itself
    loose = [disk["VolumeId"] for disk in held if not disk["DeleteOnTermination"]]
    assert len(loose) <= 1, "all goes with the instance, but what was attached a moment ago"


def test_one_for_a_test_stays_the_runs(cloud: Cloud, launched: Launched) -> None:
    launched.restore(temporary=True)
    assert {"i-new", "vol-1", "vol-2"} <= launched.temporary()
    assert cloud.instances["i-new"]["tags"]["mayfly:temporary"] == "true"
    assert all(disk["DeleteOnTermination"] for disk in cloud.instances["i-new"]["disks"].values())


def test_one_that_fails_its_checks_is_kept_with_a_warning(cloud: Cloud, launched: Launched) -> None:
    cloud.status = "impaired"
    assert launched.restore()["status"] == "impaired"
    [warning] = launched.context.report.as_dict()["errors"]
    assert warning["code"] == "ChecksFailed"


def test_an_address_that_was_taken_meanwhile_is_done_without(cloud: Cloud, launched: Launched) -> None:
    cloud.before = failing_at(0, refused("InvalidIPAddress.InUse"))
    launched.restore()
    assert ["PrivateIpAddress" in each["NetworkInterfaces"][0] for each in launched.requests] == [True, False]
    assert len({each["ClientToken"] for each in launched.requests}) == 2
