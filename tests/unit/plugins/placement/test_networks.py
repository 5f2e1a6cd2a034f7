# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VPC and subnets are looked at: the configured ones of the account and Region, else the default VPC's."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import place
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError, read
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.networks import Network

from tests.unit.plugins.placement.world import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_REGION,
    REGION,
    At,
    default_vpc,
    group,
    network,
    picture,
    reasons,
    refusal,
    request,
    subnets_of,
    vpc,
)

DEFAULT = default_vpc(
    At("subnet-default-a", "a"),
    At("subnet-default-b", "b"),
    At("subnet-added", "a", default=False),
    groups=[group("sg-added")],
)
OWN = vpc(
    "vpc-own",
    At("subnet-own-a", "a", default=False),
    At("subnet-own-b", "b", default=False),
    groups=[group(name, name=f"{name} by name") for name in ("sg-own", "sg-one", "sg-two", "sg-1", "sg-2")],
)
WORLD = picture(DEFAULT, OWN)

LOOKED_AT = [
    ("nothing configured: default subnets of the default VPC", [], {"subnet-default-a", "subnet-default-b"}),
    ("a VPC: all its subnets", [{"vpc_id": "vpc-own"}], {"subnet-own-a", "subnet-own-b"}),
    ("a VPC and a subnet", [{"vpc_id": "vpc-own", "subnet_ids": ["subnet-own-b"]}], {"subnet-own-b"}),
    ("a subnet named twice", [{"vpc_id": "vpc-own", "subnet_ids": ["subnet-own-b", "subnet-own-b"]}], {"subnet-own-b"}),
    (
        "the default VPC by name: all its subnets",
        [{"vpc_id": "vpc-default"}],
        {"subnet-default-a", "subnet-default-b", "subnet-added"},
    ),
    ("an entry without a VPC speaks of the default one", [{}], {"subnet-default-a", "subnet-default-b"}),
    (
        "another account's entry",
        [{"account": OTHER_ACCOUNT, "vpc_id": "vpc-x"}],
        {"subnet-default-a", "subnet-default-b"},
    ),
    ("another Region's entry", [{"region": OTHER_REGION, "vpc_id": "vpc-x"}], {"subnet-default-a", "subnet-default-b"}),
    ("a zone by name", [{"vpc_id": "vpc-own", "availability_zone": f"{REGION}b"}], {"subnet-own-b"}),
    ("a zone by id", [{"vpc_id": "vpc-own", "availability_zone": "euc1-az3"}], {"subnet-own-b"}),
    ("a zone of the default VPC", [{"availability_zone": f"{REGION}a"}], {"subnet-default-a"}),
    (
        "an entry for each zone",
        [
            {"vpc_id": "vpc-own", "availability_zone": f"{REGION}a"},
            {"vpc_id": "vpc-default", "availability_zone": f"{REGION}b"},
        ],
        {"subnet-own-a", "subnet-default-b"},
    ),
    (
        "two VPCs",
        [
            {"vpc_id": "vpc-own", "subnet_ids": ["subnet-own-a"]},
            {"vpc_id": "vpc-default", "subnet_ids": ["subnet-added"]},
        ],
        {"subnet-own-a", "subnet-added"},
    ),
    (
        "blank values count as not given",
        [{"vpc_id": "", "subnet_ids": [], "availability_zone": None}],
        {"subnet-default-a", "subnet-default-b"},
    ),
]


@pytest.mark.parametrize(("entries", "subnets"), [row[1:] for row in LOOKED_AT], ids=[row[0] for row in LOOKED_AT])
def test_a_worker_goes_where_the_settings_say(entries: list[dict[str, Any]], subnets: set[str]) -> None:
    placed = place(WORLD, request(*(network(**entry) for entry in entries)))
    assert set(subnets_of(placed)) == subnets
    assert {each.account for each in placed.candidates} == {ACCOUNT}
    assert {each.region for each in placed.candidates} == {REGION}


def test_a_candidate_carries_all_that_a_launch_needs() -> None:
    groups = ["sg-one", "sg-two"]
    entry = network(vpc_id="vpc-own", subnet_ids=["subnet-own-b"], security_group_ids=groups)
    candidate = place(WORLD, request(entry)).candidates[0]
    assert (candidate.vpc_id, candidate.subnet_id) == ("vpc-own", "subnet-own-b")
    assert (candidate.availability_zone, candidate.availability_zone_id) == (f"{REGION}b", "euc1-az3")
    assert candidate.security_group_ids == ("sg-one", "sg-two")
    assert (candidate.instance_type, candidate.architecture) == ("c6a.large", "x86_64")
    assert (candidate.public_address, candidate.market) == (False, "on-demand")


def test_each_subnet_keeps_the_groups_of_its_own_entry() -> None:
    first = network(vpc_id="vpc-own", security_group_ids=["sg-own"])
    second = network(vpc_id="vpc-default", subnet_ids=["subnet-added"], security_group_ids=["sg-added"])
    placed = place(WORLD, request(first, second))
    groups = {each.subnet_id: each.security_group_ids for each in placed.candidates}
    assert groups == {"subnet-own-a": ("sg-own",), "subnet-own-b": ("sg-own",), "subnet-added": ("sg-added",)}


TWICE = [
    ("the very same entry", {"security_group_ids": ["sg-1"]}, {"security_group_ids": ["sg-1"]}, ("sg-1",)),
    ("other groups", {"security_group_ids": ["sg-1"]}, {"security_group_ids": ["sg-2"]}, ("sg-1",)),
    ("the first is for another zone", {"availability_zone": f"{REGION}b"}, {"security_group_ids": ["sg-2"]}, ("sg-2",)),
    ("the first cannot be used", {"public_address": True}, {"security_group_ids": ["sg-2"]}, ("sg-2",)),
]


@pytest.mark.parametrize(("first", "second", "groups"), [row[1:] for row in TWICE], ids=[row[0] for row in TWICE])
def test_a_subnet_of_two_entries_is_tried_once_as_the_first_that_fits_says(
    first: dict[str, Any], second: dict[str, Any], groups: tuple[str, ...]
) -> None:
    entries = [network(vpc_id="vpc-own", **values) for values in (first, second)]
    placed = place(WORLD, request(*entries))
    taken = [each for each in placed.candidates if each.subnet_id == "subnet-own-a"]
    assert [each.security_group_ids for each in taken] == [groups] * 3
    assert reasons(placed)["subnet subnet-own-a"][0] != "rejected"


def test_a_subnet_that_two_entries_cannot_use_is_rejected_once_with_both_reasons() -> None:
    good = network(vpc_id="vpc-default")
    bad = [
        network(vpc_id="vpc-own", subnet_ids=["subnet-own-a"], availability_zone=f"{REGION}b"),
        network(vpc_id="vpc-own", subnet_ids=["subnet-own-a"], public_address=True),
    ]
    placed = place(WORLD, request(*bad, good))
    decision, reason = reasons(placed)["subnet subnet-own-a"]
    assert decision == "rejected"
    assert f"not in zone {REGION}b" in reason
    assert "internet gateway" in reason


PRIVATE_WORLD = picture(vpc("vpc-own", At("subnet-own-a", default=False)))
REFUSALS = [
    ("no default VPC", PRIVATE_WORLD, [], "NoDefaultVpc", (ACCOUNT, REGION), "mayfly_networks"),
    (
        "no default VPC for an entry without one",
        PRIVATE_WORLD,
        [{}],
        "NoDefaultVpc",
        (ACCOUNT, REGION),
        "mayfly_networks",
    ),
    (
        "an unknown VPC",
        WORLD,
        [{"vpc_id": "vpc-gone"}],
        "UnknownVpc",
        ("vpc-gone", ACCOUNT, "mayfly_networks"),
        "networks.yml",
    ),
    (
        "an unknown subnet",
        WORLD,
        [{"vpc_id": "vpc-own", "subnet_ids": ["subnet-own-a", "subnet-gone"]}],
        "UnknownSubnet",
        ("subnet-gone", "vpc-own", "mayfly_networks"),
        "networks.yml",
    ),
    (
        "a subnet of another VPC",
        WORLD,
        [{"vpc_id": "vpc-own", "subnet_ids": ["subnet-default-a"]}],
        "UnknownSubnet",
        ("subnet-default-a", "vpc-own", "mayfly_networks"),
        "networks.yml",
    ),
    (
        "an unknown zone",
        WORLD,
        [{"vpc_id": "vpc-own", "availability_zone": f"{REGION}z"}],
        "UnknownAvailabilityZone",
        (f"{REGION}z", REGION, "mayfly_networks"),
        f"{REGION}a, {REGION}b, {REGION}c",
    ),
    (
        "a zone of another Region",
        WORLD,
        [{"vpc_id": "vpc-own", "availability_zone": f"{OTHER_REGION}a"}],
        "UnknownAvailabilityZone",
        (f"{OTHER_REGION}a", "mayfly_networks"),
        f"{REGION}a",
    ),
    (
        "a default VPC without subnets",
        picture(default_vpc()),
        [],
        "NoNetwork",
        (ACCOUNT, REGION, "there is none"),
        "mayfly_networks",
    ),
    (
        "a default VPC without default subnets",
        picture(default_vpc(At("subnet-added", default=False))),
        [],
        "NoNetwork",
        (ACCOUNT, "there is none"),
        "mayfly_networks",
    ),
    (
        "no subnet in the entry's zone",
        WORLD,
        [{"vpc_id": "vpc-own", "availability_zone": f"{REGION}c"}],
        "NoNetwork",
        (f"subnet subnet-own-a: not in zone {REGION}c", f"subnet subnet-own-b: not in zone {REGION}c"),
        "mayfly_networks",
    ),
]


@pytest.mark.parametrize(
    ("world", "entries", "code", "named", "remedy"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_what_cannot_be_is_refused_with_the_setting_at_fault(
    world: Any, entries: list[dict[str, Any]], code: str, named: tuple[str, ...], remedy: str
) -> None:
    error = refusal(world, request(*(network(**entry) for entry in entries)))
    assert error.code == code
    assert all(part in error.message for part in named), error.message
    assert remedy in error.remedy
    assert str(error) == f"{code}: {error.message} {error.remedy}"


ENTRY = {"account": ACCOUNT, "region": REGION}
BAD_ENTRIES = {
    "no account": ({"region": REGION}, "account"),
    "no region": ({"account": ACCOUNT}, "region"),
    "a blank region": ({**ENTRY, "region": ""}, "region"),
    "neither": ({}, "account and region"),
    "an unknown key": ({**ENTRY, "subnets": ["subnet-1"]}, "subnets"),
    "two unknown keys": ({**ENTRY, "zone": "a", "public": True}, "public is unknown"),
    "subnets without a VPC": ({**ENTRY, "subnet_ids": ["subnet-1"]}, "vpc_id"),
    "an account without its leading zero": ({**ENTRY, "account": 12345678901}, "account"),
    "an account by name": ({**ENTRY, "account": "production"}, "account"),
    "subnets as a string": ({**ENTRY, "vpc_id": "vpc-1", "subnet_ids": "subnet-1"}, "subnet_ids"),
    "subnets as a dictionary": ({**ENTRY, "vpc_id": "vpc-1", "subnet_ids": {"subnet-1": 1}}, "subnet_ids"),
    "a blank among the subnets": ({**ENTRY, "vpc_id": "vpc-1", "subnet_ids": ["subnet-1", ""]}, "subnet_ids"),
    "a number among the subnets": ({**ENTRY, "vpc_id": "vpc-1", "subnet_ids": [1]}, "subnet_ids"),
    "groups as a string": ({**ENTRY, "security_group_ids": "sg-1"}, "security_group_ids"),
    "groups as a number": ({**ENTRY, "security_group_ids": 1}, "security_group_ids"),
    "a list of Regions": ({**ENTRY, "region": [REGION]}, "region"),
    "a list of VPCs": ({**ENTRY, "vpc_id": ["vpc-1"]}, "vpc_id"),
    "a number for the zone": ({**ENTRY, "availability_zone": 1}, "availability_zone"),
    "a public address that is neither true nor false": ({**ENTRY, "public_address": "perhaps"}, "public_address"),
    "a string for the entry": ("vpc-1", "vpc-1"),
    "nothing for the entry": (None, "None"),
}


@pytest.mark.parametrize(("entry", "named"), BAD_ENTRIES.values(), ids=BAD_ENTRIES.keys())
def test_a_bad_entry_is_refused_and_named(entry: Any, named: str) -> None:
    with pytest.raises(SettingError) as caught:
        read(tuple[Network, ...], "mayfly_networks", [ENTRY, entry])
    assert caught.value.message.startswith("mayfly_networks[1]")
    assert named in caught.value.message
    assert "networks.yml" in caught.value.remedy


WORDS = [(True, True), ("true", True), ("yes", True), ("On", True), (1, True)]
WORDS += [(False, False), ("false", False), ("No", False), ("off", False), (0, False), ("", False), (None, False)]


@pytest.mark.parametrize(("value", "public"), WORDS)
def test_a_public_address_is_what_the_word_says(value: Any, public: bool) -> None:
    assert read(Network, "mayfly_networks", {**ENTRY, "public_address": value}).public_address is public


def test_an_account_without_quotes_is_taken_when_it_is_whole() -> None:
    assert read(Network, "mayfly_networks", {"account": 111122223333, "region": REGION}).account == ACCOUNT
