# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the subnets that would do comes first: the resource's zone, then most free addresses, then the id."""

from __future__ import annotations

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import INSTANCE_TYPES
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Zone
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import place

from tests.unit.plugins.placement.world import (
    REGION,
    ZONE_IDS,
    At,
    default_vpc,
    network,
    picture,
    reasons,
    refusal,
    request,
    subnets_of,
    vpc,
)

ZONE_A, ZONE_B, ZONE_C = ZONE_IDS["a"], ZONE_IDS["b"], ZONE_IDS["c"]


def near(zone: str | None) -> tuple[str, ...]:
    """The zones of a request."""
    return (zone,) if zone else ()


ORDERS = [
    (
        "the resource's zone beats free addresses",
        [At("subnet-full-of-room", "a", free=4000), At("subnet-near", "b", free=1)],
        ZONE_B,
        ["subnet-near", "subnet-full-of-room"],
    ),
    (
        "free addresses beat the id",
        [At("subnet-1", free=10), At("subnet-2", free=11), At("subnet-3", free=9)],
        ZONE_A,
        ["subnet-2", "subnet-1", "subnet-3"],
    ),
    (
        "the id decides at last",
        [At("subnet-2", free=10), At("subnet-3", free=10), At("subnet-1", free=10)],
        ZONE_A,
        ["subnet-1", "subnet-2", "subnet-3"],
    ),
    (
        "free addresses count among the other zones too",
        [At("subnet-a", "a", free=5), At("subnet-b", "b", free=50), At("subnet-c", "c", free=500)],
        ZONE_A,
        ["subnet-a", "subnet-c", "subnet-b"],
    ),
    (
        "without a zone, free addresses decide",
        [At("subnet-a", "a", free=5), At("subnet-b", "b", free=50)],
        None,
        ["subnet-b", "subnet-a"],
    ),
    (
        "no subnet in the resource's zone",
        [At("subnet-a", "a", free=5), At("subnet-b", "b", free=50)],
        ZONE_C,
        ["subnet-b", "subnet-a"],
    ),
    (
        "one address is enough, none is not",
        [At("subnet-none", free=0), At("subnet-one", free=1)],
        ZONE_A,
        ["subnet-one"],
    ),
]


@pytest.mark.parametrize(("subnets", "zone", "order"), [row[1:] for row in ORDERS], ids=[row[0] for row in ORDERS])
def test_subnets_are_tried_from_the_best_one_on(subnets: list[At], zone: str | None, order: list[str]) -> None:
    placed = place(picture(default_vpc(*subnets)), request(zones=near(zone)))
    assert subnets_of(placed) == order
    found = reasons(placed)
    assert [found[f"subnet {name}"][0] for name in order] == ["chosen", *["fallback"] * (len(order) - 1)]


def test_every_type_is_tried_in_a_subnet_before_the_next_subnet() -> None:
    placed = place(picture(default_vpc(At("subnet-1", free=2), At("subnet-2", free=1))), request())
    pairs = [(each.subnet_id, each.instance_type) for each in placed.candidates]
    assert pairs == [(subnet, name) for subnet in ("subnet-1", "subnet-2") for name in INSTANCE_TYPES["small"]]


def test_subnets_of_several_entries_compete_with_one_another() -> None:
    world = picture(vpc("vpc-one", At("subnet-one", "a", free=5)), vpc("vpc-two", At("subnet-two", "b", free=500)))
    entries = [network(vpc_id="vpc-one"), network(vpc_id="vpc-two")]
    assert subnets_of(place(world, request(*entries, zones=near(ZONE_A)))) == ["subnet-one", "subnet-two"]
    assert subnets_of(place(world, request(*entries, zones=near(ZONE_C)))) == ["subnet-two", "subnet-one"]


def test_an_entry_for_another_zone_is_a_fallback() -> None:
    world = picture(vpc("vpc-own", At("subnet-a", "a", free=5), At("subnet-b", "b", free=500)))
    entries = [network(vpc_id="vpc-own", availability_zone=f"{REGION}{letter}") for letter in "ba"]
    assert subnets_of(place(world, request(*entries, zones=near(ZONE_A)))) == ["subnet-a", "subnet-b"]


def test_zones_are_compared_by_id_since_accounts_name_them_differently() -> None:
    """The resource lies in eu-central-1a of its own account, which is the worker account's eu-central-1b."""
    production = picture(default_vpc())
    backup = picture(
        default_vpc(At("subnet-of-the-same-name", "a", free=500), At("subnet-of-the-same-id", "b", free=1))
    )
    swapped = {"a": "b", "b": "a", "c": "c"}
    zones = tuple(Zone(f"{REGION}{letter}", ZONE_IDS[swapped[letter]]) for letter in "abc")
    object.__setattr__(production, "zones", zones)
    zone = production.zone_id(f"{REGION}a")
    placed = place(backup, request(zones=near(zone)))
    assert subnets_of(placed) == ["subnet-of-the-same-id", "subnet-of-the-same-name"]
    assert placed.candidates[0].availability_zone == f"{REGION}b"
    assert placed.candidates[0].availability_zone_id == ZONE_B


def test_the_reason_says_how_many_addresses_are_free_and_where() -> None:
    world = picture(default_vpc(At("subnet-a", "a", free=7), At("subnet-b", "b", free=9), At("subnet-c", "c", free=0)))
    assert {
        name: each for name, each in reasons(place(world, request(zones=near(ZONE_A)))).items() if "subnet" in name
    } == {
        "subnet subnet-a": ("chosen", "7 free addresses in the resource's zone"),
        "subnet subnet-b": ("fallback", f"9 free addresses in zone {ZONE_B}"),
        "subnet subnet-c": ("rejected", "no free address"),
    }


def test_no_free_address_anywhere_is_an_error() -> None:
    error = refusal(picture(default_vpc(At("subnet-a", "a", free=0), At("subnet-b", "b", free=0))), request())
    assert error.code == "NoNetwork"
    assert "subnet subnet-a: no free address; subnet subnet-b: no free address" in error.message
    assert "mayfly_networks" in error.remedy
