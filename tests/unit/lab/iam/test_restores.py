# SPDX-License-Identifier: GPL-3.0-or-later
"""The rights of runs for restores: new instances are their own; those of the user's need a stack that opens them."""

from __future__ import annotations

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import permissions
from ansible_collections.mayfly.workers.plugins.plugin_utils.restore_rights import IN_PLACE, REPLACED
from mayfly_lab.iam.callers import Caller
from mayfly_lab.iam.checks import Check, request_tags, resource_tags
from mayfly_lab.iam.engine import Engine
from mayfly_lab.iam.guard import conditions

from tests.roles import document, flags
from tests.unit.lab.iam.world import ACCOUNT, EC2, KEY, caller

OURS = {"mayfly:deployment": "ours", "mayfly:temporary": "true"}
GROUP = {"aws:autoscaling:groupName": "web"}
COMMON = conditions("us-east-1", "10.255.0.10")
ATTACH = ("ec2:AttachVolume", "ec2:DetachVolume")


def run(*true: str) -> Caller:
    """A session of the role of runs in a stack where these parameters are true."""
    values = {
        "AWS::Partition": "aws",
        "AWS::AccountId": ACCOUNT,
        "AWS::URLSuffix": "amazonaws.com",
        "Deployment": "ours",
        "Bucket": "data",
        "Prefix": "",
        "RepositoryKey": KEY,
        "RestoredRoles": "web-*",
        "SessionManagerRoleName": "mayfly-session-manager",
        "WorkerRoleName": "mayfly-worker",
        **flags("ProductionAccount", "WorkerDeployment", *true),
    }
    return caller(*document(permissions.RUN, values)["Statement"])


def allowed(engine: Engine, who: Caller, action: str, kind: str, tags: dict[str, str], **more: str | list[str]) -> bool:
    context = {**resource_tags(tags, "ec2:ResourceTag"), **more}
    [outcome] = engine.decide(who, [Check(action, f"{EC2}{kind}/x-0a", ACCOUNT, context)], COMMON)
    return outcome.allowed


@pytest.mark.parametrize("action", [*ATTACH, "ec2:StopInstances", "ec2:StartInstances", "ec2:ModifyInstanceAttribute"])
def test_an_instance_is_stopped_and_filled_that_is_the_runs_or_opened_to_it(engine: Engine, action: str) -> None:
    assert allowed(engine, run(), action, "instance", OURS)
    assert not allowed(engine, run(), action, "instance", {})
    assert allowed(engine, run(IN_PLACE), action, "instance", {"Name": "web"})
    assert not allowed(engine, run(IN_PLACE), action, "instance", GROUP), "a member of an Auto Scaling group"


@pytest.mark.parametrize("action", ATTACH)
def test_volumes_of_others_are_moved_where_that_is_opened(engine: Engine, action: str) -> None:
    assert allowed(engine, run(), action, "volume", OURS)
    assert not allowed(engine, run(), action, "volume", {})
    assert allowed(engine, run(IN_PLACE), action, "volume", {})


@pytest.mark.parametrize(("key", "may"), [(REPLACED, True), ("mayfly:temporary", False), ("Name", False)])
def test_no_volume_of_others_is_made_one_that_may_be_deleted(engine: Engine, key: str, may: bool) -> None:
    tags = request_tags({key: "true"})
    assert allowed(engine, run(IN_PLACE), "ec2:CreateTags", "volume", {}, **tags) is may
    assert not allowed(engine, run(IN_PLACE), "ec2:DeleteVolume", "volume", {REPLACED: "i-0a /dev/sdf"})


@pytest.mark.parametrize(("role", "may"), [("web-1", True), ("administrator", False)])
def test_an_instance_is_given_roles_that_are_named(engine: Engine, role: str, may: bool) -> None:
    passed = {"iam:PassedToService": "ec2.amazonaws.com"}
    check = Check("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{role}", ACCOUNT, passed)
    assert [each.allowed for each in engine.decide(run(), [check], COMMON)] == [may]
