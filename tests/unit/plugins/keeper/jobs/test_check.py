# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent is told for a check, with which credentials; and that every operation of the agent has its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mayfly.workers.plugins.modules import transfer
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.jobs import BUILD
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.policies import check_policy, repository_policy
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from mayfly_agent import operations
from mayfly_agent.job import CheckJob, Port, Service

from tests.unit.plugins.keeper.fakes import worker
from tests.unit.plugins.placement.world import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_REGION,
    REGION,
    At,
    gateway,
    interface,
    picture,
    vpc,
)

HOST = "private_subnet-1"
RESOURCE = {"account": OTHER_ACCOUNT, "region": REGION, "kind": "subnet", "id": "subnet-1"}
WORLD = picture(
    vpc("vpc-0", At("subnet-0"), endpoints=[interface("sts")]),
    vpc("vpc-1", At("subnet-1"), endpoints=[interface("ebs"), gateway("s3", "rtb-subnet-1")]),
)
ARGUMENTS: dict[str, Any] = {
    "operation": "check",
    "resource": RESOURCE,
    "repository": {"bucket": "backups", "prefix": "mayfly", "region": OTHER_REGION, "account": ACCOUNT},
    "services": [
        {"name": "ebs", "region": REGION},
        {"name": "s3", "region": OTHER_REGION},
        {"name": "sts", "region": REGION},
    ],
    "ports": [{"host": "10.0.0.9", "port": 2049}],
}


class Pictures:
    def picture(self, *place: str) -> Any:
        assert place == (OTHER_ACCOUNT, REGION)
        return WORLD


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A run with a worker in subnet-1 of the other account."""
    run = Run("the-run", tmp_path, tmp_path, Report(tmp_path, "the-run"))
    run.pictures = Pictures()  # type: ignore[assignment]
    run.workers.add(worker(HOST, account=OTHER_ACCOUNT), None)  # type: ignore[arg-type]  # nothing is run on it
    role = {"worker_role_arn": "arn:aws-cn:iam::1:role/worker"}
    accounts = {"backup": {"id": ACCOUNT, **role}, "production": {"id": OTHER_ACCOUNT, **role}}
    return Context(run, HOST, False, Settings.from_call({"accounts": accounts}), RESOURCE)


def test_the_agent_understands_what_it_is_told(context: Context) -> None:
    common = {
        "run": "the-run",
        "seconds_left": 60,
        "resource": RESOURCE,
        "repository": {"bucket": "backups", "prefix": "mayfly", "region": OTHER_REGION, "owner": ACCOUNT},
    }
    job = CheckJob.parse({**common, **BUILD["check"](context, ARGUMENTS).fields})
    assert job.services == (
        Service("ebs", REGION, "ebs.eu-central-1.amazonaws.com", private=True),
        Service("s3", OTHER_REGION, "s3.us-east-1.amazonaws.com"),
        Service("sts", REGION, "sts.eu-central-1.amazonaws.com"),  # the endpoint is another VPC's
    )
    assert job.ports == (Port("10.0.0.9", 2049),)
    assert 0 < job.retry_timeout < 60


def test_its_credentials_are_for_reading_what_is_not_there_and_what_the_repository_is(context: Context) -> None:
    part = BUILD["check"](context, ARGUMENTS)
    path = f"{OTHER_ACCOUNT}/{REGION}/subnet/subnet-1"
    assert (part.repository.account, part.source.account) == (ACCOUNT, OTHER_ACCOUNT)
    assert part.repository.policy == repository_policy("aws-cn", "backups", "mayfly", path, write=False)
    assert part.source.policy == check_policy("aws-cn", REGION)
    assert "resource_key" not in part.fields


@pytest.mark.parametrize("more", [{"services": []}, {"services": None, "ports": []}], ids=str)
def test_something_has_to_be_checked(context: Context, more: dict[str, Any]) -> None:
    with pytest.raises(KeeperError) as raised:
        BUILD["check"](context, {**ARGUMENTS, "ports": None, **more})
    assert raised.value.code == "NothingToCheck"
    BUILD["check"](context, {**ARGUMENTS, "services": None})  # a port is something


def test_it_is_a_worker_that_is_checked(context: Context) -> None:
    context.run.workers._live.clear()
    with pytest.raises(KeeperError) as raised:
        BUILD["check"](context, ARGUMENTS)
    assert raised.value.code == "NoWorker"


def test_every_operation_of_the_agent_can_be_asked_for() -> None:
    documented = yaml.safe_load(transfer.DOCUMENTATION)["options"]["operation"]["choices"]
    assert list(BUILD) == documented
    assert list(BUILD) == list(operations.OPERATIONS)
