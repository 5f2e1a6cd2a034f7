# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of placement for a check of a network: its own account, and the services of those that would use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations.placement import plan
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.errors import PlacementError
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Picture
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

    def picture(self, account: str, region: str, _types: Any = ()) -> Picture:
        self.priced: set[tuple[str, str]] = set()
        self.asked.append((account, region))
        return self.known

    def with_names(self, *_about: Any) -> Picture:
        return self.known

    with_quotas = with_names


class Images:
    def with_prices(self, _account: str, _region: str, wanted: set[tuple[str, str]]) -> Picture:
        self.priced |= wanted
        return self.known

    def by_architecture(self, *_about: Any) -> Any:
        return IMAGES


class Planning:
    """Asks for a place in ``subnet-1`` of an account, the backup account being ACCOUNT."""

    def __init__(self, folder: Path, known: Picture = CLOSED) -> None:
        self.run = Run("the-run", folder, folder, Report(folder, "the-run"))
        self.run.clients = Clients()  # type: ignore[assignment]
        self.run.images = Images()  # type: ignore[assignment]
        self.run.pictures = self.pictures = Pictures(known)  # type: ignore[assignment]

    def plan(self, operation: str = "worker_check", account: str = ACCOUNT, **changes: Any) -> dict[str, Any]:
        accounts = {"backup": {"id": ACCOUNT}, "production": {"id": OTHER_ACCOUNT}}
        resource = {"account": account, "region": REGION, "kind": "subnet", "id": "subnet-1"}
        context = Context(self.run, HOST, True, Settings.from_call({"accounts": accounts}), resource)
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
        }
        return plan(context, {**arguments, **changes})


@pytest.fixture
def planning(tmp_path: Path) -> Planning:
    return Planning(tmp_path)


def names(result: dict[str, Any]) -> list[str]:
    assert {each["region"] for each in result["services"]} == {REGION}
    return [each["name"] for each in result["services"]]


            "order": "preference",
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


def test_an_operation_that_there_is_not_is_refused_by_name(planning: Planning) -> None:
    with pytest.raises(SettingError) as raised:
        planning.plan(check_operations=["ec2_bakup"])
    assert raised.value.message.startswith("mayfly_check_operations: 'ec2_bakup' is no operation")
