# SPDX-License-Identifier: GPL-3.0-or-later
"""One sweep of the reaper: what it removes, what it leaves alone, and that one failure does not stop the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import reaper
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Account, Settings
from botocore.parsers import ResponseParserError

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION, UNREACHABLE, Clients, Ec2, Script, refused, tags

OTHER = "444455556666"
BUCKET = {"account": ACCOUNT, "region": REGION, "bucket": "b", "prefix": "p"}
pytestmark = pytest.mark.usefixtures("quick")


def ours(ends: timedelta = -timedelta(hours=2), **more: str) -> list[dict[str, str]]:
    """Tags of a temporary thing whose run's lease ends so much after now."""
    lease = (datetime.now(UTC) + ends).strftime("%Y-%m-%dT%H:%M:%SZ")
    fixed = {"mayfly__deployment": "default", "mayfly__temporary": "true", "mayfly__run": "r-1"}
    return tags(**{**fixed, "mayfly__lease-ends": lease, **more})


def volumes(*tagged: list[dict[str, str]]) -> dict[str, list[dict[str, Any]]]:
    """Volumes vol-0, vol-1, … with these tags."""
    found = [{"VolumeId": f"vol-{n}", "State": "available", "Tags": each} for n, each in enumerate(tagged)]
    return {"describe_volumes": found}


class S3:
    """A bucket with unfinished uploads, begun so long ago; the ending of ``stays`` is refused."""

    listing: Any = None

    def __init__(self, stays: str = "", **begun: timedelta) -> None:
        now = datetime.now(UTC)
        self.uploads = [{"Key": f"p/{key}", "UploadId": key, "Initiated": now - age} for key, age in begun.items()]
        self.stays = stays
        self.aborted: list[str] = []

    def get_paginator(self, _call: str) -> Any:
        if self.listing is not None:
            self.listing()
        return SimpleNamespace(paginate=lambda **_where: [{"Uploads": self.uploads}, {}])

    def abort_multipart_upload(self, **request: Any) -> None:
        if request["UploadId"] == self.stays:
            raise refused("AccessDenied", 403)
        self.aborted.append(request["UploadId"])


class Accounts(Clients):
    """Two accounts, each with an EC2 of its own, and a bucket."""

    def __init__(self, s3: S3 | None = None, **ec2: Ec2) -> None:
        super().__init__()
        self.s3 = s3
        self.made = {(account.strip("a"), REGION): each for account, each in ec2.items()}

    def accounts(self) -> list[Any]:
        return [SimpleNamespace(id=ACCOUNT), SimpleNamespace(id=OTHER)]

    def ending_client(self, account_id: str, region: str, service: str = "ec2") -> Any:
        return self.s3 if service == "s3" else super().ending_client(account_id, region, service)

    def client(self, account_id: str, region: str, service: str = "ec2") -> Any:
        assert service == "ec2", "buckets are not asked with patience: it holds the sweep up"
        return super().client(account_id, region, service)


def sweep(folder: Path, clients: Accounts, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """The result of one sweep."""
    run = Run("the-run", folder, folder, Report(folder, "the-run"))
    run.clients = clients  # type: ignore[assignment]
    context = Context(run, "localhost", check, Settings.from_call({"deployment": "default"}))
    result = reaper.sweep(context, {"grace": 900, "regions": [REGION], **arguments})
    told = {name: result[name] for name in ("reaped", "kept", "failed")}
    assert {name: run.report.resource("localhost").as_dict()[name] for name in told} == told
    return result


@pytest.fixture(autouse=True)
def again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look follows at once."""
    monkeypatch.setattr(reaper, "_AGAIN_SECONDS", 0.0)


def ids(listed: list[dict[str, Any]]) -> list[str]:
    return sorted(each["id"] for each in listed)


def test_removes_what_a_dead_run_has_left_and_counts_the_rest(tmp_path: Path) -> None:
    ec2 = Ec2(things=volumes(ours(), ours(timedelta(hours=1)), ours(mayfly__keep="")))
    result = sweep(tmp_path, Accounts(a111122223333a=ec2))
    assert ec2.ids("delete_volume") == ["vol-0"]
    assert (result["changed"], ids(result["reaped"]), result["kept"], result["failed"]) == (True, ["vol-0"], 2, [])
    [told] = result["reaped"]
    assert (told["kind"], told["account"], told["region"], told["run"]) == ("volume", ACCOUNT, REGION, "r-1")
    assert "lease" in told["reason"]


PARTITIONS = [
    ({}, "us-east-1"),
    ({"role_arn": "arn:aws:iam::1:role/r"}, "us-east-1"),
    ({"role_arn": "arn:aws-cn:iam::1:role/r"}, "cn-north-1"),
    ({"worker_role_arn": "arn:aws-us-gov:iam::1:role/w"}, "us-gov-west-1"),
]


@pytest.mark.parametrize(("roles", "first"), PARTITIONS)
def test_an_accounts_regions_are_asked_for_in_its_own_partition(tmp_path: Path, roles: Any, first: str) -> None:
    clients = Accounts()
    clients.accounts = lambda: [Account.named("backup", id=ACCOUNT, **roles)]  # type: ignore[method-assign]
    clients.made[ACCOUNT, first] = Ec2(describe_regions={"Regions": [{"RegionName": REGION}]})
    clients.made[ACCOUNT, REGION] = Ec2(things=volumes(ours()))
    assert ids(sweep(tmp_path, clients, regions=[])["reaped"]) == ["vol-0"]


def test_changes_nothing_in_check_mode(tmp_path: Path) -> None:
    ec2, s3 = Ec2(things=volumes(ours())), S3(old=timedelta(days=30))
    result = sweep(tmp_path, Accounts(s3, a111122223333a=ec2), check=True, repositories=[BUCKET])
    assert not [call for call, _ in ec2.asked if not call.startswith("describe_")]
    assert s3.aborted == []
    assert ids(result["reaped"]) == ["b/p/old", "vol-0"]


def test_tells_what_was_not_removed_and_removes_the_rest(tmp_path: Path) -> None:
    def answers(*, VolumeId: str) -> Any:
        if VolumeId == "vol-0":
            raise refused("UnauthorizedOperation", 403)
        return {}

    here = Ec2(things=volumes(ours(), ours()), delete_volume=answers)
    there = Ec2(things=volumes(ours()))
    result = sweep(tmp_path, Accounts(a111122223333a=here, a444455556666a=there))
    assert [(each["account"], each["id"]) for each in result["reaped"]] == [(ACCOUNT, "vol-1"), (OTHER, "vol-0")]
    [failure] = result["failed"]
    assert (failure["kind"], failure["id"], failure["account"]) == ("volume", "vol-0", ACCOUNT)
    assert "UnauthorizedOperation" in failure["error"]


@pytest.mark.parametrize("error", [refused("UnauthorizedOperation", 403), UNREACHABLE, ResponseParserError("no XML")])
def test_a_kind_that_cannot_be_looked_for_does_not_stop_the_others(tmp_path: Path, error: Exception) -> None:
    ec2 = Ec2(things=volumes(ours()), describe_instances=error)
    result = sweep(tmp_path, Accounts(a111122223333a=ec2))
    assert ec2.ids("delete_volume") == ["vol-0"]
    assert [(each["kind"], each["account"]) for each in result["failed"]] == [("instance", ACCOUNT)]


def test_of_a_run_that_has_ended_removes_all_and_nothing_else(tmp_path: Path) -> None:
    ec2 = Ec2(things=volumes(ours(timedelta(hours=1)), ours(mayfly__run="r-2")))
    s3 = S3(old=timedelta(days=30))
    result = sweep(tmp_path, Accounts(s3, a111122223333a=ec2), run="r-1", repositories=[BUCKET])
    assert (ec2.ids("delete_volume"), s3.aborted, ids(result["reaped"])) == (["vol-0"], [], ["vol-0"])


@pytest.mark.parametrize("run", [None, "r-1"])
def test_refuses_to_look_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str | None) -> None:
    clients = Accounts()
    monkeypatch.setattr(clients, "accounts", list)
    for regions in ([REGION], []):
        with pytest.raises(KeeperError) as caught:
            sweep(tmp_path, clients, run=run, regions=regions)
        assert caught.value.code == "BadAccounts"
        assert "mayfly_accounts" in caught.value.message


class TestWhatARunMayHaveHandedOver:
    """Volumes and snapshots, whose tags of a moment ago may still be seen when the run has ended."""

    def account(self, second: list[dict[str, Any]] | Exception) -> Ec2:
        """An account that answers the first look with vol-0 and vol-1, and the second one with this."""
        ec2 = Ec2(things=volumes(ours(), ours()))
        instance = {"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": ours()}
        ec2.things["describe_instances"] = [instance]
        count = Script(None)

        def look(Filters: list[dict[str, Any]]) -> None:
            if Filters[0]["Name"] == "tag-key":  # exchanges are looked for first
                return
            count()
            if count.count == 2:
                assert ec2.ids("terminate_instances") == ["i-1"], "instances wait for no second look"
                if isinstance(second, Exception):
                    raise second
                ec2.things["describe_volumes"] = second

        ec2._scripts["describe_volumes"] = look  # type: ignore[assignment]
        return ec2

    def test_is_removed_when_a_second_look_shows_the_tag_too(self, tmp_path: Path) -> None:
        [_, still] = volumes(ours(), ours())["describe_volumes"]
        given = {"VolumeId": "vol-0", "State": "available", "Tags": tags(mayfly__deployment="default")}
        ec2 = self.account([given, still])
        result = sweep(tmp_path, Accounts(a111122223333a=ec2), run="r-1")
        assert (ec2.ids("delete_volume"), ids(result["reaped"]), result["failed"]) == (["vol-1"], ["i-1", "vol-1"], [])

    def test_is_left_when_the_second_look_fails(self, tmp_path: Path) -> None:
        ec2 = self.account(UNREACHABLE)
        result = sweep(tmp_path, Accounts(a111122223333a=ec2), run="r-1")
        assert (ec2.ids("delete_volume"), ids(result["reaped"])) == ([], ["i-1"])
        assert [each["kind"] for each in result["failed"]] == ["volume"]

    def test_is_not_looked_for_again_on_a_schedule(self, tmp_path: Path) -> None:
        """There it is the lease that has ended, long ago."""
        ec2 = Ec2(things=volumes(ours()))
        sweep(tmp_path, Accounts(a111122223333a=ec2))
        looks = [words["Filters"][0]["Name"] for call, words in ec2.asked if call == "describe_volumes"]
        assert looks == ["tag-key", "tag:mayfly:deployment"]


@pytest.mark.parametrize("missing", ["account", "region", "bucket"])
def test_a_repository_that_says_not_where_it_is_stops_nothing_else(tmp_path: Path, missing: str) -> None:
    ec2, s3 = Ec2(things=volumes(ours())), S3(old=timedelta(days=8))
    wrong = {name: value for name, value in BUCKET.items() if name != missing}
    result = sweep(tmp_path, Accounts(s3, a111122223333a=ec2), repositories=[wrong, BUCKET])
    assert ids(result["reaped"]) == ["b/p/old", "vol-0"]
    [failure] = result["failed"]
    assert failure["kind"] == "multipart-upload"
    assert f"mayfly_repository has no {missing}" in failure["error"]


def test_asks_a_bucket_for_nothing_before_all_else_is_removed(tmp_path: Path) -> None:
    ec2, s3 = Ec2(things=volumes(ours())), S3(old=timedelta(days=8))
    seen: list[list[str]] = []
    s3.listing = lambda: seen.append(ec2.ids("delete_volume"))
    sweep(tmp_path, Accounts(s3, a111122223333a=ec2), repositories=[BUCKET])
    assert seen == [["vol-0"]]


@pytest.mark.parametrize("where", ["instances", "uploads"])
def test_a_mistake_in_one_place_stops_no_other(tmp_path: Path, where: str) -> None:
    s3, broken = S3(old=timedelta(days=8)), ZeroDivisionError("a bug")
    here = Ec2(things=volumes(ours()))
    if where == "instances":
        here = Ec2(things=volumes(ours()), describe_instances=broken)
    else:
        s3.listing = Script(broken)
    there = Ec2(things=volumes(ours()))
    result = sweep(tmp_path, Accounts(s3, a111122223333a=here, a444455556666a=there), repositories=[BUCKET])
    assert (here.ids("delete_volume"), there.ids("delete_volume")) == (["vol-0"], ["vol-0"])
    [failure] = result["failed"]
    assert "a bug" in failure["error"]


def test_ends_uploads_that_are_older_than_any_run(tmp_path: Path) -> None:
    s3 = S3("stuck", old=timedelta(days=8), stuck=timedelta(days=8), young=timedelta(days=6))
    result = sweep(tmp_path, Accounts(s3), repositories=[BUCKET])
    assert (s3.aborted, ids(result["reaped"]), ids(result["failed"])) == (["old"], ["b/p/old"], ["b/p/stuck"])


def test_protection_is_lifted_from_what_is_removed_alone(tmp_path: Path) -> None:
    """A protected instance that lives, or is not ours, is not touched."""
    kinds = {"i-dead": ours(), "i-live": ours(timedelta(hours=1)), "i-other": ours(mayfly__deployment="another")}
    entries = [{"InstanceId": name, "State": {"Name": "running"}, "Tags": each} for name, each in kinds.items()]
    protected = {"i-dead", "i-live", "i-other"}

    def terminate(*, InstanceIds: list[str]) -> Any:
        if protected & set(InstanceIds):
            raise refused("OperationNotPermitted")
        return {"TerminatingInstances": [{"CurrentState": {"Name": "shutting-down"}}]}

    def lift(*, InstanceId: str, **_more: Any) -> None:
        protected.remove(InstanceId)

    ec2 = Ec2(things={"describe_instances": entries}, terminate_instances=terminate, modify_instance_attribute=lift)
    result = sweep(tmp_path, Accounts(a111122223333a=ec2))
    assert ids(result["reaped"]) == ["i-dead"]
    assert protected == {"i-live", "i-other"}


def test_a_snapshot_that_is_older_than_the_run_of_its_tags_is_left(tmp_path: Path) -> None:
    made = datetime.now(UTC) - timedelta(days=3)
    entries = [
        {"SnapshotId": name, "State": "completed", "StartTime": made, "Tags": ours(mayfly__run=run)}
        for name, run in (("snap-forged", "20991125T110000Z-abcdef"), ("snap-ours", "20261101T110000Z-abcdef"))
    ]
    ec2 = Ec2(things={"describe_snapshots": entries})
    result = sweep(tmp_path, Accounts(**{f"a{ACCOUNT}": ec2}))
    assert ec2.ids("delete_snapshot") == ["snap-ours"]
    assert result["kept"] == 1
