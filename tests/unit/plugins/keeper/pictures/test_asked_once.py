# SPDX-License-Identifier: GPL-3.0-or-later
"""A run describes an account and Region once, for all hosts; names and quotas only where they are in question."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.pictures import Pictures
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Quota
from botocore.exceptions import ClientError

from tests.unit.plugins.keeper.pictures.test_pictures import ACCOUNT, REGION, ZONES, aws_vpc, kind, offering


class Account:
    """An account that takes its time to answer and counts what it was asked; ``fails`` times it answers not at all."""

    def __init__(self, fails: int = 0) -> None:
        self.asked: Counter[str] = Counter()
        self.types: list[str] = []
        self.fails = fails
        self.instances: list[dict[str, Any]] = []
        self.limits = {"L-1216C47A": 64.0}

    def describe_vpc_attribute(self, VpcId: str, Attribute: str) -> dict[str, Any]:
        self.asked[f"{VpcId} {Attribute}"] += 1
        return {f"{Attribute[0].upper()}{Attribute[1:]}": {"Value": VpcId == "vpc-1"}}

    def get_service_quota(self, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        assert ServiceCode == "ec2"
        self.asked[QuotaCode] += 1
        if QuotaCode not in self.limits:
            raise ClientError(
                {"Error": {"Code": "AccessDeniedException", "Message": "no right to ask"}}, "GetServiceQuota"
            )
        return {"Quota": {"Value": self.limits[QuotaCode]}}

    def client(self, account_id: str, region: str, service: str) -> Account:
        assert service in ("ec2", "service-quotas")
        self.asked[f"{account_id}/{region}"] += 0
        return self

    quick_client = client

    def describe_availability_zones(self, **_asked: Any) -> dict[str, Any]:
        self.asked["describe_availability_zones"] += 1
        time.sleep(0.01)
        if self.fails:
            self.fails -= 1
            raise ClientError({"Error": {"Code": "RequestLimitExceeded", "Message": ""}}, "DescribeAvailabilityZones")
        return {"AvailabilityZones": ZONES}

    def get_paginator(self, call: str) -> Any:
        account = self

        class Paginator:
            def paginate(self, **asked: Any) -> list[dict[str, Any]]:
                account.asked[call] += 1
                names = asked["Filters"][0]["Values"] if "Filters" in asked else []
                if call == "describe_spot_price_history":
                    wanted = {"SpotPrice": "0.03", "AvailabilityZone": "eu-central-1a", "Timestamp": datetime.now(UTC)}
                    return [{"SpotPriceHistory": [{**wanted, "InstanceType": each} for each in asked["InstanceTypes"]]}]
                if call == "describe_vpcs":
                    return [{"Vpcs": [aws_vpc("vpc-1"), aws_vpc("vpc-2")]}]
                if call == "describe_instances":
                    return [{"Reservations": [{"Instances": account.instances}]}]
                if call == "describe_instance_type_offerings":
                    account.types += names
                    return [{"InstanceTypeOfferings": [offering(name, "eu-central-1a") for name in names]}]
                return [{"InstanceTypes": [kind(name, "x86_64") for name in names]}]

        return Paginator()


Calls = Callable[[int, Callable[[], Any]], list[Any]]


def test_many_hosts_at_once_ask_once(at_once: Calls) -> None:
    account = Account()
    pictures = Pictures(account)
    found = at_once(20, lambda: pictures.picture(ACCOUNT, REGION, ["c5.large", "c6i.large"]))
    assert all(each == found[0] for each in found)
    assert set(found[0].instance_types) == {"c5.large", "c6i.large"}
    assert all(count <= 1 for count in account.asked.values()), account.asked
    assert account.asked["describe_subnets"] == 1
    assert sorted(account.types) == ["c5.large", "c6i.large"]


def test_each_account_and_region_is_described_by_itself(at_once: Calls) -> None:
    account = Account()
    pictures = Pictures(account)
    places = iter([("111122223333", REGION), ("111122223333", "us-east-1"), ("444455556666", REGION)] * 4)
    found = at_once(12, lambda: pictures.picture(*next(places)))
    assert {(each.account, each.region) for each in found} == {
        ("111122223333", REGION),
        ("111122223333", "us-east-1"),
        ("444455556666", REGION),
    }
    assert account.asked["describe_subnets"] == 3


def test_only_types_that_were_not_asked_for_are_asked_for() -> None:
    account = Account()
    pictures = Pictures(account)
    pictures.picture(ACCOUNT, REGION, ["c5.large"])
    pictures.picture(ACCOUNT, REGION, ["c5.large", "c6i.large"])
    last = pictures.picture(ACCOUNT, REGION)
    assert set(last.instance_types) == {"c5.large", "c6i.large"}
    assert account.types == ["c5.large", "c6i.large"]
    assert account.asked["describe_subnets"] == 1


def test_a_failed_description_is_tried_again_by_the_next_host() -> None:
    account = Account(fails=1)
    pictures = Pictures(account)
    with pytest.raises(ClientError):
        pictures.picture(ACCOUNT, REGION)
    assert pictures.picture(ACCOUNT, REGION).zones
    assert account.asked["describe_availability_zones"] == 2


def test_only_the_vpcs_in_question_are_asked_for_names_and_once() -> None:
    account = Account()
    pictures = Pictures(account)
    pictures.picture(ACCOUNT, REGION)
    pictures.with_names(ACCOUNT, REGION, {"vpc-2"})
    picture = pictures.with_names(ACCOUNT, REGION, {"vpc-2"})
    assert [(each.id, each.dns_support, each.dns_hostnames) for each in picture.vpcs] == [
        ("vpc-1", True, True),
        ("vpc-2", False, False),
    ]
    asked = {name: count for name, count in account.asked.items() if name.startswith("vpc-")}
    assert asked == {"vpc-2 enableDnsSupport": 1, "vpc-2 enableDnsHostnames": 1}


def running(kind: str, cores: int, **more: Any) -> dict[str, Any]:
    """An instance of two threads a core."""
    return {"InstanceType": kind, "CpuOptions": {"CoreCount": cores, "ThreadsPerCore": 2}, **more}


def test_quotas_are_counted_once_and_workers_apart() -> None:
    account = Account()
    ours = {"mayfly:deployment": "ours", "mayfly:temporary": "true"}
    tags = [{"Key": key, "Value": value} for key, value in ours.items()]
    account.instances = [
        running("c5.large", 1),
        running("m6a.4xlarge", 8),
        running("p5.48xlarge", 96),
        running("c5.large", 1, InstanceLifecycle="spot"),
        running("c6a.large", 1, Tags=tags),
        running("c6a.large", 1, Tags=[{**tags[0], "Value": "theirs"}, tags[1]]),
    ]
    pictures = Pictures(account)
    pictures.picture(ACCOUNT, REGION)
    for _ in range(2):
        picture = pictures.with_quotas(ACCOUNT, REGION, {"L-1216C47A", "L-34B43A08"}, "ours")
    assert picture.quotas == {"L-1216C47A": Quota(64, used=20, used_by_workers=2)}
    assert picture.unknown == {"quota L-34B43A08": "AccessDeniedException: no right to ask"}
    assert (account.asked["L-1216C47A"], account.asked["L-34B43A08"], account.asked["describe_instances"]) == (1, 1, 1)


def test_prices_are_asked_for_once_for_each_type(at_once: Calls) -> None:
    account = Account()
    pictures = Pictures(account)
    pictures.picture(ACCOUNT, REGION)
    at_once(8, lambda: pictures.with_prices(ACCOUNT, REGION, {("c5.large", "spot")}))
    picture = pictures.with_prices(ACCOUNT, REGION, {("c5.large", "spot"), ("c6a.large", "spot")})
    assert {name for name, _zone, _market in picture.prices} == {"c5.large", "c6a.large"}
    assert account.asked["describe_spot_price_history"] == 2
