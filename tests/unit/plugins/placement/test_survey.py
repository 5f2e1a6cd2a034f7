# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a network without a worker: a row for each fault of a subnet, and one for each profile of types."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import InstanceType, Picture, Quota
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.survey import survey
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.types import ON_DEMAND, SPOT

from tests.unit.plugins.placement.world import (
    IMAGES,
    REGION,
    At,
    default_vpc,
    group,
    network,
    offer,
    picture,
    request,
    vpc,
)

TYPES = {"small": ["c5.large", "m5.large"], "large": ["c5.large"]}


def rows(known: Picture, *networks: Any, **changes: Any) -> list[tuple[str, str, bool, str]]:
    """The rows; what is as it should be has no remedy, and all else has one."""
    wanted = {"profiles": ("small",), "instance_types": TYPES, "more_services": ("ebs", "s3"), **changes}
    found = survey(known, request(*networks, operation="worker_check", **wanted))
    assert all(bool(each.remedy) is each.reason.endswith(".") is not each.ok for each in found)
    return [(each.service, each.check, each.ok, each.reason.removesuffix(".")) for each in found]


def world(*types: InstanceType, on_demand: int = 64) -> Picture:
    """A subnet that can be used, these types, and so many vCPUs on demand."""
    known = picture(default_vpc(At("subnet-1", free=7)), types=types)
    return replace(known, quotas={"L-1216C47A": Quota(on_demand)})


def test_each_fault_of_a_subnet_is_a_row() -> None:
    net = vpc("vpc-1", At("subnet-1", out="nowhere"), groups=[group("sg-1", egress=())])
    entry = network(vpc_id="vpc-1", subnet_ids=["subnet-1"], security_group_ids=["sg-1"])
    found = rows(picture(net), entry, profiles=())
    assert [row[:3] for row in found] == [("subnet-1", "network", False)] * 2
    assert f"no endpoint for com.amazonaws.{REGION}.ebs" in found[0][3]
    assert "sg-1 lets no TCP 443 out" in found[1][3]


def test_a_subnet_that_one_entry_lets_be_used_is_right() -> None:
    net = vpc("vpc-1", At("subnet-1", free=7), groups=[group("sg-1", egress=())])
    entry = {"vpc_id": "vpc-1", "subnet_ids": ["subnet-1"]}
    entries = network(**entry, security_group_ids=["sg-1"]), network(**entry)
    right = ("subnet-1", "network", True, "7 free addresses, and ways to ebs, s3")
    assert rows(picture(net), *entries, profiles=()) == [right]


ELSEWHERE = f"not offered in {REGION}"
FULL = "needs 2 vCPUs of the on-demand quota L-1216C47A, which allows 1 and of which others use 0"
ONE, OTHER = replace(offer("c5.large"), vcpus=2), replace(offer("m5.large"), vcpus=1)
OF_TYPES: list[tuple[str, Picture, bool, str]] = [
    ("all", world(ONE, OTHER), True, "c5.large, m5.large"),
    ("one of two", world(OTHER), True, f"m5.large; c5.large: {ELSEWHERE}"),
    ("none", world(), False, f"c5.large: {ELSEWHERE}; m5.large: {ELSEWHERE}"),
    (
        "none in the zone",
        world(offer("c5.large", "b"), offer("m5.large", "c")),
        False,
        "c5.large: not offered in zone euc1-az2; m5.large: not offered in zone euc1-az2",
    ),
    (
        "no image",
        world(offer("c5.large", architecture="riscv64"), OTHER),
        True,
        "m5.large; c5.large: there is no machine image for riscv64",
    ),
    ("no quota", world(ONE, OTHER, on_demand=1), True, f"m5.large; c5.large: {FULL}"),
]


@pytest.mark.parametrize(("known", "ok", "reason"), [row[1:] for row in OF_TYPES], ids=[row[0] for row in OF_TYPES])
def test_one_type_of_a_profile_is_enough(known: Picture, ok: bool, reason: str) -> None:
    assert rows(known)[1:] == [("small", "types", ok, reason)]


def test_each_profile_is_judged_by_itself() -> None:
    found = rows(world(OTHER), profiles=("small", "large"))[1:]
    assert [row[:3] for row in found] == [("small", "types", True), ("large", "types", False)]


def test_the_other_market_may_do() -> None:
    full = world(ONE, OTHER, on_demand=0)
    assert [row[2] for row in rows(full, market=ON_DEMAND)[1:]] == [False]
    assert [row[2] for row in rows(full, market=SPOT)[1:]] == [True]


def test_types_of_the_other_architecture_count_where_there_is_an_image() -> None:
    known = world(offer("c5.large", architecture="arm64"))
    assert [row[2] for row in rows(known)[1:]] == [True]
    assert [row[2] for row in rows(known, images={"x86_64": IMAGES["x86_64"]})[1:]] == [False]
