# SPDX-License-Identifier: GPL-3.0-or-later
"""What would be archived or brought back, what the agent is told of it, and how sets are retrieved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import repositories
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.archives import Packs
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.jobs import BUILD, locks
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import archive, find
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.policies import (
    ARCHIVED,
    BROUGHT_BACK,
    folders_policy,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from botocore.exceptions import ClientError
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.layout import ResourceName
from mayfly_agent.repository_jobs import Archived, ArchiveJob

from tests.unit.agent.memory import MemoryObjects, set_in
from tests.unit.agent.repository.points import MASTER, OTHER, RESOURCE, key_of, manifest, write_point

ACCOUNT = "111122223333"
SETTING = {"bucket": "backups", "prefix": "mayfly", "region": "eu-central-1", "account": ACCOUNT}
ARGUMENTS = {
    "repository": SETTING,
    "action": "archive",
    "point": "latest",
    "resources": [],
    "storage_class": "GLACIER",
    "tier": "standard",
    "days": 3,
    "concurrency": 4,
}
IDS = [manifest(hours=hours).id for hours in range(3)]


class Archives(MemoryObjects):
    """What is in a set is in its class."""

    def list(self, prefix: str, *, versions: bool = False) -> Any:
        for each in super().list(prefix, versions=versions):
            yield replace(each, storage_class="GLACIER") if "/archives/" in each.key else each


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Archives:
    """Three points of one resource and one of another, each with a volume of two blocks."""
    made = Archives()
    info, _ = repository.create(made, lambda identity: [keys.wrap_with_recovery_key(MASTER, b"r" * 32, identity)])
    for hours in range(3):
        write_point(made, RESOURCE, {"vol-1": {0: 1, 5: 2}}, hours=hours)
    write_point(made, OTHER, {"vol-1": {0: 1, 5: 2}})
    opened = repositories.Opened(made, info, {1: MASTER})  # type: ignore[arg-type]
    for names in (vars(archive), BUILD["archive"].func.__globals__):  # type: ignore[attr-defined]
        monkeypatch.setitem(names, "open_repository", lambda _context, _setting: opened)
    return made


@pytest.fixture
def context(tmp_path: Path) -> Context:
    run = Run("the-run", tmp_path, tmp_path, Report(tmp_path, "the-run"))
    accounts = {"backup": {"id": ACCOUNT, "worker_role_arn": "arn:aws:iam::1:role/worker"}}
    return Context(run, "example_repository", False, Settings.from_call({"accounts": accounts}), None)


def put_set(store: Archives, hours: int, name: ResourceName = RESOURCE, *, whole: bool = True) -> str:
    """A set with a pack of 1000 bytes, and its name."""
    made = layout.archive_name(IDS[hours], "0123abcd")
    inside = set_in(store, layout.archive_folder(name, made))
    inside.put(layout.pack_key(name, bytes(16)), bytes(1000))
    if whole:
        repository.commit(inside, manifest(name, hours=hours), key_of(name))
    return made


def planned(context: Context, **arguments: Any) -> dict[str, Any]:
    return archive.plan(context, {**ARGUMENTS, **arguments})


def names(found: dict[str, Any]) -> dict[str, str]:
    return {each["resource"]: each["name"] for each in found["points"]}


class TestArchiving:
    def test_takes_the_newest_of_each_resource(self, store: Archives, context: Context) -> None:
        found = planned(context)
        assert names(found) == {RESOURCE.path: IDS[2], OTHER.path: IDS[0]}
        assert (found["points_total"], found["size_bytes"], found["known"]) == (2, 4 << 19, 0)
        assert found["cost"]["days_least"] == 90
        assert (found["date"], "us-east-1" in found["source"]) == ("2026-11", True)

    def test_does_not_take_a_damaged_one_for_the_newest(self, store: Archives, context: Context) -> None:
        store.put(layout.damaged_key(RESOURCE, IDS[2], "0123abcd"), b"")
        assert names(planned(context, resources=[RESOURCE.id])) == {RESOURCE.path: IDS[1]}

    @pytest.mark.parametrize(
        ("point", "hours"), [(IDS[1], 1), ("2026-11-24T03:00:00Z", 1), ("2026-11-24T04:30:00+01:00", 2)]
    )
    def test_takes_the_one_that_is_named(self, store: Archives, context: Context, point: str, hours: int) -> None:
        assert names(planned(context, point=point, resources=[RESOURCE.id])) == {RESOURCE.path: IDS[hours]}

    @pytest.mark.parametrize("point", ["2020-01-01", "yesterday"])
    def test_names_the_setting_when_there_is_no_such(self, store: Archives, context: Context, point: str) -> None:
        with pytest.raises(KeeperError, match=point) as raised:
            planned(context, point=point)
        assert (raised.value.code, "mayfly_archive_point" in raised.value.remedy) == ("RestorePointMissing", True)

    @pytest.mark.parametrize("action", ["archive", "return"])
    def test_is_not_for_stores_that_are_not_awss(self, store: Archives, context: Context, action: str) -> None:
        elsewhere = {**SETTING, "endpoint_url": "https://s3.example.com"}
        with pytest.raises(KeeperError, match=r"s3\.example\.com") as raised:
            planned(context, action=action, repository=elsewhere)
        assert (raised.value.code, "mayfly_copy_repository" in raised.value.remedy) == ("NotAws", True)
        assert store.lists == []

    def test_does_not_take_what_is_archived_already(self, store: Archives, context: Context) -> None:
        put_set(store, 2)
        put_set(store, 0, OTHER, whole=False)  # of a run that was killed
        found = planned(context)
        assert (names(found), found["known"]) == ({OTHER.path: IDS[0]}, 1)
        assert planned(context, resources=[RESOURCE.id])["points_total"] == 0

    def test_tells_the_agent(self, store: Archives, context: Context) -> None:
        planned(context)
        assert job(context, "archive").points == (
            Archived(RESOURCE, key_of(RESOURCE), IDS[2]),
            Archived(OTHER, key_of(OTHER), IDS[0]),
        )
        part = BUILD["archive"](context, ARGUMENTS)
        assert part.repository.policy == folders_policy("aws", "backups", "mayfly", ARCHIVED)

    def test_tells_it_how_sets_are_locked(
        self, store: Archives, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = BUILD["archive"].func.__globals__["open_repository"](context, SETTING)  # type: ignore[attr-defined]
        monkeypatch.setattr(locks, "open_repository", lambda _context, _setting: opened)
        planned(context)
        wanted = {**ARGUMENTS, "object_lock": "governance", "object_lock_days": 30}
        part = BUILD["archive"](context, wanted)
        assert part.fields["lock"] == {"mode": "GOVERNANCE", "seconds": 30 * 86_400}
        assert part.repository.policy == folders_policy("aws", "backups", "mayfly", ARCHIVED, lock=True)
        with pytest.raises(KeeperError, match="mayfly_object_lock_days"):
            BUILD["archive"](context, {**wanted, "object_lock_days": 0})

    @pytest.mark.parametrize("operation", ["archive", "archive_return"])
    def test_tells_it_nothing_that_was_not_planned(self, store: Archives, context: Context, operation: str) -> None:
        with pytest.raises(KeeperError) as raised:
            BUILD[operation](context, ARGUMENTS)
        assert raised.value.code == "NotPlanned"


class TestTheWayBack:
    def test_takes_the_set_of_a_point_that_is_gone(self, store: Archives, context: Context) -> None:
        made = put_set(store, 1)
        del store.objects[layout.point_key(RESOURCE, IDS[1])]
        found = planned(context, action="return", point=IDS[1])
        assert (names(found), found["size_bytes"], found["cost"]["hours"]) == ({RESOURCE.path: made}, 1000, 5)
        assert job(context, "archive_return").points == (Archived(RESOURCE, key_of(RESOURCE), made),)
        part = BUILD["archive_return"](context, ARGUMENTS)
        assert part.repository.policy == folders_policy("aws", "backups", "mayfly", BROUGHT_BACK)

    def test_takes_nothing_that_is_there(self, store: Archives, context: Context) -> None:
        put_set(store, 1)
        found = planned(context, action="return")
        assert (found["points_total"], found["known"]) == (0, 1)

    def test_takes_what_is_there_but_damaged(self, store: Archives, context: Context) -> None:
        put_set(store, 1)
        store.put(layout.damaged_key(RESOURCE, IDS[1], "0123abcd"), b"")
        assert planned(context, action="return")["points_total"] == 1

    def test_takes_no_set_that_is_not_whole(self, store: Archives, context: Context) -> None:
        put_set(store, 1, whole=False)
        with pytest.raises(KeeperError, match="no archived restore point"):
            planned(context, action="return")

    def test_refuses_a_tier_that_its_class_does_not_know(
        self, store: Archives, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_set(store, 1)
        del store.objects[layout.point_key(RESOURCE, IDS[1])]
        deep: Any = lambda prefix, versions=False: (  # noqa: E731
            replace(each, storage_class="DEEP_ARCHIVE") for each in MemoryObjects.list(store, prefix)
        )
        monkeypatch.setattr(store, "list", deep)
        with pytest.raises(KeeperError) as raised:
            planned(context, action="return", tier="expedited")
        assert raised.value.code == "WrongTier"


def job(context: Context, operation: str) -> ArchiveJob:
    part = BUILD[operation](context, ARGUMENTS)
    common = {
        "run": "the-run",
        "seconds_left": 60,
        "retry_timeout": 300,
        "resource": {"account": ACCOUNT, "region": "eu-central-1", "kind": "repository", "id": "backups.mayfly"},
        "repository": {"bucket": "backups", "prefix": "mayfly", "region": "eu-central-1", "owner": ACCOUNT},
    }
    return ArchiveJob.parse({**common, **part.fields})


class Glacier:
    """A client of S3: copies are there after so many questions about each."""

    def __init__(self, questions: int) -> None:
        self.questions = questions
        self.asked: dict[str, int] = {}

    def restore_object(self, Key: str, **_options: Any) -> dict[str, Any]:
        if Key in self.asked:
            error = {"Error": {"Code": "RestoreAlreadyInProgress"}, "ResponseMetadata": {"HTTPStatusCode": 409}}
            raise ClientError(error, "RestoreObject")  # type: ignore[arg-type]
        self.asked[Key] = 0
        return {"ResponseMetadata": {"HTTPStatusCode": 202}}

    def head_object(self, Key: str, **_options: Any) -> dict[str, Any]:
        self.asked[Key] += 1
        return {"Restore": f'ongoing-request="{"true" if self.asked[Key] <= self.questions else "false"}"'}


class TestRetrieval:
    @pytest.fixture
    def glacier(self, store: Archives, context: Context, monkeypatch: pytest.MonkeyPatch) -> Glacier:
        """After the plan of a return."""
        made = Glacier(1)
        put_set(store, 1)
        del store.objects[layout.point_key(RESOURCE, IDS[1])]
        planned(context, action="return")
        monkeypatch.setattr(context.run.clients, "client", lambda *_names: made)
        monkeypatch.setattr(archive, "_PAUSE_SECONDS", 0.01)
        return made

    def retrieve(self, context: Context, wait: float) -> dict[str, Any]:
        return archive.retrieve(context, {**ARGUMENTS, "wait": wait})

    def test_asks_for_each_pack_once_and_waits(self, glacier: Glacier, context: Context) -> None:
        assert self.retrieve(context, 5) == {"changed": True, "needed": True, "unasked": 0, "waiting": 0}
        assert list(glacier.asked) == [
            f"mayfly/{RESOURCE.path}/archives/{IDS[1]}.0123abcd/{layout.pack_key(RESOURCE, bytes(16))}"
        ]
        assert self.retrieve(context, 0)["needed"]

    def test_warns_when_nobody_waits(self, glacier: Glacier, context: Context) -> None:
        assert self.retrieve(context, 0) == {"changed": True, "needed": False, "unasked": 0, "waiting": 1}
        (warning,) = context.report.as_dict()["errors"]
        assert warning["code"] == "NotRetrieved"

    def test_goes_on_where_another_run_was(self, glacier: Glacier, context: Context) -> None:
        self.retrieve(context, 0)
        planned(context, action="return")
        assert self.retrieve(context, 5) == {"changed": False, "needed": True, "unasked": 0, "waiting": 0}

    def test_is_nothing_to_do_for_an_archive(self, store: Archives, context: Context) -> None:
        planned(context)
        assert self.retrieve(context, 0) == {"changed": False, "needed": True, "unasked": 0, "waiting": 0}

    def test_needs_no_worker_for_nothing(self, store: Archives, context: Context) -> None:
        put_set(store, 2)
        planned(context, resources=[RESOURCE.id])
        assert not self.retrieve(context, 0)["needed"]

    def test_asks_for_nothing_in_check_mode(self, glacier: Glacier, context: Context) -> None:
        assert self.retrieve(replace(context, check=True), 0)["changed"]
        assert glacier.asked == {}

    def test_asks_in_the_words_of_s3(self) -> None:
        seen: dict[str, Any] = {}

        class Client:
            def restore_object(self, **options: Any) -> dict[str, Any]:
                seen.update(options)
                return {"ResponseMetadata": {"HTTPStatusCode": 200}}

        assert not Packs(Client(), {"Bucket": "b"}, "bulk", 7, lambda _seconds: None).ask_for("k")
        request = {"Days": 7, "GlacierJobParameters": {"Tier": "Bulk"}}
        assert seen == {"Bucket": "b", "Key": "k", "RestoreRequest": request}


def test_the_keeper_knows_both() -> None:
    assert (find("archive.plan"), find("archive.retrieve")) == (archive.plan, archive.retrieve)
