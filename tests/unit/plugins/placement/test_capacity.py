# SPDX-License-Identifier: GPL-3.0-or-later
"""Markets, quotas and prices before a launch, and what a refused launch rules out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.failover import after_loss, is_quota, remaining
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import InstanceType, Picture, Quota
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import Candidate, place
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.types import ON_DEMAND, SPOT, quota_class

from tests.unit.plugins.placement.world import (
    ZONE_IDS,
    At,
    default_vpc,
    offer,
    picture,
    reasons,
    refusal,
    request,
    types_of,
)

STANDARD, STANDARD_SPOT = "L-1216C47A", "L-34B43A08"
TYPES = {"small": ["c5.large", "m5.xlarge", "p4d.24xlarge"]}


def world(**quotas: Quota) -> Picture:
    """Two subnets, three types with 2, 4 and 96 vCPUs; quotas by on_demand and spot."""
    offered: list[InstanceType] = [
        replace(offer(name), vcpus=vcpus) for name, vcpus in (("c5.large", 2), ("m5.xlarge", 4), ("p4d.24xlarge", 96))
    ]
    codes = {"on_demand": STANDARD, "spot": STANDARD_SPOT}
    base = picture(default_vpc(At("subnet-1", "a", free=2), At("subnet-2", "b", free=1)), types=offered)
    return replace(base, quotas={codes[name]: quota for name, quota in quotas.items()})


CLASSES = [
    ("c5.large", STANDARD),
    ("t3.medium", STANDARD),
    ("z1d.large", STANDARD),
    ("d3en.xlarge", STANDARD),
    ("im4gn.large", STANDARD),
    ("is4gen.large", STANDARD),
    ("r7gd.large", STANDARD),
    ("f1.2xlarge", "L-74FC7D96"),
    ("g5.xlarge", "L-DB2E81BA"),
    ("vt1.3xlarge", "L-DB2E81BA"),
    ("inf2.xlarge", "L-1945791B"),
    ("p4d.24xlarge", "L-417A185B"),
    ("trn1.2xlarge", "L-2C3B7624"),
    ("x2idn.16xlarge", "L-7295265B"),
    ("mac2.metal", None),
    ("u-6tb1.metal", None),
    ("hpc7g.4xlarge", None),
    ("dl1.24xlarge", None),
]


@pytest.mark.parametrize(("name", "code"), CLASSES)
def test_a_type_counts_against_the_quota_of_its_family(name: str, code: str | None) -> None:
    known = quota_class(name)
    assert (known.on_demand if known else None) == code


QUOTAS = [
    ("room for all", Quota(64), ["c5.large", "m5.xlarge", "p4d.24xlarge"]),
    ("room for exactly the larger", Quota(64, used=60), ["c5.large", "m5.xlarge", "p4d.24xlarge"]),
    ("room for the smaller alone", Quota(64, used=61), ["c5.large", "p4d.24xlarge"]),
    ("room for neither", Quota(64, used=63), ["p4d.24xlarge"]),
    ("workers of ours use it up, and will end", Quota(4, used_by_workers=4), ["c5.large", "m5.xlarge", "p4d.24xlarge"]),
]


@pytest.mark.parametrize(("quota", "types"), [row[1:] for row in QUOTAS], ids=[row[0] for row in QUOTAS])
def test_a_quota_has(quota: Quota, types: list[str]) -> None:
    placed = place(world(on_demand=quota), request(instance_types=TYPES))
    assert types_of(placed) == types
    for name in {"c5.large", "m5.xlarge"} - set(types):
        decision, reason = reasons(placed)[f"type {name}"]
        assert decision == "rejected"
        assert f"{STANDARD}, which allows 64 and of which others use {quota.used}" in reason


def test_a_quota_without_room_for_any_type_is_told_before_the_launch() -> None:
    error = refusal(world(on_demand=Quota(1)), request(instance_types={"small": ["c5.large"]}))
    assert error.code == "NoInstanceType"
    assert f"needs 2 vCPUs of the on-demand quota {STANDARD}" in error.message
    assert "quota raised" in error.remedy


def test_spot_is_tried_everywhere_before_on_demand() -> None:
    types = {"small": ["c5.large", "m5.xlarge"]}
    placed = place(world(), request(market=SPOT, instance_types=types))
    found = [(each.market, each.subnet_id, each.instance_type) for each in placed.candidates]
    pairs = [(subnet, name) for subnet in ("subnet-1", "subnet-2") for name in types["small"]]
    assert found == [(market, *pair) for market in (SPOT, ON_DEMAND) for pair in pairs]


def test_a_market_whose_quota_is_used_up_is_left_out() -> None:
    types = {"small": ["c5.large"]}
    placed = place(world(spot=Quota(8, used=8)), request(market=SPOT, instance_types=types))
    assert {each.market for each in placed.candidates} == {ON_DEMAND}
    placed = place(world(on_demand=Quota(8, used=8)), request(market=SPOT, instance_types=types))
    assert {each.market for each in placed.candidates} == {SPOT}


def test_by_price_the_cheapest_of_each_market_comes_first_and_the_unknown_last() -> None:
    zones = (ZONE_IDS["a"], ZONE_IDS["b"])
    prices = {
        ("c5.large", zones[0], SPOT): 0.04,
        ("c5.large", zones[1], SPOT): 0.03,
        ("c5.large", zones[0], ON_DEMAND): 0.097,
        ("m5.xlarge", zones[0], SPOT): 0.09,
    }
    priced = replace(world(), prices=prices)
    wanted = request(market=SPOT, by_price=True, instance_types={"small": ["m5.xlarge", "c5.large"]})
    found = [each.price for each in place(priced, wanted).candidates]
    assert found == [0.03, 0.04, 0.09, None, 0.097, None, None, None]


def test_the_order_by_price_says_what_it_began_with_and_what_it_did_without() -> None:
    prices = {("c5.large", ZONE_IDS["a"], ON_DEMAND): 0.097}
    unknown = {"on-demand price of m5.xlarge": "AccessDenied: no", "on-demand price of t3.medium": "AccessDenied: no"}
    types = {"small": ["m5.xlarge", "c5.large"]}
    placed = place(replace(world(), prices=prices, unknown=unknown), request(by_price=True, instance_types=types))
    assert types_of(placed)[0] == "c5.large"
    found = reasons(placed)
    assert found["order"] == (
        "chosen",
        f"by price: c5.large in zone {ZONE_IDS['a']} costs 0.097 USD an hour (on-demand)",
    )
    assert found["on-demand price of m5.xlarge"][0] == "unknown"
    assert "on-demand price of t3.medium" not in found  # of another host's


def test_without_any_price_the_order_is_that_of_preference() -> None:
    types = {"small": ["m5.xlarge", "c5.large"]}
    by_price = place(world(), request(by_price=True, market=SPOT, instance_types=types))
    assert by_price.candidates == place(world(), request(market=SPOT, instance_types=types)).candidates
    assert "order" not in reasons(by_price)


def test_a_quota_that_cannot_be_read_is_told_and_refuses_nothing() -> None:
    unread = replace(world(), unknown={f"quota {STANDARD}": "AccessDenied: no", "quota L-34B43A08": "AccessDenied: no"})
    placed = place(unread, request(instance_types={"small": ["c5.large"]}))
    assert types_of(placed) == ["c5.large"]
    decision, reason = reasons(placed)[f"quota {STANDARD}"]
    assert (decision, reason.split(";")[0]) == ("unknown", "AccessDenied: no")
    assert "quota L-34B43A08" not in reasons(placed)  # no Spot instance is wanted
    assert "quota L-34B43A08" in reasons(place(unread, request(market=SPOT)))


SAME = Candidate(
    account="111122223333",
    region="eu-central-1",
    availability_zone="eu-central-1a",
    availability_zone_id="euc1-az2",
    subnet_id="subnet-1",
    vpc_id="vpc-1",
    security_group_ids=(),
    instance_type="c5.large",
    architecture="x86_64",
    image_id="ami-1",
    root_device_name="/dev/xvda",
    public_address=False,
)
OTHERS = {
    "itself": SAME,
    "subnet": replace(SAME, subnet_id="subnet-2"),
    "zone": replace(SAME, subnet_id="subnet-3", availability_zone_id="euc1-az3"),
    "type": replace(SAME, instance_type="c6a.large"),
    "family": replace(SAME, instance_type="p4d.24xlarge"),
    "market": replace(SAME, market=SPOT),
    "image": replace(SAME, image_id="ami-2", region="eu-west-1", availability_zone_id="euw1-az1", subnet_id="subnet-4"),
}
FAILURES = [
    ("InsufficientInstanceCapacity", {"zone", "type", "family", "market", "image"}),
    ("InsufficientHostCapacity", {"zone", "type", "family", "market", "image"}),
    ("Server.InsufficientInstanceCapacity", {"zone", "type", "family", "market", "image"}),
    ("Server.SpotInstanceTermination", {"zone", "type", "family", "market", "image"}),
    ("Unsupported", {"zone", "type", "family", "image"}),
    ("UnsupportedOperation", {"type", "family", "image"}),
    ("InsufficientFreeAddressesInSubnet", {"subnet", "zone", "image"}),
    ("VcpuLimitExceeded", {"family", "market", "image"}),
    ("MaxSpotInstanceCountExceeded", {"family", "market", "image"}),
    ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", {"market"}),
    ("Server.InternalError", {"subnet", "zone", "type", "family", "market", "image"}),
]


@pytest.mark.parametrize(("code", "left"), FAILURES)
def test_a_want_rules_out_all_that_would_want_it_too(code: str, left: set[str]) -> None:
    found = remaining(list(OTHERS.values()), SAME, code)
    assert {name for name, each in OTHERS.items() if each in found} == left


def test_after_a_loss_come_those_on_demand_and_the_like_of_the_lost_one_last() -> None:
    elsewhere = replace(SAME, subnet_id="subnet-3", availability_zone="eu-central-1b")
    candidates = [OTHERS["market"], SAME, OTHERS["subnet"], OTHERS["type"], elsewhere]
    found = after_loss(candidates, "c5.large", "eu-central-1a")
    assert found == [OTHERS["type"], elsewhere, SAME, OTHERS["subnet"]]
    assert after_loss(candidates, "m5.xlarge", "eu-central-1a") == candidates[1:]
    assert after_loss([OTHERS["market"]], "c5.large", "eu-central-1a") == []


def test_a_price_that_is_too_low_says_nothing_of_on_demand() -> None:
    failed = OTHERS["market"]
    left = remaining(list(OTHERS.values()), failed, "SpotMaxPriceTooLow")
    assert left == [each for each in OTHERS.values() if each != failed]


def test_every_want_leaves_fewer_candidates() -> None:
    """So a launch ends, whatever AWS answers."""
    for code, _ in FAILURES:
        left = list(OTHERS.values())
        for _number in range(len(OTHERS)):
            left = remaining(left, left[0], code) if left else []
        assert left == []


@pytest.mark.parametrize("code", ["VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"])
def test_quotas_are_what_our_own_workers_may_use_up(code: str) -> None:
    assert is_quota(code)
    assert not is_quota("InsufficientInstanceCapacity")
