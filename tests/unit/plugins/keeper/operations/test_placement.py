# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of placement for a check of a network: its own account, and the services of those that would use it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import baked
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations.placement import _check_agent, plan
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.errors import PlacementError
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Endpoint, Picture
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings

from tests.unit.plugins.keeper.fakes import Clients
from tests.unit.plugins.placement.world import (
    ACCOUNT,
    CONTROL_NODE,
    IMAGES,
    OTHER_ACCOUNT,
    OTHER_REGION,
    REGION,
    At,
    interface,
    interfaces,
    picture,
    vpc,
)

HOST = "private_subnet-1"
# Endpoints for a backup, and no other way out.
CLOSED = picture(vpc("vpc-1", At("subnet-1", out="nowhere"), endpoints=interfaces()))


class Pictures:
    """One picture, whoever asks; ``asked`` are the accounts and Regions."""

    def __init__(self, known: Picture) -> None:
        self.known = known
        self.asked: list[tuple[str, str]] = []
        self.priced: set[tuple[str, str]] = set()

    def picture(self, account: str, region: str, _types: Any = ()) -> Picture:
        self.asked.append((account, region))
        return self.known

    def with_names(self, *_about: Any) -> Picture:
        return self.known

    with_quotas = with_names

    def with_prices(self, _account: str, _region: str, wanted: set[tuple[str, str]]) -> Picture:
        self.priced |= wanted
        return self.known


class Images:
    """The same images, whoever asks."""

    def __init__(self) -> None:
        self.known = IMAGES

    def by_architecture(self, *_about: Any) -> Any:
        return self.known


class Planning:
    """Asks for a place in ``subnet-1`` of an account, the backup account being ACCOUNT."""

    def __init__(self, folder: Path, known: Picture = CLOSED) -> None:
        self.run = Run("the-run", folder, folder, Report(folder, "the-run"))
        self.run.clients = Clients()  # type: ignore[assignment]
        self.run.images = self.images = Images()  # type: ignore[assignment]
        self.run.pictures = self.pictures = Pictures(known)  # type: ignore[assignment]

    def plan(
        self,
        operation: str = "worker_check",
        account: str = ACCOUNT,
        settings: dict[str, Any] | None = None,
        *,
        check: bool = True,
        **changes: Any,
    ) -> dict[str, Any]:
        accounts = {"backup": {"id": ACCOUNT}, "production": {"id": OTHER_ACCOUNT}}
        given = Settings.from_call({"accounts": accounts, **(settings or {})})
        resource = {"account": account, "region": REGION, "kind": "subnet", "id": "subnet-1"}
        context = Context(self.run, HOST, check, given, resource)
        entry = {"account": self.pictures.known.account, "region": REGION, "vpc_id": "vpc-1"}
        arguments: dict[str, Any] = {
            "operation": operation,
            "resource": resource,
            "site": {"account": account, "region": REGION},
            "size_bytes": 0,
            "repository_region": REGION,
            "networks": [{**entry, "subnet_ids": ["subnet-1"]}],
            "image": {"id": "ami-1"},
            "control_node_cidr": CONTROL_NODE,
            "ssh_port": 22,
            "market": "on-demand",
            "order": "preference",
        }
        return plan(context, {**arguments, **changes})


@pytest.fixture
def planning(tmp_path: Path) -> Planning:
    return Planning(tmp_path)


def names(result: dict[str, Any]) -> list[str]:
    assert {each["region"] for each in result["services"]} == {REGION}
    return [each["name"] for each in result["services"]]


BACKUP = ["ebs", "s3", "ec2", "sts", "kms"]


@pytest.mark.parametrize("blank", [{}, *({"check_operations": each} for each in (None, [], ""))], ids=str)
def test_nothing_said_checks_for_backups_and_restores(planning: Planning, blank: dict[str, Any]) -> None:
    assert names(planning.plan(**blank)) == BACKUP


def test_a_service_that_cannot_be_reached_is_named_before_anything_is_launched(planning: Planning) -> None:
    with pytest.raises(PlacementError) as raised:
        planning.plan(check_operations=["ec2_backup", "efs_index"])
    assert f"no endpoint for com.amazonaws.{REGION}.elasticfilesystem" in raised.value.message
    assert "subnet-1" in raised.value.message
    assert names(planning.plan(check_operations=["retention"])) == ["s3", "sts", "kms"]


def test_what_fails_of_a_network_is_told_as_a_table(tmp_path: Path) -> None:
    """In check mode it is the end; else the worker looks from inside, and all is told together."""
    types = {"large": ["no.such"]}
    with pytest.raises(PlacementError) as raised:
        Planning(tmp_path).plan(instance_types=types)
    assert raised.value.code == "CheckFailed"
    first, head, *rows = raised.value.message.splitlines()
    assert first == f"{HOST}: 1 of 4 checks failed."
    assert head.split() == ["service", "check", "result", "what", "was", "seen"]
    assert [row.split()[:3] for row in rows] == [
        ["subnet-1", "network", "ok"],
        ["small", "types", "ok"],
        ["medium", "types", "ok"],
        ["large", "types", "FAILED"],
    ]
    assert "Name other types for large in mayfly_instance_types" in rows[-1]
    planning = Planning(tmp_path)
    found = planning.plan(instance_types=types, check=False)
    assert [each["ok"] for each in found["checks"]] == [True, True, True, False]
    assert planning.run.host(HOST).checks == found["checks"]


def test_another_operation_is_no_check_of_types(planning: Planning) -> None:
    assert planning.plan("ec2_backup", instance_types={"large": ["no.such"]})["checks"] == []


def test_the_repositorys_region_counts_for_its_services(planning: Planning) -> None:
    with pytest.raises(
        PlacementError, match=rf"com\.amazonaws\.{OTHER_REGION}\.s3, com\.amazonaws\.{OTHER_REGION}\.kms"
    ):
        planning.plan(repository_region=OTHER_REGION)


def test_another_operation_takes_its_own_services_alone(planning: Planning) -> None:
    assert names(planning.plan("ec2_backup", check_operations=["efs_index"])) == BACKUP


@pytest.mark.parametrize("wanted", [None, "backup", "production"])
@pytest.mark.parametrize("account", [ACCOUNT, OTHER_ACCOUNT])
def test_it_runs_where_the_network_is(planning: Planning, account: str, wanted: str | None) -> None:
    reasons = planning.plan(account=account, worker_account=wanted)["reasons"]
    assert planning.pictures.asked == [(account, REGION)]
    assert reasons[0]["subject"] == f"account {account}"


def test_operations_of_the_backup_account_are_left_out_elsewhere(planning: Planning) -> None:
    both = ["retention", "ec2_backup"]
    assert names(planning.plan(check_operations=both)) == ["s3", "sts", "kms", "ebs", "ec2"]
    assert names(planning.plan(account=OTHER_ACCOUNT, check_operations=both)) == BACKUP
    with pytest.raises(KeeperError) as raised:
        planning.plan(account=OTHER_ACCOUNT, check_operations=["retention"])
    assert raised.value.code == "NothingToCheck"
    assert "mayfly_check_operations" in raised.value.remedy


def test_the_ports_of_a_check_are_let_out_by_the_runs_group_and_by_no_other_operations(planning: Planning) -> None:
    ports = [{"host": "db", "port": 5432}, {"host": "10.0.0.9", "port": 2049}, {"host": "other", "port": 5432}]
    assert [each["ports_out"] for each in planning.plan(check_ports=ports)["candidates"]] == [(2049, 5432)] * 3
    assert {each["ports_out"] for each in planning.plan("ec2_backup", check_ports=ports)["candidates"]} == {()}
    with pytest.raises(SettingError, match="mayfly_check_ports"):
        planning.plan(check_ports=[{"host": "db", "port": 0}])


def test_an_operation_that_there_is_not_is_refused_by_name(planning: Planning) -> None:
    with pytest.raises(SettingError) as raised:
        planning.plan(check_operations=["ec2_bakup"])
    assert raised.value.message.startswith("mayfly_check_operations: 'ec2_bakup' is no operation")


def test_prices_are_asked_for_where_they_count_and_for_types_that_are_offered(planning: Planning) -> None:
    planning.plan()
    assert planning.pictures.priced == set()
    types = {"small": ["c5.large", "no.such"]}
    planning.plan(order="price", market="spot", instance_types=types)
    assert planning.pictures.priced == {("c5.large", "on-demand"), ("c5.large", "spot")}


class TestSessionManager:
    """What it needs is looked for before anything is launched."""

    PROFILE: ClassVar[Any] = {"worker_instance_profile": "mayfly-session-manager"}
    ACCOUNTS: ClassVar[Any] = {"backup": {"id": ACCOUNT, **PROFILE}, "production": {"id": OTHER_ACCOUNT}}
    SETTINGS: ClassVar[Any] = {"worker_connection": "session_manager", "accounts": ACCOUNTS}
    MORE: ClassVar[Any] = [interface(service) for service in ("ssm", "ssmmessages", "ec2messages")]

    @pytest.fixture
    def programs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("aws", "session-manager-plugin"):
            (tmp_path / name).touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    def ready(self, folder: Path, endpoints: list[Endpoint]) -> Planning:
        net = vpc("vpc-1", At("subnet-1", out="nowhere"), endpoints=[*interfaces(), *endpoints])
        planning = Planning(folder, picture(net))
        own = {name: replace(image, owner=ACCOUNT) for name, image in IMAGES.items()}
        planning.images.known = own
        return planning

    @pytest.mark.usefixtures("programs")
    def test_the_services_of_its_agent_must_be_reached(self, tmp_path: Path) -> None:
        found = names(self.ready(tmp_path, self.MORE).plan(settings=self.SETTINGS, control_node_cidr=None))
        assert found == [*BACKUP, "ssm", "ssmmessages", "ec2messages"]
        with pytest.raises(PlacementError, match=r"no endpoint for com\.amazonaws\.eu-central-1\.ssm, "):
            self.ready(tmp_path, []).plan(settings=self.SETTINGS)

    def test_its_programs_must_be_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert self.refused(tmp_path).code == "NoSessionManager"

    @pytest.mark.usefixtures("programs")
    def test_the_account_must_have_an_instance_profile(self, tmp_path: Path) -> None:
        error = self.refused(tmp_path, account=OTHER_ACCOUNT)
        assert error.code == "NoInstanceProfile"
        assert "mayfly_accounts.production has no worker_instance_profile" in error.message

    @pytest.mark.usefixtures("programs")
    def test_an_image_of_debians_own_is_refused(self, tmp_path: Path) -> None:
        planning = self.ready(tmp_path, self.MORE)
        planning.images.known = {name: replace(image, owner="136693071363") for name, image in IMAGES.items()}
        with pytest.raises(KeeperError, match="no amazon-ssm-agent") as raised:
            planning.plan(settings=self.SETTINGS)
        assert "mayfly_worker_image" in raised.value.remedy

    @pytest.mark.parametrize(
        ("owner", "more", "lacks"),
        [
            ("136693071363", "", True),
            ("136693071363", " and postgresql-client", True),
            ("136693071363", " and postgresql-client amazon-ssm-agent.deb", False),
            ("444455556666", "", False),
        ],
    )
    def test_an_image_that_was_baked_from_debians_own_is_refused(self, owner: str, more: str, lacks: bool) -> None:
        """Unless its agent was installed as well."""
        context: Any = SimpleNamespace(settings=Settings.from_call(self.SETTINGS))
        images = {"x86_64": replace(IMAGES["x86_64"], owner=ACCOUNT)}
        why = {"x86_64": f"{baked.FROM} {owner}/debian-12 (ami-0) with this transfer agent{more}"}
        with pytest.raises(KeeperError, match="no amazon-ssm-agent") if lacks else nullcontext():
            _check_agent(context, images, why)

    def refused(self, folder: Path, **more: Any) -> KeeperError:
        with pytest.raises(KeeperError) as raised:
            self.ready(folder, self.MORE).plan(settings=self.SETTINGS, **more)
        return raised.value
