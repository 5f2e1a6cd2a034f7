# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on request, as AWS's clients meet them: each shows, is listed, and ends with its count or when cleared."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.lab.calls import Calls, Refused
from tests.integration.lab.things import (
    ZONE,
    Command,
    count_volumes,
    launch,
    listed,
    meets,
    new_group,
    new_volume,
    refused,
    terminate,
)
from tests.labs import Lab

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(120)
BACKUP, BLOCK = "111122223333", 512 * 1024
ROLE = f"arn:aws:iam::{BACKUP}:role/tried"


@pytest.fixture(scope="module")
def session(calls: Calls) -> dict[str, Any]:
    """Credentials of a role of the backup account."""
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": BACKUP}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    calls("iam", "create_role", RoleName="tried", AssumeRolePolicyDocument=document)
    return assume(calls)


def assume(calls: Calls, **more: Any) -> dict[str, Any]:
    words = {"RoleArn": ROLE, "RoleSessionName": "tried", **more}
    credentials: dict[str, Any] = calls("sts", "assume_role", **words)["Credentials"]
    return credentials


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def put(calls: Calls, snapshot: str, data: bytes) -> None:
    words = {"DataLength": BLOCK, "Checksum": checksum(data), "ChecksumAlgorithm": "SHA256"}
    calls("ebs", "put_snapshot_block", SnapshotId=snapshot, BlockIndex=0, BlockData=data, **words)


@pytest.fixture(scope="module")
def snapshot(calls: Calls) -> str:
    """A completed snapshot with one block."""
    made = str(calls("ebs", "start_snapshot", VolumeSize=1)["SnapshotId"])
    put(calls, made, b"data" * (BLOCK // 4))
    calls("ebs", "complete_snapshot", SnapshotId=made, ChangedBlocksCount=1)
    ends = time.monotonic() + 10
    while calls("ec2", "describe_snapshots", SnapshotIds=[made])["Snapshots"][0]["State"] != "completed":
        assert time.monotonic() < ends
        time.sleep(0.1)
    return made


@pytest.fixture
def tried(calls: Calls, session: dict[str, Any], snapshot: str) -> Tried:
    return Tried(calls, session, snapshot)


@dataclass
class Tried:
    """Where effects look for themselves."""

    calls: Calls
    session: dict[str, Any]
    snapshot: str

    def error(self) -> bool:
        return meets("Odd.Code", 418, lambda: self.calls("ec2", "describe_vpcs"))

    def throttle(self) -> bool:
        return meets("RequestLimitExceeded", 503, lambda: self.calls("ec2", "describe_vpcs"))

    def time_out(self) -> bool:
        before, began = count_volumes(self.calls), time.monotonic()
        ended = meets("ConnectionClosedError", None, lambda: new_volume(self.calls))
        assert not ended or time.monotonic() - began > 0.5
        assert count_volumes(self.calls) == before + (not ended)
        return ended

    def lost_answer(self) -> bool:
        before = count_volumes(self.calls)
        lost = meets("ConnectionClosedError", None, lambda: new_volume(self.calls))
        assert count_volumes(self.calls) == before + 1
        return lost

    def slow(self) -> bool:
        began = time.monotonic()
        self.calls("kms", "list_keys")
        return time.monotonic() - began > 0.5

    def expired_credentials(self) -> bool:
        return meets("ExpiredToken", 400, lambda: self.calls("s3", "list_buckets", keys=self.session))

    def short_sessions(self) -> bool:
        ends = datetime.fromisoformat(assume(self.calls)["Expiration"])
        return (ends - datetime.now(UTC)).total_seconds() < 100

    def stale_tags(self) -> bool:
        volume = new_volume(self.calls)
        self.calls("ec2", "create_tags", Resources=[volume], Tags=[{"Key": "new", "Value": "1"}])
        found = self.calls("ec2", "describe_volumes", VolumeIds=[volume])["Volumes"][0]
        return not found.get("Tags")

    def snapshot_missing(self) -> bool:
        made = self.calls("ebs", "start_snapshot", VolumeSize=1)["SnapshotId"]
        return meets("ResourceNotFoundException", 404, lambda: put(self.calls, made, bytes(BLOCK)))

    def corrupt(self) -> bool:
        token = self.calls("ebs", "list_snapshot_blocks", SnapshotId=self.snapshot)["Blocks"][0]["BlockToken"]
        words = {"SnapshotId": self.snapshot, "BlockIndex": 0, "BlockToken": token}
        answer = self.calls("ebs", "get_snapshot_block", **words)
        return bool(checksum(answer["BlockData"]) != answer["Checksum"])

    def empty_pages(self) -> bool:
        answer = self.calls("ebs", "list_snapshot_blocks", SnapshotId=self.snapshot)
        assert len(answer["Blocks"]) == (not answer.get("NextToken"))
        return not answer["Blocks"]

    def short_tokens(self) -> bool:
        found = self.calls("ebs", "list_snapshot_blocks", SnapshotId=self.snapshot)
        words = {"SnapshotId": self.snapshot, "BlockIndex": 0, "BlockToken": found["Blocks"][0]["BlockToken"]}
        return meets("ValidationException", 400, lambda: self.calls("ebs", "get_snapshot_block", **words))


KINDS = {
    "error": ["--call", "DescribeVpcs", "--code", "Odd.Code", "--status", "418"],
    "throttle": ["--call", "DescribeVpcs"],
    "time-out": ["--call", "CreateVolume", "--seconds", "0.6"],
    "lost-answer": ["--call", "CreateVolume"],
    "slow": ["--service", "kms", "--seconds", "0.6"],
    "expired-credentials": ["--account", BACKUP],
    "short-sessions": ["--seconds", "60"],
    "stale-tags": ["--seconds", "30", "--call", "DescribeVolumes"],
    "snapshot-missing": [],
    "corrupt": ["--index", "0"],
    "empty-pages": [],
    "short-tokens": ["--seconds", "0"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_ends_with_its_count_or_when_it_is_cleared(
    tried: Tried, command: Command, fault: Command, kind: str
) -> None:
    effect = getattr(tried, kind.replace("-", "_"))
    counted = fault(kind, "--times", "1", *KINDS[kind])
    assert listed(command, counted).endswith("1 left")
    assert effect()
    assert listed(command, counted).endswith("0 left, met 1 times")
    assert not effect()
    endless = fault(kind, *KINDS[kind])
    assert effect()
    assert listed(command, endless).endswith("always, met")
    command("fault", "clear", endless)
    assert listed(command, endless) == ""
    assert not effect()


SERVICES = {
    "ec2": ("describe_vpcs", {}),
    "sts": ("get_caller_identity", {}),
    "iam": ("list_roles", {}),
    "kms": ("list_keys", {}),
    "ssm": ("describe_parameters", {}),
    "s3": ("list_buckets", {}),
    "ebs": ("list_snapshot_blocks", {"SnapshotId": "snap-0"}),
}


def test_an_error_reaches_the_client_of_every_service(calls: Calls, fault: Command, command: Command) -> None:
    counted = fault("error", "--times", "7", "--code", "Odd.Code", "--status", "409", "--message", "5 < 6 & so on")
    for service, (call, words) in SERVICES.items():
        with pytest.raises(Refused) as caught:
            calls(service, call, **words)
        found = caught.value
        assert (found.code, found.status, found.message) == ("Odd.Code", 409, "5 < 6 & so on"), service
    assert listed(command, counted).endswith("0 left, met 7 times")


@pytest.mark.parametrize(("kind", "words"), [("lost-answer", []), ("time-out", ["--seconds", "0.3"])])
def test_every_service_can_leave_a_client_without_an_answer(
    calls: Calls, snapshot: str, fault: Command, kind: str, words: list[str]
) -> None:
    for service, (call, more) in {**SERVICES, "ebs": ("list_snapshot_blocks", {"SnapshotId": snapshot})}.items():
        fault(kind, "--times", "1", "--service", service, *words)
        began = time.monotonic()
        with refused("ConnectionClosedError"):
            calls(service, call, **more)
        assert time.monotonic() - began > 0.3 * len(words) / 2
        calls(service, call, **more)


def test_a_slow_call_is_done_at_once_or_only_in_the_end(calls: Calls, fault: Command, lab: Lab) -> None:
    with Calls(lab) as other:
        other("ec2", "describe_vpcs")
        for words, done_early in (([], True), (["--before"], False)):
            fault("slow", "--times", "1", "--call", "CreateVolume", "--seconds", "2", *words)
            before = count_volumes(calls)
            other.send("ec2", "create_volume", Size=1, AvailabilityZone=ZONE)
            time.sleep(0.8)
            assert count_volumes(calls) == before + done_early
            other.receive()
            assert count_volumes(calls) == before + 1


def test_sessions_end_for_every_service(calls: Calls, session: dict[str, Any], fault: Command) -> None:
    fault("short-sessions", "--times", "1", "--seconds", "1.5")
    keys = assume(calls)
    expired = {"ec2": "RequestExpired", "sts": "ExpiredToken", "iam": "ExpiredToken", "s3": "ExpiredToken"}
    expired |= dict.fromkeys(("kms", "ssm", "ebs"), "ExpiredTokenException")
    calls("s3", "list_buckets", keys=keys)
    time.sleep(1.6)
    for service, code in expired.items():
        with refused(code):
            calls(service, SERVICES[service][0], keys=keys, **SERVICES[service][1])
    calls("s3", "list_buckets", keys=session)


def new_snapshot(calls: Calls) -> str:
    return str(calls("ec2", "create_snapshot", VolumeId=new_volume(calls))["SnapshotId"])


def new_instance(calls: Calls) -> str:
    return str(launch(calls)["InstanceId"])


YOUNG = {
    "instance": (new_instance, "describe_instances", "InstanceIds", "InvalidInstanceID.NotFound"),
    "snapshot": (new_snapshot, "describe_snapshots", "SnapshotIds", "InvalidSnapshot.NotFound"),
    "volume": (new_volume, "describe_volumes", "VolumeIds", "InvalidVolume.NotFound"),
    "security-group": (new_group, "describe_security_groups", "GroupIds", "InvalidGroup.NotFound"),
}


@pytest.mark.parametrize("kind", YOUNG)
def test_what_was_just_made_is_not_found_yet(calls: Calls, fault: Command, command: Command, kind: str) -> None:
    make, describe, ids, code = YOUNG[kind]
    before = make(calls)
    time.sleep(1.1)
    counted = fault("not-found-yet", "--times", "3", "--seconds", "60", "--kind", kind)
    command("fault", "clear", fault("not-found-yet", "--seconds", "60"))
    made = make(calls)
    tags = {"Resources": [made], "Tags": [{"Key": "key", "Value": "value"}]}
    with refused(code, 400):
        calls("ec2", describe, **{ids: [made]})
    with refused(code, 400):
        calls("ec2", "create_tags", **tags)
    assert made not in json.dumps(calls("ec2", describe))
    assert listed(command, counted).endswith("0 left, met 3 times")
    calls("ec2", "create_tags", **tags)
    assert made in json.dumps(calls("ec2", describe))
    fault("not-found-yet", "--seconds", "1", "--kind", kind)
    assert before in json.dumps(calls("ec2", describe, **{ids: [before]})), "an old one is hidden"
    ends = time.monotonic() + 5
    while made not in json.dumps(calls("ec2", describe)):
        assert time.monotonic() < ends, "it stays hidden"
        time.sleep(0.1)
    if kind == "instance":
        terminate(calls, before, made)


def test_a_call_that_does_not_name_it_is_not_disturbed(calls: Calls, fault: Command) -> None:
    fault("not-found-yet", "--seconds", "60")
    group = new_group(calls)
    with refused("InvalidGroup.NotFound"):
        launch(calls, SecurityGroupIds=[group])
    made = launch(calls)["InstanceId"]
    with refused("InvalidInstanceID.NotFound"):
        terminate(calls, made)
    for value in (made, "other"):
        found = calls("ec2", "describe_instances", Filters=[{"Name": "instance-id", "Values": [value]}])
        assert found["Reservations"] == []


def test_tags_are_filtered_by_as_they_are_shown(calls: Calls, fault: Command) -> None:
    old = [{"Key": "state", "Value": "old"}]
    volume = new_volume(calls, TagSpecifications=[{"ResourceType": "volume", "Tags": old}])
    snapshot = calls(
        "ec2", "create_snapshot", VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": old}]
    )["SnapshotId"]
    calls("ec2", "create_tags", Resources=[volume, snapshot], Tags=[{"Key": "state", "Value": "new"}])
    calls("ec2", "delete_tags", Resources=[snapshot], Tags=[{"Key": "state"}])

    def found(value: str) -> set[str]:
        by_tag = [{"Name": "tag:state", "Values": [value]}]
        volumes = calls("ec2", "describe_volumes", Filters=by_tag)["Volumes"]
        snapshots = calls("ec2", "describe_snapshots", Filters=by_tag)["Snapshots"]
        tags = calls("ec2", "describe_tags", Filters=[{"Name": "value", "Values": [value]}])["Tags"]
        assert {tag["ResourceId"] for tag in tags} == {each["VolumeId"] for each in volumes} | {
            each["SnapshotId"] for each in snapshots
        }
        return {each["VolumeId"] for each in volumes} | {each["SnapshotId"] for each in snapshots}

    assert (found("old"), found("new")) == (set(), {volume})
    fault("stale-tags", "--seconds", "30")
    assert (found("old"), found("new")) == ({volume, snapshot}, set())
