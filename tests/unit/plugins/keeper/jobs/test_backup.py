# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent is told for a backup: the restore point that it goes on from, and the snapshots that were kept."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import repositories
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.jobs import BUILD
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings
from mayfly_agent.job import BackupJob, LockJob
from mayfly_agent.repository import layout, repository
from mayfly_agent.repository.manifest import open_with_value, seal_value
from mayfly_agent.repository.repository import RepositoryInfo

from tests.unit.agent.lines import KEY, NAME, Line, Points, volume
from tests.unit.agent.memory import MemoryObjects
from tests.unit.plugins.keeper.fakes import Clients, Ec2, Script

RESOURCE = {"account": NAME.account, "region": NAME.region, "kind": NAME.kind, "id": NAME.id, "name": "web-1"}
ARGUMENTS: dict[str, Any] = {
    "operation": "backup",
    "resource": RESOURCE,
    "repository": {"bucket": "backups", "prefix": "mayfly", "region": NAME.region, "account": NAME.account},
    "concurrency": 4,
}
READER = "111111111111"
TAKEN = datetime(2026, 11, 25, 1, 30, tzinfo=UTC)


class Opened(repositories.Opened):
    def resource_key(self, resource: Any) -> repositories.ResourceKey:
        assert resource == NAME
        return repositories.ResourceKey(KEY)


@pytest.fixture
def points(tmp_path: Path) -> Points:
    """Two restore points of vol-1."""
    store = MemoryObjects()
    repository.create(store, lambda _identity: [])
    made = Points(store, tmp_path)
    line = Line({"snap-0": {0: 1}, "snap-1": {0: 2}})
    for each in line.snapshots:
        made.make(line, volume(each))
    return made


def kept(volume_id: str, snapshot: str, point: str, **more: str) -> dict[str, Any]:
    """A reference snapshot, as EC2 describes it."""
    common = {"deployment": "default", "resource": NAME.id, "repository": "of-this-id", "reference": point}
    tags = [{"Key": f"mayfly:{key}", "Value": value} for key, value in {**common, **more}.items() if value]
    return {"VolumeId": volume_id, "SnapshotId": snapshot, "Tags": tags}


class World:
    """A run that has taken snap-2 of vol-1 and snap-8 of vol-9."""

    def __init__(self, folder: Path, points: Points) -> None:
        self.ids = sorted(repository.list_points(points.store, NAME))
        self.snapshots: list[dict[str, Any]] = []
        self.run = Run("the-run", folder, folder, Report(folder, "the-run"))
        scripts = {"describe_snapshots": Script({"Snapshots": [{"StartTime": TAKEN}]})}
        self.run.clients = Clients(lambda: Ec2(things={"describe_snapshots": self.snapshots}, **scripts))  # type: ignore[assignment]
        opened = Opened(points.store, RepositoryInfo("of-this-id", ""), {})  # type: ignore[arg-type]
        self.run.once("repository backups/mayfly", lambda: opened)
        role = {"worker_role_arn": "arn:aws:iam::1:role/worker"}
        accounts = {"production": {"id": NAME.account, **role}, "backup": {"id": READER, **role}}
        settings = Settings.from_call({"accounts": accounts})
        self.context = Context(self.run, "web-1", False, settings, RESOURCE)
        self.context.state.instance = {}
        self.context.state.volumes = [
            {"volume_id": each, "snapshot_id": snapshot, "device": "/dev/xvdf", "size_gib": 4, "attributes": {}}
            for each, snapshot in (("vol-1", "snap-2"), ("vol-9", "snap-8"))
        ]

    def told(self, **more: Any) -> tuple[BackupJob, dict[str, list[str]]]:
        """The job, and the snapshots that its session may do something with, by the last of these actions."""
        part = BUILD["backup"](self.context, {**ARGUMENTS, **more})
        place = {"bucket": "backups", "prefix": "mayfly", "region": NAME.region}
        common = {"run": "the-run", "seconds_left": 60, "retry_timeout": 9, "resource": RESOURCE, "repository": place}
        rights = {
            each["Action"][-1]: [name.rpartition("/")[2] for name in each["Resource"]]
            for each in part.source.policy["Statement"]
        }
        return BackupJob.parse({**common, **part.fields}), rights


@pytest.fixture
def world(tmp_path: Path, points: Points) -> World:
    return World(tmp_path, points)


def test_a_backup_goes_on_from_the_newest_point_and_compares_with_its_references(world: World) -> None:
    first, second = world.ids
    world.snapshots += [
        kept("vol-1", "snap-1", second),
        kept("vol-1", "snap-0", first),  # a run was killed before it went
        kept("vol-7", "snap-7", second),  # of a volume that is not there any more
        kept("vol-9", "snap-x", second, repository="another"),
        kept("vol-9", "snap-y", second, deployment="another"),
        kept("vol-9", "snap-z", second, resource="i-2"),
    ]
    job, rights = world.told()
    assert job.parent == second
    assert [each.parent_snapshot_id for each in job.volumes] == ["snap-1", ""]
    assert rights == {"ebs:GetSnapshotBlock": ["snap-2", "snap-8"], "ebs:ListChangedBlocks": ["snap-1"]}
    assert world.context.report.as_dict()["parent"] == second


class TestSharing:
    """What a worker of another account reads is shared with it."""

    @pytest.fixture
    def shared(self, world: World, monkeypatch: pytest.MonkeyPatch) -> World:
        world.snapshots.append(kept("vol-1", "snap-1", world.ids[-1]))
        monkeypatch.setattr(world.run.workers, "get", lambda _: SimpleNamespace(account=READER))
        return world

    def test_the_set_and_its_references_are_shared_and_read_with_the_workers_own_rights(self, shared: World) -> None:
        part = BUILD["backup"](shared.context, {**ARGUMENTS, "snapshot_access": "share"})
        assert part.source.account == READER
        calls = shared.run.clients.client(NAME.account, NAME.region).asked
        done = [(call, words.get("SnapshotId"), words.get("CreateVolumePermission")) for call, words in calls]
        added = {"Add": [{"UserId": READER}]}
        shared_with = [("modify_snapshot_attribute", each, added) for each in ("snap-1", "snap-2", "snap-8")]
        assert [each for each in done if "describe" not in each[0]] == [("create_tags", None, None), *shared_with]
        assert shared.context.state.shared

    def test_nothing_is_shared_with_its_own_account_nor_where_a_session_reads(
        self, shared: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert BUILD["backup"](shared.context, ARGUMENTS).source.account == NAME.account
        monkeypatch.setattr(shared.run.workers, "get", lambda _: SimpleNamespace(account=NAME.account))
        BUILD["backup"](shared.context, {**ARGUMENTS, "snapshot_access": "share"})
        calls = [call for call, _ in shared.run.clients.client(NAME.account, NAME.region).asked]
        assert "modify_snapshot_attribute" not in calls

    def test_more_than_a_policy_can_name_are_not_shared(self, shared: World) -> None:
        shared.context.state.volumes *= 30
        with pytest.raises(KeeperError, match="more than one session policy can name") as caught:
            BUILD["backup"](shared.context, {**ARGUMENTS, "snapshot_access": "share"})
        assert "mayfly_snapshot_access" in caught.value.remedy
        assert not shared.context.state.shared


def test_a_reference_of_another_point_is_not_compared_with(world: World) -> None:
    world.snapshots.append(kept("vol-1", "snap-0", world.ids[0]))
    job, rights = world.told()
    assert (job.parent, job.volumes[0].parent_snapshot_id) == (world.ids[1], "")
    assert list(rights) == ["ebs:GetSnapshotBlock"]


def test_a_full_backup_goes_on_from_nothing(world: World) -> None:
    world.snapshots.append(kept("vol-1", "snap-1", world.ids[1]))
    job, rights = world.told(full=True)
    assert (job.parent, job.volumes[0].parent_snapshot_id) == ("", "")
    assert list(rights) == ["ebs:GetSnapshotBlock"]
    assert world.context.report.as_dict()["parent"] is None


def test_so_does_the_first_one(world: World, points: Points) -> None:
    points.store.objects = {key: body for key, body in points.store.objects.items() if "/points/" not in key}
    assert world.told()[0].parent == ""


def test_a_damaged_point_is_passed_over_and_told(world: World, points: Points) -> None:
    key = layout.point_key(NAME, world.ids[1])
    body = points.store.objects[key]
    points.store.objects[key] = body[:-1] + bytes([body[-1] ^ 1])
    assert world.told()[0].parent == world.ids[0]
    (told,) = world.context.report.as_dict()["errors"]
    assert told["code"] == "RestorePointDamaged"
    assert f"web-1: the backup does not go on from {world.ids[1]}" in told["message"]
    world.context.report.ended("Succeeded")
    assert world.context.report.status == "Warning"


def test_a_reference_that_knows_the_points_manifest_is_compared_with(world: World, points: Points) -> None:
    digest = hashlib.sha256(points.store.objects[layout.point_key(NAME, world.ids[1])]).hexdigest()
    world.snapshots.append(kept("vol-1", "snap-1", world.ids[1], manifest=digest))
    assert world.told()[0].volumes[0].parent_snapshot_id == "snap-1"
    assert world.context.report.as_dict()["errors"] == []


def test_a_later_generation_is_the_manifest_that_was_written(world: World, points: Points) -> None:
    key = layout.point_key(NAME, world.ids[1])
    body = points.store.objects.pop(key)
    digest = hashlib.sha256(body).hexdigest()
    _, value = open_with_value(body, KEY, key)
    points.store.objects[f"{key}.3"] = seal_value({**value, "first": digest}, KEY, f"{key}.3")
    world.snapshots.append(kept("vol-1", "snap-1", world.ids[1], manifest=digest))
    assert world.told()[0].parent == world.ids[1]
    assert world.context.report.as_dict()["errors"] == []


def test_a_point_that_is_another_one_than_was_written_is_told_and_nothing_goes_on_from_it(
    world: World, points: Points
) -> None:
    world.snapshots.append(kept("vol-1", "snap-1", world.ids[1], manifest="0" * 64))
    job, _rights = world.told()
    assert (job.parent, job.volumes[0].parent_snapshot_id) == (world.ids[0], "")
    (told,) = world.context.report.as_dict()["errors"]
    assert told["code"] == "RestorePointChanged"
    assert world.ids[1] in told["message"]


def test_a_bucket_that_was_set_back_is_told(world: World, points: Points) -> None:
    """As it was before the newest point: what is there is genuine, and older than what the snapshots know."""
    first, second = world.ids
    key = layout.point_key(NAME, second)
    digest = hashlib.sha256(points.store.objects.pop(key)).hexdigest()
    world.snapshots.append(kept("vol-1", "snap-1", second, manifest=digest))
    job, _rights = world.told()
    assert (job.parent, job.volumes[0].parent_snapshot_id) == (first, "")
    (told,) = world.context.report.as_dict()["errors"]
    assert told["code"] == "RepositorySetBack"
    assert second in told["message"]
    world.context.report.ended("Succeeded")
    assert world.context.report.status == "Warning"


def test_a_lock_is_told_with_the_right_to_it_and_the_repository_is_locked_first(world: World, points: Points) -> None:
    assert world.told()[0].lock is None
    assert points.store.locks == {}
    job, _rights = world.told(object_lock="compliance", object_lock_days=30)
    assert job.lock == LockJob("COMPLIANCE", 30 * 86_400)
    assert layout.REPOSITORY in points.store.locks


def test_a_lock_that_ends_before_the_run_is_refused(world: World) -> None:
    with pytest.raises(KeeperError, match="mayfly_object_lock_days is 0"):
        world.told(object_lock="governance", object_lock_days=0)


def test_keys_that_were_set_back_stop_the_backup(world: World, points: Points) -> None:
    points.key = b"n" * 32
    points.make(Line({"snap-2": {0: 2}}), volume("snap-2"))
    with pytest.raises(repositories.AgentError) as raised:
        world.told()
    assert raised.value.code == "RepositoryKeyMissing"


def test_a_store_that_cannot_be_read_is_no_reason_for_a_full_backup(world: World, points: Points) -> None:
    def get(_key: str) -> Any:
        raise repositories.AgentError("AccessDenied", "S3 refused it.")

    points.store.get = get  # type: ignore[method-assign]
    with pytest.raises(repositories.AgentError, match="refused"):
        world.told()
