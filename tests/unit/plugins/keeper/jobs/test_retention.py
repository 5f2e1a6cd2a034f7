# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planned for a repository, and what the agent is told of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import repositories
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.jobs import BUILD
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import find, retention
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.policies import retention_policy
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from mayfly_agent.objects import Lock
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.manifest import seal_manifest
from mayfly_agent.repository_jobs import Chosen, RetentionJob

from tests.unit.agent.memory import NOW, MemoryObjects
from tests.unit.agent.repository.points import MASTER, OTHER, RESOURCE, key_of, manifest, record, write_point

ACCOUNT = "111122223333"
SETTING = {"bucket": "backups", "prefix": "mayfly", "region": "eu-central-1", "account": ACCOUNT}
HOST = "example_repository"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryObjects:
    """Three points of one resource and one of another."""
    made = MemoryObjects()
    info, _ = repository.create(made, lambda identity: [keys.wrap_with_recovery_key(MASTER, b"r" * 32, identity)])
    for hours in range(3):
        written = manifest(RESOURCE, hours=hours, volumes=(record(bytes_stored=1000 + hours),))
        repository.commit(made, written, key_of(RESOURCE))
    write_point(made, OTHER, {})
    opened = repositories.Opened(made, info, {1: MASTER})  # type: ignore[arg-type]
    for module in (retention, BUILD["retention"].__globals__):  # type: ignore[attr-defined]
        names = module if isinstance(module, dict) else vars(module)
        monkeypatch.setitem(names, "open_repository", lambda _context, _setting: opened)
    return made


@pytest.fixture
def context(tmp_path: Path) -> Context:
    run = Run("the-run", tmp_path, tmp_path, Report(tmp_path, "the-run"))
    accounts = {"backup": {"id": ACCOUNT, "worker_role_arn": "arn:aws:iam::1:role/worker"}}
    return Context(run, HOST, False, Settings.from_call({"accounts": accounts}), None)


def ids(*hours: int) -> list[str]:
    return [manifest(hours=each).id for each in hours]


def planned(context: Context, **rules: Any) -> dict[str, Any]:
    return retention.plan(context, {"repository": SETTING, **rules})


def test_what_goes_is_found_with_its_size(store: MemoryObjects, context: Context) -> None:
    found = planned(context, count=1)
    assert (found["points"], found["remove"], found["size_bytes"], found["resources_total"]) == (4, 2, 2001, 2)
    (one,) = found["resources"].values()
    assert one["remove"] == [{"id": each, "bytes": 1000 + hours} for hours, each in enumerate(ids(0, 1))]


def test_marks_count(store: MemoryObjects, context: Context) -> None:
    store.put(f"{RESOURCE.path}/marks/keep/{ids(0)[0]}", b"")
    store.put(f"{RESOURCE.path}/marks/damaged/{ids(2)[0]}.0123abcd", b"")
    found = planned(context, count=1)
    assert found["remove"] == 0


def test_what_is_locked_is_told_and_stays(store: MemoryObjects, context: Context) -> None:
    """Until the lock ends, by the store's own clock, or somebody lifts it."""
    until = {0: NOW + timedelta(seconds=1), 1: NOW}
    for hours, end in until.items():
        key = layout.point_key(RESOURCE, ids(hours)[0])
        locked = manifest(RESOURCE, hours=hours, locked_until=end.isoformat(), lock_mode="COMPLIANCE")
        store.objects[key] = seal_manifest(locked, key_of(RESOURCE), key)
        store.locks[key] = Lock(end, "COMPLIANCE")
    found = planned(context, count=1)
    assert (found["remove"], found["locked"]) == (1, 1)
    (one,) = found["resources"].values()
    assert [each["id"] for each in one["remove"]] == ids(1)
    assert one["locked"] == [{"id": ids(0)[0], "until": until[0].isoformat(), "mode": "COMPLIANCE"}]
    assert [each["remove"] for each in context.state.retention or ()] == [ids(1), []]
    store.locks.clear()
    assert planned(context, count=1)["remove"] == 2


def test_a_mark_that_is_not_known_protects_its_resource(store: MemoryObjects, context: Context) -> None:
    store.put(f"{RESOURCE.path}/marks/archived/x", b"")
    found = planned(context, count=1)
    assert (found["points"], found["remove"]) == (4, 0)


def test_a_point_that_cannot_be_read_has_no_size(store: MemoryObjects, context: Context) -> None:
    store.objects[layout.point_key(RESOURCE, ids(0)[0])] = b"x"
    (one,) = planned(context, count=1)["resources"].values()
    assert [each["bytes"] for each in one["remove"]] == [None, 1001]


def test_the_agent_is_told_every_resource_with_its_own_key(store: MemoryObjects, context: Context) -> None:
    planned(context, daily=1)
    part = BUILD["retention"](context, {"repository": SETTING, "live_share": 60, "concurrency": 4})
    common = {
        "run": "the-run",
        "seconds_left": 60,
        "retry_timeout": 300,
        "resource": {"account": ACCOUNT, "region": "eu-central-1", "kind": "repository", "id": "backups.mayfly"},
        "repository": {"bucket": "backups", "prefix": "mayfly", "region": "eu-central-1", "owner": ACCOUNT},
    }
    job = RetentionJob.parse({**common, **part.fields})
    assert set(job.resources) == {
        Chosen(RESOURCE, key_of(RESOURCE), frozenset(ids(0, 1))),
        Chosen(OTHER, key_of(OTHER)),
    }
    assert part.repository.policy == part.source.policy == retention_policy("aws", "backups", "mayfly")


def test_nothing_is_sent_that_was_not_planned(store: MemoryObjects, context: Context) -> None:
    with pytest.raises(KeeperError) as raised:
        BUILD["retention"](context, {"repository": SETTING, "live_share": 60, "concurrency": 4})
    assert raised.value.code == "NotPlanned"


def test_without_a_rule_nothing_is_planned(store: MemoryObjects, context: Context) -> None:
    with pytest.raises(KeeperError) as raised:
        planned(context, count=0)
    assert raised.value.code == "NoRetention"
    with pytest.raises(SettingError, match="mayfly_retention_time_zone"):
        planned(context, count=1, time_zone="Nowhere")


def test_the_keeper_knows_the_plan() -> None:
    assert find("retention.plan") is retention.plan
