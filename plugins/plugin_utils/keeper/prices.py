# SPDX-License-Identifier: GPL-3.0-or-later
"""What instance types cost, for an order of candidates by price. It is bounded, and nothing fails for want of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

from ..placement.picture import Picture
from ..placement.types import ON_DEMAND, SPOT
from . import aws

# By instance type, zone's id and market: USD an hour. And why some are not known, by subject.
Priced = tuple[dict[tuple[str, str, str], float], dict[str, str]]

# The price list has endpoints in these Regions alone, and serves all of the partition
# (https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/price-list-query-api.html).
_ENDPOINTS = {"ap": "ap-south-1", **dict.fromkeys(("eu", "me", "af", "il"), "eu-central-1")}
_OTHERS = "us-east-1"
_APART = ("cn-", "us-gov-", "us-iso")  # partitions that the price list does not serve in USD, or not at all
_PRODUCT = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
    "licenseModel": "No License required",
}
_SPOT_PRODUCT = "Linux/UNIX"
_SECONDS = 20.0  # for all prices of one request; tasks wait for them


class Clients(Protocol):
    """Where clients with short time limits come from."""

    def quick_client(self, account_id: str, region: str, service: str) -> Any:
        """A client of the service for that account and Region."""


def describe(clients: Clients, picture: Picture, wanted: Iterable[tuple[str, str]]) -> Priced:
    """The prices of these types, each on a market, in all zones of a picture; what is not to be had has its reason."""
    ends = time.monotonic() + _SECONDS
    types: dict[str, list[str]] = {ON_DEMAND: [], SPOT: []}
    for name, market in sorted(wanted):
        types[market].append(name)
    found: dict[tuple[str, str, str], float] = {}
    unknown: dict[str, str] = {}
    for market, of in ((SPOT, _spot), (ON_DEMAND, _on_demand)):
        why = ""
        try:
            for name, zone_id, price in of(clients, picture, types[market], ends) if types[market] else ():
                found[name, zone_id, market] = price
        except aws.ERRORS as error:
            why = f"{aws.code_of(error)}: {aws.message_of(error)}"
        except TimeoutError as error:
            why = str(error)
        except (LookupError, ValueError) as error:
            why = f"AWS's answer is not understood: {error!r}"
        known = {name for name, _zone, its_market in found if its_market == market}
        unknown |= {f"{market} price of {name}": why or "AWS lists none" for name in types[market] if name not in known}
    return found, unknown


def _on_demand(clients: Clients, picture: Picture, names: list[str], ends: float) -> Iterator[tuple[str, str, float]]:
    """(type, zone's id, price): one price for all zones. Raises TimeoutError when the time has passed."""
    if picture.region.startswith(_APART):
        return
    endpoint = _ENDPOINTS.get(picture.region.partition("-")[0], _OTHERS)
    pricing = clients.quick_client(picture.account, endpoint, "pricing")
    for name in names:
        _check_time(ends)
        fields = {**_PRODUCT, "instanceType": name, "regionCode": picture.region}
        filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in fields.items()]
        pages = pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=filters)
        price = next((each for page in pages for text in page["PriceList"] for each in _hourly(json.loads(text))), None)
        if price is not None:
            yield from ((name, zone.id, price) for zone in picture.zones)


def _hourly(product: dict[str, Any]) -> Iterator[float]:
    """The prices of an hour in USD that a product is offered for."""
    for offer in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in offer["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if dimension["unit"] == "Hrs" and price > 0:
                yield price


def _spot(clients: Clients, picture: Picture, names: list[str], ends: float) -> Iterator[tuple[str, str, float]]:
    """(type, zone's id, price): the one that holds now. Raises TimeoutError when the time has passed."""
    ec2 = clients.quick_client(picture.account, picture.region, "ec2")
    ids = {zone.name: zone.id for zone in picture.zones}
    newest: dict[tuple[str, str], tuple[datetime, float]] = {}
    # With the present as the start, the history begins with the price that holds.
    pages = ec2.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=names, ProductDescriptions=[_SPOT_PRODUCT], StartTime=datetime.now(UTC)
    )
    for page in pages:
        for each in page["SpotPriceHistory"]:
            key, value = (each["InstanceType"], each["AvailabilityZone"]), (each["Timestamp"], float(each["SpotPrice"]))
            newest[key] = max(newest.get(key, value), value)
        _check_time(ends)
    yield from ((name, ids[zone], price) for (name, zone), (_, price) in newest.items() if zone in ids)


def _check_time(ends: float) -> None:
    if time.monotonic() > ends:
        raise TimeoutError(f"AWS did not tell all prices in {_SECONDS:.0f} s")
