# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planned to be copied, what the agent is told of it, and the credentials for each of the two stores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import repositories
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.jobs import BUILD, locks
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.jobs.part import Keys, Session
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import find, repository_copy
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.policies import copy_policy
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from mayfly_agent.objects import Kept
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.manifest import seal_value
from mayfly_agent.repository.seal import ResourceKey
from mayfly_agent.repository_jobs import Copied, CopyJob

from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository.points import MASTER, OTHER, RESOURCE, key_of, manifest, record, write_point

ACCOUNT, SECOND_ACCOUNT = "111122223333", "444455556666"
SETTING = {"bucket": "backups", "prefix": "mayfly", "region": "eu-central-1", "account": ACCOUNT}
SECOND = {"bucket": "copies", "prefix": "", "region": "eu-west-1", "account": SECOND_ACCOUNT}
STORE = {
    **SECOND,
    "endpoint_url": "https://s3.example.com:9000",
    "access_key_id": "example",
    "secret_access_key": "the-secret",
}
SECOND_MASTER = b"2" * 32
HOST = "example_repository"


def ids_of(hours: int) -> str:
    return manifest(hours=hours).id


def made(master: bytes) -> repositories.Opened:
    store = MemoryObjects()
    info, _ = repository.create(store, lambda identity: [keys.wrap_with_recovery_key(master, b"r" * 32, identity)])
    return repositories.Opened(store, info, {1: master})  # type: ignore[arg-type]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, repositories.Opened]:
    """Three points of one resource and one of another, by their bucket, and an empty repository."""
    both = {"backups": made(MASTER), "copies": made(SECOND_MASTER)}
    store: Any = both["backups"].store
    for hours in range(3):
        parent = None if hours == 0 else ids(hours - 1)[0]
        stored = 1000 if hours == 0 else 10
        volumes = (record(bytes_stored=stored, blocks=100, blocks_stored=100 if hours == 0 else 1, root="0" * 64),)
        written = replace(manifest(RESOURCE, hours=hours, volumes=volumes), parent=parent)
        repository.commit(store, written, key_of(RESOURCE))
    write_point(store, OTHER, {})
    for module in (vars(repository_copy), BUILD["repository_copy"].__globals__):  # type: ignore[attr-defined]
        monkeypatch.setitem(module, "open_repository", lambda _context, setting: both[setting["bucket"]])
    return both


@pytest.fixture
def context(tmp_path: Path) -> Context:
    run = Run("the-run", tmp_path, tmp_path, Report(tmp_path, "the-run"))
    role = "arn:aws:iam::1:role/worker"
    accounts = {"backup": {"id": ACCOUNT, "worker_role_arn": role}, "second": {"id": SECOND_ACCOUNT}}
    accounts["second"]["worker_role_arn"] = role
    return Context(run, HOST, False, Settings.from_call({"accounts": accounts}), None)


def ids(*hours: int) -> list[str]:
    return [manifest(hours=each).id for each in hours]


def planned(context: Context, **arguments: Any) -> dict[str, Any]:
    return repository_copy.plan(context, {"repository": SETTING, "target_repository": SECOND, **arguments})


def test_what_is_copied_is_found_with_about_its_size(opened: Any, context: Context) -> None:
    found = planned(context)
    assert (found["points"], found["chosen"], found["damaged"], found["resources_total"]) == (4, 4, 0, 2)
    assert found["resources"][RESOURCE.path]["chosen"] == [
        {"id": each, "bytes": size} for each, size in zip(ids(0, 1, 2), (1000, 10, 10), strict=True)
    ]
    # Without its parent, all of a point is copied: a hundred times what its one block has stored.
    assert planned(context, points=ids(2))["size_bytes"] == 1000


def test_a_damaged_point_is_told_and_not_copied(opened: Any, context: Context) -> None:
    opened["backups"].store.put(f"{RESOURCE.path}/marks/damaged/{ids(1)[0]}.0123abcd", b"")
    found = planned(context)
    assert (found["chosen"], found["damaged"]) == (3, 1)
    assert found["resources"][RESOURCE.path]["damaged"] == ids(1)
    opened["backups"].store.put(f"{RESOURCE.path}/marks/archived/x", b"")
    assert planned(context)["chosen"] == 4  # of marks that are not known nothing is read; the worker verifies all


def test_what_is_there_is_not_copied_again(opened: Any, context: Context) -> None:
    opened["copies"].store.put(layout.point_key(RESOURCE, ids(1)[0]), b"whatever it is")
    assert planned(context)["resources"][RESOURCE.path]["chosen"] == [{"id": ids(2)[0], "bytes": 10}]
    assert planned(context, points=ids(1))["chosen"] == 0


@pytest.mark.parametrize(
    ("said", "chosen", "told"),
    [
        ({ids_of(0): 1, "gone": 1}, [0], {0: 1}),
        ({ids_of(0): 4, ids_of(1): 5}, [0], {0: 4}),
        ({ids_of(2): 1}, [], {}),
        ("nothing of the kind", [], {}),
        (None, [], {}),
    ],
    ids=repr,
)
def test_what_could_not_be_copied_before_is_tried_again(
    opened: Any, context: Context, said: Any, chosen: list[int], told: dict[int, int]
) -> None:
    """As the newest one there says it: not what has gone since, nor what was tried often enough, nor what is there."""
    second, key = opened["copies"], layout.point_key(RESOURCE, ids_of(2))
    resource_key = second.resource_key(RESOURCE)
    sealed = seal_value({**manifest(hours=2).to_dict(), "not_copied": said}, resource_key, key)
    second.store.put(key, sealed)
    found = planned(context)["resources"].get(RESOURCE.path, {"chosen": []})
    assert [each["id"] for each in found["chosen"]] == ids(*chosen)
    planned(context, points="missing")
    part = BUILD["repository_copy"](context, {"repository": SETTING, "target_repository": SECOND, "concurrency": 4})
    (of_it,) = (each for each in part.fields["resources"] if each["id"] == RESOURCE.id)
    assert of_it["failed"] == {ids_of(hours): times for hours, times in told.items()}


def test_copies_are_locked_where_they_go(opened: Any, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for names in (vars(locks), vars(repository_copy)):
        monkeypatch.setitem(names, "open_repository", lambda _context, setting: opened[setting["bucket"]])
    wanted = {"object_lock": "compliance", "object_lock_days": 30}
    kept = Kept(versions=True, locks=False)
    monkeypatch.setattr(opened["copies"].store, "kept", lambda: kept, raising=False)
    with pytest.raises(KeeperError) as raised:
        planned(context, **wanted)
    assert raised.value.code == "NoObjectLock"
    kept = Kept(versions=True, locks=True)
    planned(context, **wanted)
    arguments = {"repository": SETTING, "target_repository": SECOND, "concurrency": 4, **wanted}
    part = BUILD["repository_copy"](context, arguments)
    assert part.fields["lock"] == {"mode": "COMPLIANCE", "seconds": 30 * 86_400}
    assert part.target == Session(SECOND_ACCOUNT, copy_policy("aws", "copies", "", write=True, lock=True))
    assert part.repository == Session(ACCOUNT, copy_policy("aws", "backups", "mayfly", write=False))
    assert layout.REPOSITORY in opened["copies"].store.locks
    assert not opened["backups"].store.locks


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"points": ["20200101T000000Z-nowhere"]}, "RestorePointMissing"),
        ({"target_repository": None}, "NoTarget"),
        ({"target_repository": SETTING}, "SameRepository"),
    ],
)
def test_what_cannot_be_copied(opened: Any, context: Context, arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(KeeperError) as raised:
        planned(context, **arguments)
    assert raised.value.code == code


@pytest.mark.parametrize("second", [SECOND, STORE], ids=["aws", "elsewhere"])
def test_the_agent_is_told_both_keys_of_every_resource(opened: Any, context: Context, second: dict[str, Any]) -> None:
    arguments = {"repository": SETTING, "target_repository": second}
    planned(context, points=ids(1, 2))
    part = BUILD["repository_copy"](context, {**arguments, "concurrency": 4})
    common = {
        "run": "the-run",
        "seconds_left": 60,
        "retry_timeout": 300,
        "resource": {"account": ACCOUNT, "region": "eu-central-1", "kind": "repository", "id": "backups.mayfly"},
        "repository": repositories.place_of(SETTING),
    }
    job = CopyJob.parse({**common, **part.fields})
    second_key = keys.resource_keys({1: SECOND_MASTER}, RESOURCE)
    assert job.resources == (Copied(RESOURCE, ResourceKey(key_of(RESOURCE)), second_key, frozenset(ids(1, 2))),)
    assert part.repository == part.source
    assert part.repository == Session(ACCOUNT, copy_policy("aws", "backups", "mayfly", write=False))
    assert (job.target.bucket, job.repository.endpoint) == ("copies", None)
    if second is SECOND:
        assert part.target == Session(SECOND_ACCOUNT, copy_policy("aws", "copies", "", write=True))
        assert (job.target.owner, job.target.endpoint) == (SECOND_ACCOUNT, None)
    else:
        assert part.target == Keys("example", "the-secret")
        assert job.target.owner is None
        assert job.target.endpoint is not None
        assert job.target.endpoint.url == "https://s3.example.com:9000"
        assert "the-secret" not in repr(part)


def test_nothing_is_sent_that_was_not_planned(opened: Any, context: Context) -> None:
    arguments = {"repository": SETTING, "target_repository": SECOND, "concurrency": 4}
    with pytest.raises(KeeperError) as raised:
        BUILD["repository_copy"](context, arguments)
    assert raised.value.code == "NotPlanned"


def test_the_keeper_knows_the_plan() -> None:
    assert find("repository_copy.plan") is repository_copy.plan
