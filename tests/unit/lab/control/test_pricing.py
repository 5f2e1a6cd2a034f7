# SPDX-License-Identifier: GPL-3.0-or-later
"""The price list service's answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mayfly_lab.control.pricing import products


def asked(service: str = "AmazonEC2", **fields: str) -> dict[str, Any]:
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]
    return {"ServiceCode": service, "Filters": filters}


def found(request: dict[str, Any]) -> list[tuple[str, str]]:
    attributes = [json.loads(each)["product"]["attributes"] for each in products(request)["PriceList"]]
    return [(each["instanceType"], each["regionCode"]) for each in attributes]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (asked(instanceType="c5.large"), [("c5.large", "us-east-1"), ("c5.large", "eu-central-1")]),
        (asked(instanceType="c5.large", regionCode="us-east-1", vcpu="2"), [("c5.large", "us-east-1")]),
        (asked(instanceType="c5.large", operatingSystem="Windows"), []),
        (asked(instanceType="c5.huge"), []),
        (asked("AmazonRDS", instanceType="c5.large"), []),
        (asked(instanceType="c5.large", unheardOf="x"), []),
    ],
)
def test_products_that_pass_the_filters(request_: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert found(request_) == expected


def test_pages_hold_every_product_once() -> None:
    request: dict[str, Any] = {**asked(regionCode="us-east-1"), "MaxResults": 30}
    whole: list[str] = []
    for _ in range(100):
        answer = products(request)
        whole += answer["PriceList"]
        if "NextToken" not in answer:
            break
        request["NextToken"] = answer["NextToken"]
    assert len(whole) == len(set(whole)) > 30
