# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to STS, EBS direct, IAM, SSM, RDS, EFS, Service Quotas, and what each of them must be allowed to do."""

from __future__ import annotations

import pytest
from mayfly_lab.iam import ebs, named, sts
from mayfly_lab.iam.ebs import Snapshot
from mayfly_lab.iam.parameters import Parameters

from tests.unit.lab.iam.world import ACCOUNT, FREE, KEY, KEYS, OTHER, PLACE, shown

ROLE = f"arn:aws:iam::{OTHER}:role/worker"
SNAPSHOT = f"{FREE}snapshot/snap-0a"


@pytest.mark.parametrize(
    ("call", "pairs", "wanted"),
    [
        ("GetCallerIdentity", {}, []),
        ("AssumeRole", {"RoleArn": ROLE}, [f"sts:AssumeRole {ROLE}"]),
        (
            "AssumeRole",
            {"RoleArn": ROLE, "Tags.member.1.Key": "a", "Tags.member.1.Value": "b", "SourceIdentity": "me"},
            [f"sts:AssumeRole {ROLE}", f"sts:TagSession {ROLE}", f"sts:SetSourceIdentity {ROLE}"],
        ),
        ("DecodeAuthorizationMessage", {}, ["sts:DecodeAuthorizationMessage *"]),
    ],
)
def test_sts(call, pairs, wanted):
    found = sts.checks(call, Parameters(pairs.items()), PLACE, "{}")
    assert [shown(check) for check in found] == wanted
    assert all(check.account == OTHER for check in found if check.resource == ROLE)


def test_the_conditions_of_a_session():
    pairs = {"RoleArn": ROLE, "ExternalId": "e", "RoleSessionName": "s1", "Tags.member.1.Key": "a"}
    check = sts.checks("AssumeRole", Parameters(pairs.items()), PLACE, "{}")[0]
    assert (check.context["sts:ExternalId"], check.context["sts:RoleSessionName"]) == ("e", "s1")
    assert (check.context["aws:TagKeys"], check.resource_policy) == (["a"], "{}")


EBS_CALLS = [
    ("ListSnapshotBlocks", ["snap-0a"], {}, [f"ebs:ListSnapshotBlocks {SNAPSHOT}"]),
    (
        "ListChangedBlocks",
        ["snap-0a", "snap-0b"],
        {},
        [f"ebs:ListChangedBlocks {SNAPSHOT}", f"ebs:ListChangedBlocks {FREE}snapshot/snap-0b"],
    ),
    ("GetSnapshotBlock", ["snap-0a"], {}, [f"ebs:GetSnapshotBlock {SNAPSHOT}"]),
    ("PutSnapshotBlock", ["snap-0a"], {}, [f"ebs:PutSnapshotBlock {SNAPSHOT}"]),
    ("CompleteSnapshot", ["snap-0a"], {}, [f"ebs:CompleteSnapshot {SNAPSHOT}"]),
    ("StartSnapshot", [], {"VolumeSize": 1}, [f"ebs:StartSnapshot {FREE}snapshot/*"]),
    (
        "StartSnapshot",
        [],
        {"VolumeSize": 1, "Tags": [{"Key": "a", "Value": "b"}], "KmsKeyArn": KEY},
        [
            f"ebs:StartSnapshot {FREE}snapshot/*",
            f"ec2:CreateTags {FREE}snapshot/*",
            f"kms:GenerateDataKeyWithoutPlaintext {KEY}",
            f"kms:CreateGrant {KEY}",
        ],
    ),
]


@pytest.mark.parametrize(("call", "snapshots", "value", "wanted"), EBS_CALLS)
def test_ebs_direct(call, snapshots, value, wanted):
    found = ebs.checks(call, [Snapshot(each) for each in snapshots], value, PLACE, KEYS)
    assert [shown(check) for check in found] == wanted


def test_the_blocks_of_an_encrypted_snapshot_need_its_key():
    sealed = [Snapshot("snap-0a", {"run": "r1"}, KEY)]
    read, key = ebs.checks("GetSnapshotBlock", sealed, {}, PLACE, KEYS)
    assert read.context == {"aws:ResourceTag/run": "r1"}
    assert shown(key) == f"kms:Decrypt {KEY}"
    assert [each.action for each in ebs.checks("ListSnapshotBlocks", sealed, {}, PLACE, KEYS)] == [
        "ebs:ListSnapshotBlocks"
    ]


def test_the_conditions_of_a_snapshot_that_is_started():
    value = {"VolumeSize": 2, "Description": "d", "Tags": [{"Key": "run", "Value": "r2"}]}
    start, tags = ebs.checks("StartSnapshot", [Snapshot("snap-0a")], value, PLACE, KEYS)
    assert start.context == {
        "ebs:VolumeSize": "2",
        "ebs:Description": "d",
        "ebs:ParentSnapshot": SNAPSHOT,
        "aws:TagKeys": ["run"],
        "aws:RequestTag/run": "r2",
    }
    assert tags.context["ec2:CreateAction"] == "StartSnapshot"


def test_a_body_that_is_nonsense_is_left_to_the_service():
    for tags in ("x", [1], [{}], None):
        assert ebs.checks("StartSnapshot", [], {"Tags": tags, "KmsKeyArn": 7}, PLACE, KEYS)


SSM, RDS = f"arn:aws:ssm:us-east-1:{ACCOUNT}:", f"arn:aws:rds:us-east-1:{ACCOUNT}:"
EFS = f"arn:aws:elasticfilesystem:us-east-1:{ACCOUNT}:"


NAMED_CALLS = [
    ("iam", "GetRole", {"RoleName": "r"}, [f"iam:GetRole arn:aws:iam::{ACCOUNT}:role/r"]),
    ("iam", "ListRoles", {}, ["iam:ListRoles *"]),
    (
        "iam",
        "AddRoleToInstanceProfile",
        {"InstanceProfileName": "p", "RoleName": "r"},
        [
            f"iam:AddRoleToInstanceProfile arn:aws:iam::{ACCOUNT}:instance-profile/p",
            f"iam:AddRoleToInstanceProfile arn:aws:iam::{ACCOUNT}:role/r",
            f"iam:PassRole arn:aws:iam::{ACCOUNT}:role/r",
        ],
    ),
    ("ssm", "GetParameter", {"Name": "/a/b"}, [f"ssm:GetParameter {SSM}parameter/a/b"]),
    (
        "ssm",
        "GetParameters",
        {"Names.1": "a", "Names.2": "b"},
        [f"ssm:GetParameters {SSM}parameter/a", f"ssm:GetParameters {SSM}parameter/b"],
    ),
    (
        "ssm",
        "GetParameter",
        {"Name": "/aws/service/debian/x"},
        ["ssm:GetParameter arn:aws:ssm:us-east-1::parameter/aws/service/debian/x"],
    ),
    (
        "ssm",
        "StartSession",
        {"Target": "i-0a", "DocumentName": "AWS-StartSSHSession"},
        [
            f"ssm:StartSession arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-0a",
            "ssm:StartSession arn:aws:ssm:us-east-1::document/AWS-StartSSHSession",
        ],
    ),
    (
        "ssm",
        "StartSession",
        {"Target": "i-0a"},
        [
            f"ssm:StartSession arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-0a",
            f"ssm:StartSession {SSM}document/SSM-SessionManagerRunShell",
        ],
    ),
    ("ssm", "DescribeInstanceInformation", {}, ["ssm:DescribeInstanceInformation *"]),
    ("rds", "DescribeDBInstances", {}, [f"rds:DescribeDBInstances {RDS}db:*"]),
    ("rds", "DescribeDBInstances", {"DBInstanceIdentifier": "d"}, [f"rds:DescribeDBInstances {RDS}db:d"]),
    (
        "rds",
        "CreateDBSnapshot",
        {"DBInstanceIdentifier": "d", "DBSnapshotIdentifier": "s"},
        [f"rds:CreateDBSnapshot {RDS}db:d", f"rds:CreateDBSnapshot {RDS}snapshot:s"],
    ),
    ("efs", "DescribeFileSystems", {}, [f"elasticfilesystem:DescribeFileSystems {EFS}file-system/*"]),
    (
        "efs",
        "DescribeMountTargets",
        {"FileSystemId": "fs-0a"},
        [f"elasticfilesystem:DescribeMountTargets {EFS}file-system/fs-0a"],
    ),
    (
        "servicequotas",
        "GetServiceQuota",
        {"ServiceCode": "ec2", "QuotaCode": "L-1"},
        [f"servicequotas:GetServiceQuota arn:aws:servicequotas:us-east-1:{ACCOUNT}:ec2/L-1"],
    ),
    ("servicequotas", "ListServiceQuotas", {"ServiceCode": "ec2"}, ["servicequotas:ListServiceQuotas *"]),
    ("pricing", "GetProducts", {}, ["pricing:GetProducts *"]),
]


@pytest.mark.parametrize(("service", "call", "pairs", "wanted"), NAMED_CALLS)
def test_services_whose_resources_are_named_in_the_request(service, call, pairs, wanted):
    found = named.checks(service, call, Parameters(pairs.items()), PLACE, lambda _: {})
    assert [shown(check) for check in found] == wanted


def test_the_tags_of_what_is_named():
    tags = {f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-0a": {"run": "r1"}}
    pairs = [("Target", "i-0a"), ("DocumentName", "AWS-StartSSHSession")]
    found = named.checks("ssm", "StartSession", Parameters(pairs), PLACE, lambda arn: tags.get(arn, {}))
    assert [dict(check.context) for check in found] == [{"aws:ResourceTag/run": "r1", "ssm:resourceTag/run": "r1"}, {}]
