# SPDX-License-Identifier: GPL-3.0-or-later
"""IAM enforced: roles that may do one thing, sessions that may do less, and what people who write policies see."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.lab.calls import Calls, Refused
from tests.integration.lab.things import Command, image, launch, refused, terminate
from tests.labs import Lab

pytest_plugins = ["tests.integration.lab.faulty"]
pytestmark = pytest.mark.timeout(120)
BACKUP, PRODUCTION = "111122223333", "444455556666"
ROLE = f"arn:aws:iam::{BACKUP}:role/limited"
ZONE = "us-east-1a"
BUCKET = "limited-data"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab in which IAM counts from the beginning."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    made = Lab(tmp_path_factory.mktemp("lab") / "state")
    done = made.run("up", "--enforce-iam", wait=600)
    assert done.returncode == 0, done.stderr
    yield made
    made.run("down")


@pytest.fixture(scope="module")
def limited(calls: Calls) -> dict[str, Any]:
    """Credentials of a role without any permission."""
    calls("iam", "create_role", RoleName="limited", AssumeRolePolicyDocument=trust())
    return assume(calls)


@dataclass(frozen=True)
class Limited:
    """Calls as the role, whose policy each test gives."""

    calls: Calls
    keys: dict[str, Any]

    def may(self, *statements: dict[str, Any]) -> None:
        name = {"RoleName": "limited", "PolicyName": "own"}
        self.calls("iam", "put_role_policy", PolicyDocument=document(*statements), **name)

    def __call__(self, service: str, call: str, **more: Any) -> Any:
        return self.calls(service, call, **{"keys": self.keys, **more})


@pytest.fixture
def role(calls: Calls, limited: dict[str, Any]) -> Limited:
    return Limited(calls, limited)


@pytest.fixture(scope="module")
def bucket(calls: Calls) -> str:
    """A bucket with an object below each of two prefixes."""
    calls("s3", "create_bucket", Bucket=BUCKET)
    for prefix in ("mine", "other"):
        calls("s3", "put_object", Bucket=BUCKET, Key=f"{prefix}/k", Body=b"data")
    return BUCKET


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions: Any, resources: Any = "*", **condition: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement


def trust(principal: str = BACKUP, **condition: Any) -> str:
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": principal}}
    return document({**statement, "Condition": condition} if condition else statement)


def assume(calls: Calls, arn: str = ROLE, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = calls("sts", "assume_role", RoleArn=arn, RoleSessionName="tried", **more)["Credentials"]
    return found


def tagged(value: str, *kinds: str) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": [{"Key": "run id", "Value": value}]} for kind in kinds]


def test_a_role_terminates_what_bears_its_tag(role: Limited, calls: Calls) -> None:
    tags = [{"TagSpecifications": tagged("r1", "instance")}, {"TagSpecifications": tagged("r2", "instance")}, {}]
    mine, other, bare = (launch(calls, **more)["InstanceId"] for more in tags)
    role.may(allow("ec2:TerminateInstances", StringEquals={"aws:ResourceTag/run id": "r1"}))
    for wrong in ([other], [bare], [mine, bare]):
        with refused("UnauthorizedOperation", 403):
            role("ec2", "terminate_instances", InstanceIds=wrong)
    role("ec2", "terminate_instances", InstanceIds=[mine])
    terminate(calls, other, bare)


def test_a_role_makes_only_what_it_tags(role: Limited, calls: Calls) -> None:
    used = [f"arn:aws:ec2:*:*:{kind}/*" for kind in ("image", "subnet", "security-group", "network-interface")]
    made = [f"arn:aws:ec2:*:*:{kind}/*" for kind in ("instance", "volume")]
    role.may(
        allow("ec2:RunInstances", used),
        allow("ec2:RunInstances", made, StringEquals={"aws:RequestTag/run id": "r1"}),
        allow("ec2:CreateTags", made, StringEquals={"ec2:CreateAction": "RunInstances"}),
    )
    words = {"ImageId": image(calls), "InstanceType": "c6a.large", "MinCount": 1, "MaxCount": 1}
    for kinds in ([], ["instance"], ["volume"]):
        with refused("UnauthorizedOperation", 403):
            role("ec2", "run_instances", TagSpecifications=tagged("r1", *kinds), **words)
    with refused("UnauthorizedOperation", 403):
        role("ec2", "run_instances", TagSpecifications=tagged("r2", "instance", "volume"), **words)
    found = role("ec2", "run_instances", TagSpecifications=tagged("r1", "instance", "volume"), **words)
    identity = found["Instances"][0]["InstanceId"]
    with refused("UnauthorizedOperation", 403):
        role("ec2", "create_tags", Resources=[identity], Tags=[{"Key": "run id", "Value": "r1"}])
    terminate(calls, identity)


def test_a_role_has_one_prefix_of_a_bucket(role: Limited, bucket: str) -> None:
    role.may(
        allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], f"arn:aws:s3:::{bucket}/mine/*"),
        allow("s3:ListBucket", f"arn:aws:s3:::{bucket}", StringLike={"s3:prefix": "mine/*"}),
    )
    assert role("s3", "get_object", Bucket=bucket, Key="mine/k")["ContentLength"] == 4
    assert role("s3", "list_objects_v2", Bucket=bucket, Prefix="mine/")["KeyCount"] == 1
    for call, words in (
        ("get_object", {"Key": "other/k"}),
        ("put_object", {"Key": "other/n", "Body": b""}),
        ("list_objects_v2", {"Prefix": "other/"}),
        ("list_objects_v2", {}),
        ("copy_object", {"Key": "mine/copy", "CopySource": f"{bucket}/other/k"}),
        ("get_object", {"Key": "mine/missing"}),  # without s3:ListBucket on all, S3 does not tell what is missing
    ):
        with refused("AccessDenied", 403):
            role("s3", call, Bucket=bucket, **words)
    keys = [{"Key": "mine/gone"}, {"Key": "other/k"}]
    found = role("s3", "delete_objects", Bucket=bucket, Delete={"Objects": keys})
    assert [each["Key"] for each in found["Deleted"]] == ["mine/gone"]
    assert [(each["Key"], each["Code"]) for each in found["Errors"]] == [("other/k", "AccessDenied")]
    role.may(allow("s3:*"))
    with refused("NoSuchKey", 404):
        role("s3", "get_object", Bucket=bucket, Key="mine/missing")


def test_a_role_reads_one_snapshot(role: Limited, calls: Calls) -> None:
    volume = calls("ec2", "create_volume", Size=1, AvailabilityZone=ZONE)["VolumeId"]
    mine, other = (calls("ec2", "create_snapshot", VolumeId=volume)["SnapshotId"] for _ in range(2))
    time.sleep(1.5)  # until they are complete
    role.may(allow("ebs:List*", f"arn:aws:ec2:us-east-1::snapshot/{mine}"))
    role("ebs", "list_snapshot_blocks", SnapshotId=mine)
    with refused("AccessDeniedException", 403):
        role("ebs", "list_snapshot_blocks", SnapshotId=other)
    with refused("AccessDeniedException", 403):
        role("ebs", "list_changed_blocks", FirstSnapshotId=other, SecondSnapshotId=mine)
    role.may(allow("ebs:StartSnapshot", StringEquals={"aws:RequestTag/run id": "r1"}), allow("ec2:CreateTags"))
    with refused("AccessDeniedException", 403):
        role("ebs", "start_snapshot", VolumeSize=1)
    role("ebs", "start_snapshot", VolumeSize=1, Tags=[{"Key": "run id", "Value": "r1"}])


def test_a_session_may_do_what_both_policies_allow(role: Limited, calls: Calls, bucket: str) -> None:
    role.may(allow("s3:*"))
    narrow = assume(calls, Policy=document(allow(["s3:GetObject", "ec2:*"], [f"arn:aws:s3:::{bucket}/mine/*", "*"])))
    role("s3", "get_object", Bucket=bucket, Key="mine/k", keys=narrow)
    with pytest.raises(Refused, match="no session policy allows the s3:PutObject action"):
        role("s3", "put_object", Bucket=bucket, Key="mine/k", Body=b"data", keys=narrow)
    with refused("UnauthorizedOperation", 403):
        role("ec2", "describe_instances", keys=narrow)
    role("s3", "put_object", Bucket=bucket, Key="mine/k", Body=b"data")
    words = {"PolicyName": "narrow", "PolicyDocument": document(allow("s3:GetObject"))}
    managed = calls("iam", "create_policy", **words)["Policy"]["Arn"]
    listing = assume(calls, Policy=document(allow("s3:ListBucket")), PolicyArns=[{"arn": managed}])
    role("s3", "get_object", Bucket=bucket, Key="mine/k", keys=listing)
    role("s3", "list_objects_v2", Bucket=bucket, keys=listing)
    with refused("AccessDenied", 403):
        role("s3", "put_object", Bucket=bucket, Key="mine/k", Body=b"data", keys=listing)


def test_an_explicit_denial_beats_everything(role: Limited, calls: Calls, bucket: str) -> None:
    deny = {"Effect": "Deny", "Action": "ec2:DeleteVolume", "Resource": "*"}
    role.may(allow("*"), {**deny, "Condition": {"Null": {"aws:ResourceTag/run id": "true"}}})
    plain = calls("ec2", "create_volume", Size=1, AvailabilityZone=ZONE)["VolumeId"]
    marked = calls("ec2", "create_volume", Size=1, AvailabilityZone=ZONE, TagSpecifications=tagged("r1", "volume"))
    with pytest.raises(Refused, match="with an explicit deny in an identity-based policy"):
        role("ec2", "delete_volume", VolumeId=plain)
    role("ec2", "delete_volume", VolumeId=marked["VolumeId"])
    closed = document(
        {**allow("s3:*"), "Effect": "Deny", "Principal": {"AWS": ROLE}, "Resource": f"arn:aws:s3:::{bucket}"}
    )
    calls("s3", "put_bucket_policy", Bucket=bucket, Policy=closed)
    with pytest.raises(Refused, match="with an explicit deny in a resource-based policy"):
        role("s3", "list_objects_v2", Bucket=bucket)
    calls("s3", "delete_bucket_policy", Bucket=bucket)


def test_a_boundary_limits_a_role(calls: Calls) -> None:
    arn = calls("iam", "create_policy", PolicyName="limit", PolicyDocument=document(allow("ec2:Describe*")))["Policy"][
        "Arn"
    ]
    calls("iam", "create_role", RoleName="bound", AssumeRolePolicyDocument=trust(), PermissionsBoundary=arn)
    calls("iam", "put_role_policy", RoleName="bound", PolicyName="own", PolicyDocument=document(allow("*")))
    keys = assume(calls, f"arn:aws:iam::{BACKUP}:role/bound")
    calls("ec2", "describe_volumes", keys=keys)
    with pytest.raises(Refused, match="no permissions boundary allows the ec2:CreateVolume action"):
        calls("ec2", "create_volume", Size=1, AvailabilityZone=ZONE, keys=keys)


def test_a_role_of_another_account_wants_both_sides_and_the_external_id(role: Limited, calls: Calls) -> None:
    there = f"arn:aws:iam::{PRODUCTION}:role/there"
    wants = trust(ROLE, StringEquals={"sts:ExternalId": "secret"})
    calls("iam", "create_role", RoleName="there", AssumeRolePolicyDocument=wants, profile="production")
    role.may(allow("s3:*"))
    with refused("AccessDenied", 403):
        assume(calls, there, ExternalId="secret", keys=role.keys)
    role.may(allow("sts:AssumeRole", there))
    for external in ({}, {"ExternalId": "wrong"}):
        with refused("AccessDenied", 403):
            assume(calls, there, keys=role.keys, **external)
    with refused("AccessDenied", 403):
        assume(calls, there, ExternalId="secret")  # the administrator is not whom it trusts
    keys = assume(calls, there, ExternalId="secret", keys=role.keys)
    assert calls("sts", "get_caller_identity", keys=keys)["Arn"].startswith(f"arn:aws:sts::{PRODUCTION}:assumed-role")


def test_services_use_a_key_in_the_name_of_their_caller(role: Limited, calls: Calls, bucket: str) -> None:
    key = calls("kms", "create_key")["KeyMetadata"]["Arn"]
    sealed = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    anything = [allow("s3:*"), allow("ec2:*")]
    role.may(*anything)
    with pytest.raises(Refused, match="kms:GenerateDataKey"):
        role("s3", "put_object", Bucket=bucket, Key="mine/sealed", Body=b"data", **sealed)
    volume = {"Size": 1, "AvailabilityZone": ZONE, "Encrypted": True, "KmsKeyId": key}
    failed = role("ec2", "create_volume", **volume)["VolumeId"]
    through = {"kms:ViaService": ["s3.us-east-1.amazonaws.com", "ec2.us-east-1.amazonaws.com"]}
    role.may(
        *anything,
        allow(["kms:GenerateDataKey*", "kms:Decrypt"], key, StringEquals=through),
        allow("kms:CreateGrant", key, StringEquals=through, Bool={"kms:GrantIsForAWSResource": "true"}),
    )
    made = role("ec2", "create_volume", **volume)["VolumeId"]
    role("s3", "put_object", Bucket=bucket, Key="mine/sealed", Body=b"data", **sealed)
    role("s3", "get_object", Bucket=bucket, Key="mine/sealed")
    with refused("AccessDeniedException", 400):
        role("kms", "generate_data_key", KeyId=key, KeySpec="AES_256")
    time.sleep(0.6)
    states = {each["VolumeId"]: each["State"] for each in calls("ec2", "describe_volumes")["Volumes"]}
    assert (states[failed], states[made]) == ("error", "available")


def test_a_launch_whose_key_is_refused_ends_by_itself(role: Limited, calls: Calls) -> None:
    key = calls("kms", "create_key")["KeyMetadata"]["Arn"]
    role.may(allow("ec2:*"))
    words = {"ImageId": image(calls), "InstanceType": "c6a.large", "MinCount": 1, "MaxCount": 1}
    disk = [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "KmsKeyId": key}}]
    identity = role("ec2", "run_instances", BlockDeviceMappings=disk, **words)["Instances"][0]["InstanceId"]
    ends = time.monotonic() + 20
    while True:
        found = calls("ec2", "describe_instances", InstanceIds=[identity])["Reservations"][0]["Instances"][0]
        if found["State"]["Name"] == "terminated":
            break
        assert time.monotonic() < ends, found["State"]
        time.sleep(0.2)
    assert found["StateReason"]["Code"] == "Client.InternalError"


def test_a_user_has_keys_of_its_own(calls: Calls) -> None:
    calls("iam", "create_user", UserName="reader")
    made = calls("iam", "create_access_key", UserName="reader")["AccessKey"]
    keys = {**made, "SessionToken": None}
    assert calls("sts", "get_caller_identity", keys=keys)["Arn"] == f"arn:aws:iam::{BACKUP}:user/reader"
    with refused("AccessDenied", 403):
        calls("iam", "list_roles", keys=keys)
    calls("iam", "create_role", RoleName="inside", Path="/team/", AssumeRolePolicyDocument=trust())
    own = [allow("iam:List*"), allow("iam:GetRole", f"arn:aws:iam::{BACKUP}:role/team/*")]
    calls("iam", "put_user_policy", UserName="reader", PolicyName="own", PolicyDocument=document(*own))
    calls("iam", "list_roles", keys=keys)
    calls("iam", "get_role", RoleName="inside", keys=keys)
    with refused("AccessDenied", 403):
        calls("iam", "get_role", RoleName="there-is-none", keys=keys)
    calls("iam", "delete_access_key", UserName="reader", AccessKeyId=made["AccessKeyId"])
    with refused("InvalidClientTokenId", 403):
        calls("iam", "list_roles", keys=keys)


def test_what_is_denied_can_be_looked_at_and_switched_off(role: Limited, command: Command) -> None:
    role.may({"Sid": "Own", **allow("ec2:DeleteVolume", StringEquals={"aws:ResourceTag/run id": "r1"})})
    with refused("UnauthorizedOperation", 403):
        role("ec2", "delete_volume", VolumeId="vol-0123456789abcdef0")
    told = command("iam", "denied", "--last", "1")
    assert "denied  ec2:DeleteVolume on arn:aws:ec2:us-east-1:111122223333:volume/vol-0123456789abcdef0" in told
    assert "identity policy own, Own wants StringEquals aws:ResourceTag/run id: r1" in told
    assert "iam     enforced" in command("status")
    command("iam", "off")
    try:
        assert "iam     not enforced" in command("status")
        with refused("InvalidVolume.NotFound"):
            role("ec2", "delete_volume", VolumeId="vol-0123456789abcdef0")
    finally:
        command("iam", "enforce")
    with refused("UnauthorizedOperation", 403):
        role("ec2", "delete_volume", VolumeId="vol-0123456789abcdef0")
