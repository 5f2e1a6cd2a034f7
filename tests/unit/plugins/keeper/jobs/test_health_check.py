# SPDX-License-Identifier: GPL-3.0-or-later
"""What a health check would look at, and what the agent is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import repositories
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.jobs import BUILD
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import find, health_check
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.policies import MARKED, folders_policy
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from mayfly_agent.repository import keys, repository
from mayfly_agent.repository_jobs import Checked, HealthCheckJob

from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository.points import MASTER, OTHER, RESOURCE, key_of, write_point

ACCOUNT = "111122223333"
SETTING = {"bucket": "backups", "prefix": "mayfly", "region": "eu-central-1", "account": ACCOUNT}


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryObjects:
    """A point of each of two resources, the second with 1000 bytes in packs."""
    made = MemoryObjects()
    info, _ = repository.create(made, lambda identity: [keys.wrap_with_recovery_key(MASTER, b"r" * 32, identity)])
    for name in (RESOURCE, OTHER):
        write_point(made, name, {})
    made.put(f"{OTHER.path}/packs/00/{'0' * 32}", bytes(1000))
    opened = repositories.Opened(made, info, {1: MASTER})  # type: ignore[arg-type]
    for names in (vars(health_check), BUILD["health_check"].__globals__):  # type: ignore[attr-defined]
        monkeypatch.setitem(names, "open_repository", lambda _context, _setting: opened)
    return made


@pytest.fixture
def context(tmp_path: Path) -> Context:
    run = Run("the-run", tmp_path, tmp_path, Report(tmp_path, "the-run"))
    accounts = {"backup": {"id": ACCOUNT, "worker_role_arn": "arn:aws:iam::1:role/worker"}}
    return Context(run, "example_repository", False, Settings.from_call({"accounts": accounts}), None)


def planned(context: Context, mode: str = "full", percent: float = 5.0) -> dict[str, Any]:
    return health_check.plan(context, {"repository": SETTING, "mode": mode, "percent": percent})


@pytest.mark.parametrize(("mode", "percent", "read"), [("quick", 0, 0), ("sample", 5, 50), ("full", 100, 1000)])
def test_the_size_is_what_is_read(context: Context, mode: str, percent: int, read: int) -> None:
    found = planned(context, mode)
    assert (found["points"], found["resources_total"], found["bytes"]) == (2, 2, 1000)
    assert (found["percent"], found["size_bytes"]) == (percent, read)
    assert found["resources"][OTHER.path] == {"points": 1, "bytes": 1000}


@pytest.mark.parametrize("mode", ["quick", "sample", "full"])
def test_the_agent_is_told_every_resource_with_its_own_key(context: Context, mode: str) -> None:
    planned(context, mode)
    part = BUILD["health_check"](context, {"repository": SETTING, "concurrency": 4})
    common = {
        "run": "the-run",
        "seconds_left": 60,
        "retry_timeout": 300,
        "resource": {"account": ACCOUNT, "region": "eu-central-1", "kind": "repository", "id": "backups.mayfly"},
        "repository": {"bucket": "backups", "prefix": "mayfly", "region": "eu-central-1", "owner": ACCOUNT},
    }
    job = HealthCheckJob.parse({**common, **part.fields})
    assert set(job.resources) == {Checked(each, key_of(each)) for each in (RESOURCE, OTHER)}
    assert (job.mode, job.seed) == (mode, "the-run")
    assert part.repository.policy == part.source.policy == folders_policy("aws", "backups", "mayfly", MARKED)


def test_nothing_is_sent_that_was_not_planned(context: Context) -> None:
    with pytest.raises(KeeperError) as raised:
        BUILD["health_check"](context, {"repository": SETTING, "concurrency": 4})
    assert raised.value.code == "NotPlanned"


def test_the_keeper_knows_the_plan() -> None:
    assert find("health_check.plan") is health_check.plan
