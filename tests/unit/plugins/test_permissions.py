# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of rights: it has every call that the code makes, no right more, and fits into what IAM takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import (
    permissions,
    restore_rights,
    rights,
    session_manager,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import policies
from botocore import xform_name

ROOT = Path(__file__).parents[3]
# The service of a call by the name that its client has in the code.
CALLS = re.compile(r"\b(?:_?ec2|iam|kms|s3|sts|quotas|_client)\.([a-z]+_[a-z0-9_]+)\b")
BY_NAME = re.compile(r"""["']((?:describe|list|terminate|delete|deregister|get)_[a-z0-9_]+)["']""")
# Methods of clients that are no calls, and calls that need no right.
NO_CALLS = {"get_paginator", "can_paginate", "get_caller_identity"}
# Actions that are not called by their names: what EC2, S3 and KMS do for a caller, and what the agent signs by itself.
INDIRECT = {
    *permissions.READ_BLOCKS,
    *permissions.START_SNAPSHOT,
    *permissions.WRITE_BLOCKS,
    *permissions.USE_VOLUME_KEY,
    *permissions.DELETE_OBJECTS,  # of versions, in DeleteObjects; of locks, in HeadObject
    *permissions.USE_REPOSITORY_KEY,
    # By the AWS CLI, its plugin, EC2 and the agent of Session Manager.
    "iam:PassRole",
    "ssm:ResumeSession",
    "ssm:StartSession",
    "ssm:TerminateSession",
    "ssmmessages:OpenDataChannel",
    *(action for right in session_manager.SESSION_MANAGER.rights for action in right.actions),
}
# Where an action has another name than its call.
ACTIONS = {
    "ListObjectsV2": "ListBucket",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "DeleteObjects": "DeleteObject",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
}


def allowed(*roles: rights.Role) -> set[str]:
    """The actions of roles, without their services."""
    return {action.split(":")[1] for role in roles for right in role.all_rights for action in right.actions}


def called() -> set[str]:
    """The API calls in the code of plugins and agent, as the APIs name them."""
    names: set[str] = set()
    for folder in ("plugins", "agent"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            names |= set(CALLS.findall(text)) | set(BY_NAME.findall(text))
    known: dict[str, str] = {}
    session = botocore.session.get_session()
    for service in ("ec2", "iam", "kms", "s3", "sts", "service-quotas", "pricing"):
        for operation in session.get_service_model(service).operation_names:
            known[xform_name(operation)] = operation
    return {known[name] for name in names - NO_CALLS if name in known}


def test_every_call_has_its_right() -> None:
    missing = {ACTIONS.get(each, each) for each in called()} - allowed(*permissions.ROLES)
    assert not missing


def test_every_right_has_its_call() -> None:
    indirect = {each.split(":")[1] for each in INDIRECT}
    made_with = {"CreateTags"}
    unused = allowed(*permissions.ROLES) - {ACTIONS.get(each, each) for each in called()} - indirect - made_with
    assert not unused


@pytest.mark.parametrize(
    ("partition", "suffix"), [("aws", "amazonaws.com"), ("aws-us-gov", "amazonaws.com"), ("aws-cn", "amazonaws.com.cn")]
)
def test_every_arn_and_service_is_of_the_stacks_partition(partition: str, suffix: str) -> None:
    """As CloudFormation fills the template in; KMS names the service behind a call with the partition's suffix too."""
    text = (ROOT / "iam/mayfly.yaml").read_text()
    filled = text.replace("${AWS::Partition}", partition).replace("${AWS::URLSuffix}", suffix)
    assert set(re.findall(r"(?<!\^)\barn:([a-z-]+):", filled)) == {partition}
    named = set(re.findall(r"[a-z0-9.*-]+\.amazonaws\.com[.a-z*]*", filled))
    assert named == {f"ec2.{suffix}", "ec2.*.amazonaws.com*", "s3.*.amazonaws.com*"}


LAUNCHES = ("ec2:RunInstances", "ec2:TerminateInstances", "ec2:CreateSecurityGroup", "ec2:CreateImage", "iam:PassRole")
TAKES = ("ec2:CreateSnapshots", "ec2:CreateVolume", "ebs:StartSnapshot", "ebs:GetSnapshotBlock", "ebs:PutSnapshotBlock")
STORES = ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "kms:GenerateDataKey")
OF_PLACES = {
    rights.BACKUP_ACCOUNT: STORES,
    rights.WORKER_DEPLOYMENT: LAUNCHES,
    rights.PRODUCTION_ACCOUNT: TAKES,
}


@pytest.mark.parametrize("place", OF_PLACES)
def test_the_roles_of_an_account_have_the_rights_that_fit_what_it_is_for(place: str) -> None:
    """And none of those that the other two kinds of account have."""
    of_runs = [right for role in (permissions.RUN, permissions.WORKER) for right in role.rights]
    given = {action for right in of_runs if right.parameter in ("", place) for action in right.actions}
    known = {*LAUNCHES, *TAKES, *STORES}
    assert given & known == set(OF_PLACES[place])


@pytest.mark.parametrize("role", permissions.ROLES, ids=lambda role: role.name)
class TestARole:
    def test_fits_into_the_policies_of_a_role(self, role: rights.Role) -> None:
        """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html, without white space: 10,240 in
        line, 6,144 in a managed policy.
        """
        for listed, most in ((role.rights, 10_240), (role.more, 6_144)):
            statements = [
                {
                    "Effect": "Allow",
                    "Action": right.actions,
                    "Resource": [each.replace("${AWS::AccountId}", "1" * 12) for each in right.resources],
                    "Condition": right.condition,
                }
                for right in listed
            ]
            document = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
            assert len(document) < most

    def test_changes_nothing_without_a_condition_or_a_resource(self, role: rights.Role) -> None:
        free = [
            action
            for right in role.all_rights
            for action in right.actions
            if right.resources == ("*",) and not right.condition
        ]
        known = r"(ec2|kms):Describe|servicequotas:Get|pricing:Get|ssmmessages:|ssm:UpdateInstanceInformation"
        assert all(re.match(known, action) for action in free), free

    def test_deletes_only_what_bears_the_deployments_tag(self, role: rights.Role) -> None:
        for right in role.all_rights:
            ends = re.compile("ec2:(Delete|Deregister|Terminate|Modify|Revoke|Authorize)")
            if right.parameter == restore_rights.IN_PLACE:  # instances of the user's own, where a stack opens them
                assert not any(re.match("ec2:(Delete(?!Tags)|Deregister|Terminate)", each) for each in right.actions)
            elif right.actions == ("ec2:ModifyInstanceAttribute",) and right.resources[0].endswith(":security-group/*"):
                continue  # an instance is moved to them, which must bear the tag
            elif any(ends.match(action) for action in right.actions):
                tags: Any = right.condition["StringEquals"]
                assert tags["aws:ResourceTag/mayfly:deployment"] == "${Deployment}"


def test_a_workers_session_asks_for_no_more_than_its_role_has() -> None:
    """What a session policy allows beyond the role would be of no use."""
    made = [
        policies.repository_policy("aws", "b", "p", "r", write=True),
        policies.read_policy("aws", "eu-central-1", *[policies.Snapshots(["snap-1"], {})] * 2, ["key"]),
        policies.write_policy("aws", "eu-central-1", "run"),
        policies.check_policy("aws", "eu-central-1"),
        policies.retention_policy("aws", "b", "p"),
        policies.folders_policy("aws", "b", "p", policies.MARKED),
    ]
    asked = {action for policy in made for each in policy["Statement"] for action in each["Action"]}
    assert {each.split(":")[1] for each in asked} <= allowed(permissions.WORKER)
