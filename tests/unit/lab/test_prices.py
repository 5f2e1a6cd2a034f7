# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of prices."""

from __future__ import annotations

import pytest
from mayfly_lab import prices


@pytest.mark.parametrize(
    ("instance_type", "region", "price"),
    [
        ("c6a.large", "us-east-1", 0.0765),
        ("c6a.4xlarge", "us-east-1", 0.612),
        ("c5.xlarge", "eu-central-1", 0.194),
        ("t3.medium", "us-east-1", 0.0416),
        ("t3.nano", "us-east-1", 0.0052),
        ("c6a.metal", "us-east-1", None),
        ("p4d.24xlarge", "us-east-1", None),
        ("c6a.large", "eu-west-1", None),
        ("c6a", "us-east-1", None),
    ],
)
def test_on_demand(instance_type: str, region: str, price: float | None) -> None:
    assert prices.on_demand(instance_type, region) == price


def test_spot_is_cheaper_and_differs_between_zones() -> None:
    found = [prices.spot("c6a.large", f"us-east-1{zone}") for zone in "abcdef"]
    assert all(price is not None and 0.03 < price < 0.04 for price in found)
    assert len(set(found)) > 1
    assert prices.spot("p4d.24xlarge", "us-east-1a") is None
