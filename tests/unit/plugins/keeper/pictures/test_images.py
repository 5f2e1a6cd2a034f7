# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine image of workers: what the setting names, the newest of several, asked for once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.images import DEFAULT, Image, Images, resolve
from botocore.stub import Stubber

PLACE = ("111122223333", "eu-central-1")
AVAILABLE = {"Name": "state", "Values": ["available"]}


def aws_image(number: int, created: str = "2026-11-01T00:00:00.000Z", **more: Any) -> dict[str, Any]:
    """A machine image as AWS describes it."""
    given = {
        "ImageId": f"ami-{number}",
        "Name": f"debian-12-amd64-{number}",
        "OwnerId": DEFAULT["owner"],
        "Architecture": "x86_64",
        "RootDeviceName": "/dev/xvda",
        "RootDeviceType": "ebs",
        "CreationDate": created,
    }
    return {**given, **more}


def asks(*filters: dict[str, Any], owners: list[str] | None = None) -> dict[str, Any]:
    """What DescribeImages is asked."""
    return {"Filters": [AVAILABLE, *filters], **({"Owners": owners} if owners else {})}


BY_NAME = asks({"Name": "name", "Values": ["debian-12-a*"]}, owners=[DEFAULT["owner"]])
SETTINGS = [
    ("nothing", None, BY_NAME),
    ("an empty dictionary", {}, BY_NAME),
    ("a blank", {"id": ""}, BY_NAME),
    ("owner and name", {"owner": "99", "name": "own-*"}, asks({"Name": "name", "Values": ["own-*"]}, owners=["99"])),
    ("an owner without quotes", {"owner": 99, "name": "own"}, asks({"Name": "name", "Values": ["own"]}, owners=["99"])),
    ("an id", {"id": "ami-7"}, asks({"Name": "image-id", "Values": ["ami-7"]})),
    ("an id and blanks", {"id": "ami-7", "owner": "", "name": None}, asks({"Name": "image-id", "Values": ["ami-7"]})),
]


@pytest.mark.parametrize(("setting", "asked"), [row[1:] for row in SETTINGS], ids=[row[0] for row in SETTINGS])
def test_the_image_is_what_the_setting_names(ec2: Stubber, setting: Any, asked: dict[str, Any]) -> None:
    ec2.add_response("describe_images", {"Images": [aws_image(7)]}, asked)
    found = resolve(ec2.client, setting)
    assert found == Image(
        id="ami-7",
        name="debian-12-amd64-7",
        owner=DEFAULT["owner"],
        architecture="x86_64",
        root_device_name="/dev/xvda",
        created="2026-11-01T00:00:00.000Z",
    )
    assert found.as_dict()["root_device_name"] == "/dev/xvda"


def test_the_default_is_debians_own_account() -> None:
    """https://wiki.debian.org/Cloud/AmazonEC2Image/Bookworm"""
    assert DEFAULT == {"owner": "136693071363", "name": "debian-12-a*"}


def test_the_architecture_is_asked_for(ec2: Stubber) -> None:
    architecture = {"Name": "architecture", "Values": ["arm64"]}
    answer = {"Images": [aws_image(1, Architecture="arm64")]}
    ec2.add_response("describe_images", answer, asks({"Name": "image-id", "Values": ["ami-1"]}, architecture))
    assert resolve(ec2.client, {"id": "ami-1"}, "arm64").architecture == "arm64"


NEWEST = [
    ("by its time", [aws_image(1, "2026-01-02T00:00:00.000Z"), aws_image(2, "2026-01-01T00:00:00.000Z")], "ami-1"),
    ("across years", [aws_image(9, "2025-12-31T23:59:59.000Z"), aws_image(1, "2026-01-01T00:00:00.000Z")], "ami-1"),
    ("by its id when made at once", [aws_image(2), aws_image(3), aws_image(1)], "ami-3"),
    (
        "but none without a root volume of EBS",
        [aws_image(1), aws_image(2, "2027-01-01T00:00:00.000Z", RootDeviceType="instance-store")],
        "ami-1",
    ),
]


@pytest.mark.parametrize(("images", "newest"), [row[1:] for row in NEWEST], ids=[row[0] for row in NEWEST])
def test_the_newest_of_several_is_taken(ec2: Stubber, images: list[dict[str, Any]], newest: str) -> None:
    for order in (images, images[::-1]):
        ec2.add_response("describe_images", {"Images": order}, BY_NAME)
        assert resolve(ec2.client, None).id == newest


WRONG = [
    ("a name without an owner, whose image could be anybody's", {"name": "debian-12-a*"}, "name"),
    ("an owner without a name", {"owner": "136693071363"}, "owner"),
    ("an id and a name", {"id": "ami-1", "name": "x"}, "id, name"),
    ("all of them", {"id": "ami-1", "name": "x", "owner": "99"}, "id, name, owner"),
    ("an unknown key", {"ami": "ami-1"}, "ami"),
]


@pytest.mark.parametrize(("setting", "named"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_setting_is_refused_and_asks_aws_nothing(ec2: Stubber, setting: dict[str, Any], named: str) -> None:
    with pytest.raises(KeeperError) as caught:
        resolve(ec2.client, setting)
    assert caught.value.code == "BadImage"
    assert "mayfly_worker_image" in caught.value.message
    assert named in caught.value.message
    assert "workers.yml" in caught.value.remedy


@pytest.mark.parametrize("images", [[], [aws_image(1, RootDeviceType="instance-store")]], ids=["none", "none of EBS"])
def test_no_image_is_an_error_that_says_what_was_looked_for(ec2: Stubber, images: list[dict[str, Any]]) -> None:
    architecture = {"Name": "architecture", "Values": ["arm64"]}
    asked = {**BY_NAME, "Filters": [*BY_NAME["Filters"], architecture]}
    ec2.add_response("describe_images", {"Images": images}, asked)
    with pytest.raises(KeeperError) as caught:
        resolve(ec2.client, None, "arm64")
    assert caught.value.code == "NoImage"
    assert all(part in caught.value.message for part in ("debian-12-a*", DEFAULT["owner"], "arm64"))
    assert "mayfly_worker_image" in caught.value.remedy


class Account:
    """Answers slowly, with an image that is another one each time; ``fails`` times with none."""

    def __init__(self, fails: int = 0) -> None:
        self.asked: list[dict[str, Any]] = []
        self.fails = fails

    def describe_images(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        time.sleep(0.01)
        if len(self.asked) <= self.fails:
            return {"Images": []}
        return {"Images": [aws_image(len(self.asked))]}


SETTING = {"owner": "99", "name": "own-*"}


def test_many_hosts_at_once_ask_once_and_get_the_same(at_once: Callable[..., list[Any]]) -> None:
    account, images = Account(), Images()
    found = at_once(20, lambda: images.by_architecture(account, PLACE, SETTING, {"x86_64"}))
    assert len(account.asked) == 1
    assert {each["x86_64"].id for each in found} == {"ami-1"}


def test_each_place_setting_and_architecture_is_asked_for_by_itself() -> None:
    account, images = Account(), Images()
    asked: list[tuple[Any, ...]] = [
        (PLACE, SETTING, {"x86_64", "arm64"}),
        (PLACE, {"owner": "98", "name": "own-*"}, {"x86_64"}),
        (("444455556666", PLACE[1]), SETTING, {"x86_64"}),
        ((PLACE[0], "us-east-1"), SETTING, {"x86_64"}),
    ]
    first = [[image.id for image in images.by_architecture(account, *each).values()] for each in asked]
    assert [each for found in first for each in found] == [f"ami-{number}" for number in range(1, 6)]
    assert [[image.id for image in images.by_architecture(account, *each).values()] for each in asked] == first
    mixed = dict(reversed(SETTING.items()))
    assert images.by_architecture(account, PLACE, mixed, {"arm64"})["arm64"].id == first[0][0]


def test_an_image_by_id_has_its_own_architecture() -> None:
    account, images = Account(), Images()
    found = images.by_architecture(account, PLACE, {"id": "ami-1"}, {"x86_64", "arm64"})
    assert list(found) == ["x86_64"]
    assert len(account.asked) == 1


def test_an_architecture_without_an_image_is_left_out() -> None:
    account, images = Account(fails=1), Images()
    assert list(images.by_architecture(account, PLACE, SETTING, {"arm64", "x86_64"})) == ["x86_64"]


def test_a_failure_is_not_kept() -> None:
    account, images = Account(fails=1), Images()
    with pytest.raises(KeeperError, match="No machine image"):
        images.by_architecture(account, PLACE, SETTING, {"x86_64"})
    assert images.by_architecture(account, PLACE, SETTING, {"x86_64"})["x86_64"].id == "ami-2"
