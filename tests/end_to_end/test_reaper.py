# SPDX-License-Identifier: GPL-3.0-or-later
"""What has outlived its run goes, in every account, under the reaper's own role, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Site

pytestmark = pytest.mark.timeout(300)

OLD = {"mayfly:deployment": "default", "mayfly:temporary": "true", "mayfly:deadline": "2026-01-01T00:00:00Z"}
OF_ANOTHER = {**OLD, "mayfly:deployment": "another"}
HANDED_OVER = {name: value for name, value in OLD.items() if name != "mayfly:temporary"}


def tagged(tags: dict[str, str], *kinds: str) -> tuple[str, ...]:
    """The words of the AWS CLI that tag what is made."""
    listed = ",".join(f"{{Key={key},Value={value}}}" for key, value in tags.items())
    return ("--tag-specifications", *(f"ResourceType={kind},Tags=[{listed}]" for kind in kinds))


def volume(site: Site, tags: dict[str, str]) -> str:
    """A new volume of the production account."""
    words = ("--size", "1", "--availability-zone", "us-east-1a", *tagged(tags, "volume"))
    return str(site.lab.aws("ec2", "create-volume", *words, profile="production")["VolumeId"])


def test_what_outlived_its_run_goes_under_the_role_of_the_reaper(site: Site, settings: Any) -> None:
    lab, where = site.lab, {"profile": "production"}
    source = site.seed["sources"]["web-1"]["id"]
    image = lab.aws("ec2", "describe-instances", "--instance-ids", source, **where)["Reservations"][0]["Instances"][0]
    words = ("--image-id", image["ImageId"], "--instance-type", "t3.micro", *tagged(OLD, "instance", "volume"))
    instance = lab.aws("ec2", "run-instances", *words, **where)["Instances"][0]["InstanceId"]
    old, of_another, handed_over = (volume(site, tags) for tags in (OLD, OF_ANOTHER, HANDED_OVER))
    snapshot = lab.aws("ec2", "create-snapshot", "--volume-id", old, *tagged(OLD, "snapshot"), **where)["SnapshotId"]
    words = ("--group-name", "old", "--description", "old", *tagged(OLD, "security-group"))
    group = lab.aws("ec2", "create-security-group", *words)["GroupId"]
    try:
        given = {
            name: {"id": each["id"], "role_arn": f"arn:aws:iam::{each['id']}:role/mayfly-reaper"}
            for name, each in site.seed["accounts"].items()
        }
        done = lab.playbook("reap", *settings(mayfly_accounts=given), inventory="inventories/lab/repositories.yml")
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        (entry,) = lab.report("reap")["resources"].values()
        assert {each["id"] for each in entry["reaped"]} == {instance, old, snapshot, group}
        assert entry["failed"] == []
        left = lab.aws("ec2", "describe-volumes", "--volume-ids", of_another, handed_over, **where)["Volumes"]
        assert {each["State"] for each in left} == {"available"}
        assert site.temporary() == [of_another]
    finally:
        for each in (of_another, handed_over):
            lab.aws("ec2", "delete-volume", "--volume-id", each, **where)
