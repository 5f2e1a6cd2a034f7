# SPDX-License-Identifier: GPL-3.0-or-later
"""The rights of a run for Session Manager, as the table has them: its own deployment's workers, SSH, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import permissions
from mayfly_lab.iam import named
from mayfly_lab.iam.callers import Caller
from mayfly_lab.iam.checks import Check
from mayfly_lab.iam.engine import Engine
from mayfly_lab.iam.guard import conditions
from mayfly_lab.iam.parameters import Parameters

from tests.roles import document, flags
from tests.unit.lab.iam.world import ACCOUNT, KEY, PLACE, caller

VALUES = {
    "AWS::Partition": "aws",
    "AWS::AccountId": ACCOUNT,
    "AWS::URLSuffix": "amazonaws.com",
    "Deployment": "ours",
    "Bucket": "data",
    "Prefix": "",
    "RepositoryKey": KEY,
    "SessionManagerRoleName": "mayfly-session-manager",
    "WorkerRoleName": "mayfly-worker",
    **flags("WorkerDeployment"),
}
COMMON = conditions("us-east-1", "10.255.0.10")
USER = "AROAEXAMPLE:the-run"
OURS = {"mayfly:deployment": "ours", "mayfly:temporary": "true"}
ROLES = f"arn:aws:iam::{ACCOUNT}:role"


@pytest.fixture(scope="module")
def run() -> Caller:
    """A session of the role of runs."""
    found = caller(*document(permissions.RUN, VALUES)["Statement"])
    return replace(found, context={**found.context, "aws:userid": USER})


def allowed(engine: Engine, who: Caller, *checks: Check) -> bool:
    """Whether all of that is allowed."""
    return all(each.allowed for each in engine.decide(who, list(checks), COMMON))


def start(tags: dict[str, str], document_name: str = "AWS-StartSSHSession") -> list[Check]:
    """A session to an instance with those tags."""
    asked = Parameters([("Target", "i-0a"), ("DocumentName", document_name)])
    return named.checks("ssm", "StartSession", asked, PLACE, lambda arn: tags if "instance/" in arn else {})


STARTS: list[tuple[dict[str, str], bool]] = [
    (OURS, True),
    ({**OURS, "mayfly:deployment": "theirs"}, False),
    ({"mayfly:deployment": "ours"}, False),
    ({}, False),
]


@pytest.mark.parametrize(("tags", "wanted"), STARTS, ids=str)
def test_a_session_is_begun_to_workers_of_the_deployment_alone(
    engine: Any, run: Caller, tags: Any, wanted: bool
) -> None:
    assert allowed(engine, run, *start(tags)) is wanted


@pytest.mark.parametrize("name", ["SSM-SessionManagerRunShell", "AWS-StartPortForwardingSession"])
def test_a_session_is_for_ssh_alone(engine: Any, run: Caller, name: str) -> None:
    assert not allowed(engine, run, *start(OURS, name))


@pytest.mark.parametrize("action", ["ssm:TerminateSession", "ssm:ResumeSession"])
@pytest.mark.parametrize(("owner", "wanted"), [(USER, True), ("AROAEXAMPLE:another-run", False)])
def test_only_its_own_sessions_are_ended(engine: Any, run: Caller, action: str, owner: str, wanted: bool) -> None:
    context: Any = {"ssm:resourceTag/aws:ssmmessages:session-id": owner}
    arn = f"arn:aws:ssm:us-east-1:{ACCOUNT}:session/the-run-0a"
    assert allowed(engine, run, Check(action, arn, ACCOUNT, context)) is wanted


PASSED = [
    ("mayfly-session-manager", "ec2.amazonaws.com", True),
    ("mayfly-session-manager", "lambda.amazonaws.com", False),
    ("administrator", "ec2.amazonaws.com", False),
]


@pytest.mark.parametrize(("role", "service", "wanted"), PASSED)
def test_one_role_is_passed_to_instances(engine: Any, run: Caller, role: str, service: str, wanted: bool) -> None:
    check = Check("iam:PassRole", f"{ROLES}/{role}", ACCOUNT, {"iam:PassedToService": service})
    assert allowed(engine, run, check) is wanted
