# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices from AWS's answers: which endpoint is asked for what, and what becomes of refusals, silence and oddities."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import prices
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Picture, Zone
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.types import ON_DEMAND, SPOT

from tests.unit.plugins.keeper.fakes import ACCOUNT, UNREACHABLE, refused

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def offer(*dimensions: tuple[str, str, str]) -> str:
    """A product on the price list, from (unit, currency, amount)."""
    listed = {str(n): {"unit": unit, "pricePerUnit": {money: much}} for n, (unit, money, much) in enumerate(dimensions)}
    return json.dumps({"terms": {"OnDemand": {"offer": {"priceDimensions": listed}}}})


def spot(kind: str, zone: str, price: str, hours: int = 0) -> dict[str, Any]:
    """A price of the Spot market that began to hold so many hours ago."""
    since = NOW - timedelta(hours=hours)
    return {"InstanceType": kind, "AvailabilityZone": zone, "SpotPrice": price, "Timestamp": since}


class Aws:
    """Answers by what is asked; ``asked`` are (Region, service, arguments)."""

    def __init__(self, listed: dict[str, list[str]] | Exception, history: Any = ()) -> None:
        self.listed, self.history = listed, history if isinstance(history, Exception) else list(history)
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    def quick_client(self, account_id: str, region: str, service: str) -> Any:
        assert account_id == ACCOUNT
        aws = self

        class Client:
            def get_paginator(self, call: str) -> Any:
                assert call == {"pricing": "get_products", "ec2": "describe_spot_price_history"}[service]
                return self

            def paginate(self, **arguments: Any) -> Any:
                aws.asked.append((region, service, arguments))
                answer = aws.listed if service == "pricing" else aws.history
                if isinstance(answer, Exception):
                    raise answer
                if service == "ec2":
                    return [{"SpotPriceHistory": answer[:1]}, {"SpotPriceHistory": answer[1:]}]
                fields = {each["Field"]: each["Value"] for each in arguments["Filters"]}
                return [{"PriceList": []}, {"PriceList": aws.listed[fields["instanceType"]]}]

        return Client()


def picture(region: str = "eu-central-1") -> Picture:
    return Picture(ACCOUNT, region, zones=(Zone(f"{region}a", "az2"), Zone(f"{region}b", "az3")))


def test_an_on_demand_price_holds_in_every_zone() -> None:
    aws = Aws({"c5.large": [offer(("Hrs", "USD", "0.0970000000"))], "t3.medium": [offer(("Hrs", "USD", "0.048"))]})
    found, unknown = prices.describe(aws, picture(), {("c5.large", ON_DEMAND), ("t3.medium", ON_DEMAND)})
    assert found == {
        (name, zone, ON_DEMAND): price
        for name, price in (("c5.large", 0.097), ("t3.medium", 0.048))
        for zone in ("az2", "az3")
    }
    assert unknown == {}
    fields = {each["Field"]: each["Value"] for each in aws.asked[0][2]["Filters"]}
    assert (fields["regionCode"], fields["tenancy"], fields["operatingSystem"]) == ("eu-central-1", "Shared", "Linux")
    assert (fields["capacitystatus"], fields["preInstalledSw"]) == ("Used", "NA")


ENDPOINTS = [
    ("eu-west-3", "eu-central-1"),
    ("me-south-1", "eu-central-1"),
    ("ap-southeast-2", "ap-south-1"),
    ("us-west-2", "us-east-1"),
    ("sa-east-1", "us-east-1"),
    ("ca-central-1", "us-east-1"),
]


@pytest.mark.parametrize(("region", "endpoint"), ENDPOINTS)
def test_the_price_list_is_asked_where_it_has_an_endpoint(region: str, endpoint: str) -> None:
    aws = Aws({"c5.large": []})
    prices.describe(aws, picture(region), {("c5.large", ON_DEMAND)})
    assert [(at, service) for at, service, _ in aws.asked] == [(endpoint, "pricing")]


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1"])
def test_a_partition_without_a_price_list_is_not_asked(region: str) -> None:
    aws = Aws({})
    found, unknown = prices.describe(aws, picture(region), {("c5.large", ON_DEMAND)})
    assert (found, aws.asked) == ({}, [])
    assert unknown == {"on-demand price of c5.large": "AWS lists none"}


NO_PRICES = [
    [],
    [offer()],
    [offer(("Quantity", "USD", "1"))],
    [offer(("Hrs", "CNY", "1"))],
    [offer(("Hrs", "USD", "0"))],
]


@pytest.mark.parametrize("listed", NO_PRICES)
def test_what_is_no_price_of_an_hour_in_usd_is_none(listed: list[str]) -> None:
    found, unknown = prices.describe(Aws({"c5.large": listed}), picture(), {("c5.large", ON_DEMAND)})
    assert (found, list(unknown)) == ({}, ["on-demand price of c5.large"])


@pytest.mark.parametrize("text", ["{", json.dumps({"terms": {"OnDemand": {"offer": {}}}})])
def test_an_answer_of_another_form_is_a_reason(text: str) -> None:
    found, unknown = prices.describe(Aws({"c5.large": [text]}), picture(), {("c5.large", ON_DEMAND)})
    assert found == {}
    assert "not understood" in unknown["on-demand price of c5.large"]


def test_a_spot_price_is_the_newest_of_its_zone() -> None:
    history = [
        spot("c5.large", "eu-central-1a", "0.03"),
        spot("c5.large", "eu-central-1a", "0.09", hours=5),
        spot("c5.large", "eu-central-1b", "0.02", hours=1),
        spot("c5.large", "eu-central-1z", "0.01"),  # not a zone of the picture
    ]
    aws = Aws({}, history)
    found, unknown = prices.describe(aws, picture(), {("c5.large", SPOT)})
    assert found == {("c5.large", "az2", SPOT): 0.03, ("c5.large", "az3", SPOT): 0.02}
    assert unknown == {}
    ((region, service, arguments),) = aws.asked
    assert (region, service, arguments["InstanceTypes"]) == ("eu-central-1", "ec2", ["c5.large"])
    assert datetime.now(UTC) - arguments["StartTime"] < timedelta(minutes=1)


@pytest.mark.parametrize("error", [refused("AccessDeniedException"), UNREACHABLE])
def test_a_refusal_or_no_answer_is_a_reason_and_keeps_no_other_market_back(error: Exception) -> None:
    aws = Aws(error, [spot("c5.large", "eu-central-1a", "0.03")])
    found, unknown = prices.describe(aws, picture(), {("c5.large", SPOT), ("c5.large", ON_DEMAND)})
    assert found == {("c5.large", "az2", SPOT): 0.03}
    (subject, why), *more = unknown.items()
    assert (subject, more) == ("on-demand price of c5.large", [])
    assert "AccessDeniedException" in why or "Could not connect" in why


def test_the_time_for_all_of_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_SECONDS", -1.0)
    found, unknown = prices.describe(Aws({"c5.large": []}), picture(), {("c5.large", ON_DEMAND)})
    assert found == {}
    assert "did not tell all prices" in unknown["on-demand price of c5.large"]
