# SPDX-License-Identifier: GPL-3.0-or-later
"""Worker configurations by names and by one tag, and work that is bound to a VPC of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import place
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.reach import Peer
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError, read
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.networks import Network

from tests.unit.plugins.placement.world import (
    ACCOUNT,
    CIDR,
    CONTROL_NODE,
    OTHER_ACCOUNT,
    REGION,
    ZONE_IDS,
    At,
    Rule,
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

TAG = {"mayfly": "workers"}
MARKED = (("mayfly", "workers"),)
OWN = vpc(
    "vpc-own",
    At("subnet-a", "a", default=False, tags=MARKED),
    At("subnet-b", "b", default=False),
    groups=[group("sg-1", name="workers", tags=TAG), group("sg-2", name="others")],
    tags={"Name": "own", **TAG},
)
WORLD = picture(default_vpc(At("subnet-default")), OWN)

BY_NAME: list[tuple[str, dict[str, Any], set[str], tuple[str, ...]]] = [
    ("a VPC", {"vpc_name": "own"}, {"subnet-a", "subnet-b"}, ()),
    ("a subnet", {"vpc_name": "own", "subnet_names": ["subnet-b by name"]}, {"subnet-b"}, ()),
    ("a subnet of a VPC by id", {"vpc_id": "vpc-own", "subnet_names": ["subnet-b by name"]}, {"subnet-b"}, ()),
    ("a group", {"vpc_name": "own", "security_group_names": ["workers"]}, {"subnet-a", "subnet-b"}, ("sg-1",)),
    (
        "two groups",
        {"vpc_name": "own", "security_group_names": ["others", "workers"]},
        {"subnet-a", "subnet-b"},
        ("sg-2", "sg-1"),
    ),
    ("one tag", {"tag": {"key": "mayfly", "value": "workers"}}, {"subnet-a"}, ("sg-1",)),
]


@pytest.mark.parametrize(("entry", "subnets", "groups"), [row[1:] for row in BY_NAME], ids=[row[0] for row in BY_NAME])
def test_a_network_is_found_by(entry: dict[str, Any], subnets: set[str], groups: tuple[str, ...]) -> None:
    placed = place(WORLD, request(network(**entry)))
    assert set(subnets_of(placed)) == subnets
    assert {each.security_group_ids for each in placed.candidates} == {groups}


def test_a_tag_serves_every_account_and_region_of_an_organization() -> None:
    entry = read(Network, "mayfly_networks", {"tag": {"key": "mayfly", "value": "workers"}})
    for world in (WORLD, replace(WORLD, account=OTHER_ACCOUNT), replace(WORLD, region="us-east-1")):
        assert subnets_of(place(world, request(entry, repository_region=world.region))) == ["subnet-a"]


TWIN = picture(OWN, vpc("vpc-twin", At("subnet-x"), tags={"Name": "own"}))
NOT_FOUND: list[tuple[str, Any, dict[str, Any], str, str]] = [
    ("no VPC of that name", WORLD, {"vpc_name": "gone"}, "UnknownVpc", "gone"),
    ("two VPCs of that name", TWIN, {"vpc_name": "own"}, "AmbiguousVpc", "vpc-own, vpc-twin"),
    ("no subnet of that name", WORLD, {"vpc_name": "own", "subnet_names": ["gone"]}, "UnknownSubnet", "gone"),
    (
        "two subnets of that name",
        picture(vpc("vpc-own", *(At(each, tags=(("Name", "twin"),)) for each in ("subnet-1", "subnet-2")))),
        {"vpc_id": "vpc-own", "subnet_names": ["twin"]},
        "AmbiguousSubnet",
        "subnet-1, subnet-2",
    ),
    ("no group", WORLD, {"vpc_id": "vpc-own", "security_group_ids": ["sg-9"]}, "UnknownSecurityGroup", "sg-9"),
    ("a group of another VPC", WORLD, {"security_group_ids": ["sg-1"]}, "UnknownSecurityGroup", "sg-1"),
    ("an id as a name", WORLD, {"vpc_name": "own", "security_group_names": ["sg-1"]}, "UnknownSecurityGroup", "sg-1"),
    ("the tag on no VPC", WORLD, {"tag": {"key": "mayfly", "value": "x"}}, "UnknownVpc", "mayfly=x"),
    (
        "the tag on no subnet",
        picture(vpc("vpc-own", At("subnet-a"), groups=[group("sg-1", tags=TAG)], tags=TAG)),
        {"tag": {"key": "mayfly", "value": "workers"}},
        "UnknownSubnet",
        "none of its subnets",
    ),
    (
        "the tag on no group",
        picture(vpc("vpc-own", At("subnet-a", tags=MARKED), tags=TAG)),
        {"tag": {"key": "mayfly", "value": "workers"}},
        "UnknownSecurityGroup",
        "no security group",
    ),
]


@pytest.mark.parametrize(
    ("world", "entry", "code", "named"), [row[1:] for row in NOT_FOUND], ids=[row[0] for row in NOT_FOUND]
)
def test_what_is_not_there_is_refused(world: Any, entry: dict[str, Any], code: str, named: str) -> None:
    error = refusal(world, request(network(**entry)))
    assert error.code == code
    assert named in error.message
    assert "mayfly_networks" in error.message


TWO_WAYS: dict[str, dict[str, Any]] = {
    "a VPC by id and by name": {"vpc_id": "vpc-1", "vpc_name": "x"},
    "subnets by ids and by names": {"vpc_id": "vpc-1", "subnet_ids": ["s"], "subnet_names": ["x"]},
    "groups by ids and by names": {"security_group_ids": ["s"], "security_group_names": ["x"]},
    "a tag and a VPC": {"tag": {"key": "a"}, "vpc_id": "vpc-1"},
    "a tag and subnets": {"tag": {"key": "a"}, "subnet_names": ["x"]},
    "a tag without a key": {"tag": {"value": "x"}},
    "a tag as text": {"tag": "a=b"},
}


@pytest.mark.parametrize("entry", TWO_WAYS.values(), ids=TWO_WAYS.keys())
def test_two_ways_to_say_one_thing_are_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="mayfly_networks"):
        network(**entry)


# Work that is bound to a VPC: that of the DB instance, or of a mount target.
DATABASE = vpc("vpc-db", At("subnet-a", "a"), At("subnet-b", "b"), At("subnet-c", "c"), groups=[group("sg-1")])
BOUND = picture(default_vpc(At("subnet-default", "a")), DATABASE)
ZONE_A, ZONE_B = ZONE_IDS["a"], ZONE_IDS["b"]


def bound(*networks: Network, **changes: Any) -> Any:
    """A request of a DB instance in zones a and b."""
    values = {"operation": "rds_backup", "vpc_id": "vpc-db", "zones": (ZONE_B, ZONE_A), **changes}
    return request(*networks, **values)


def test_a_worker_for_a_database_goes_into_its_vpc_and_zones() -> None:
    placed = place(BOUND, bound())
    assert subnets_of(placed) == ["subnet-b", "subnet-a"]
    assert "none that the resource is in" in reasons(placed)["subnet subnet-c"][1]


def test_configured_subnets_of_that_vpc_are_preferred_to_all_of_it() -> None:
    entries = [network(vpc_id="vpc-db", subnet_ids=["subnet-a"], security_group_ids=["sg-1"]), network()]
    placed = place(BOUND, bound(*entries))
    assert subnets_of(placed) == ["subnet-a"]
    assert placed.candidates[0].security_group_ids == ("sg-1",)


def test_configurations_of_other_vpcs_say_nothing_of_that_vpc() -> None:
    assert subnets_of(place(BOUND, bound(network(vpc_id="vpc-default")))) == ["subnet-b", "subnet-a"]


def test_a_vpc_that_is_not_there_is_refused() -> None:
    error = refusal(BOUND, bound(vpc_id="vpc-gone"))
    assert (error.code, "vpc-gone" in error.message) == ("UnknownVpc", True)


def test_a_database_needs_its_vpcs_names() -> None:
    world = picture(vpc("vpc-db", At("subnet-a", "a"), dns_support=False))
    assert "enableDnsSupport" in refusal(world, bound()).message


# An index: the mount target of zone a is in sg-target.
def mount(*rules: Rule, workers: tuple[Rule, ...] = (Rule("-1", 0, 65535, "0.0.0.0/0"),)) -> Any:
    """A VPC with a mount target whose group has these rules, and a group for workers."""
    groups = [group("sg-target", *rules), group("sg-workers", Rule("tcp", 22, 22, CONTROL_NODE), egress=workers)]
    return picture(vpc("vpc-fs", At("subnet-a", "a"), groups=groups))


TARGET = Peer("mount target fsmt-1", ZONE_A, 2049, "172.31.0.9/32", ("sg-target",))
INDEX = {"operation": "efs_index", "vpc_id": "vpc-fs", "zones": (ZONE_A,), "peers": (TARGET,)}
HTTPS = Rule("tcp", 443, 443, "0.0.0.0/0")
MOUNTS: list[tuple[str, Any, dict[str, Any], str]] = [
    ("the VPC's range", mount(Rule("tcp", 2049, 2049, CIDR)), {}, ""),
    ("the worker's group", mount(Rule("tcp", 2049, 2049, "sg-workers")), {"security_group_ids": ["sg-workers"]}, ""),
    ("a group that the worker is not in", mount(Rule("tcp", 2049, 2049, "sg-workers")), {}, "in from no worker"),
    ("nobody", mount(Rule("tcp", 22, 22, CIDR)), {}, "sg-target of mount target fsmt-1 lets TCP 2049 in from no"),
    (
        "the VPC's range, and workers are not let out",
        mount(Rule("tcp", 2049, 2049, CIDR), workers=(HTTPS,)),
        {"security_group_ids": ["sg-workers"]},
        "sg-workers lets no TCP 2049 out to mount target fsmt-1",
    ),
    (
        "the VPC's range, and workers are let out to the target's group",
        mount(Rule("tcp", 2049, 2049, CIDR), workers=(HTTPS, Rule("tcp", 2049, 2049, "sg-target"))),
        {"security_group_ids": ["sg-workers"]},
        "",
    ),
    (
        "the VPC's range, and workers are let out to the target's address",
        mount(Rule("tcp", 2049, 2049, CIDR), workers=(HTTPS, Rule("tcp", 2049, 2049, "172.31.0.0/28"))),
        {"security_group_ids": ["sg-workers"]},
        "",
    ),
]


@pytest.mark.parametrize(("world", "entry", "fault"), [row[1:] for row in MOUNTS], ids=[row[0] for row in MOUNTS])
def test_a_mount_target_lets_in(world: Any, entry: dict[str, Any], fault: str) -> None:
    wanted = request(network(vpc_id="vpc-fs", **entry), **INDEX)
    if fault:
        assert fault in refusal(world, wanted).message
    else:
        assert subnets_of(place(world, wanted)) == ["subnet-a"]


def test_file_recovery_must_be_reached_by_the_operator() -> None:
    rules = [Rule("tcp", 22, 22, CONTROL_NODE), Rule("tcp", 443, 443, "10.9.0.0/16")]
    world = picture(default_vpc(At("subnet-a"), groups=[group("sg-workers", *rules)]))
    entry = network(security_group_ids=["sg-workers"])
    good = request(entry, operation="file_recovery_from_backup", operator_cidr="10.9.1.1/32")
    assert place(world, good).candidates
    error = refusal(world, replace(good, operator_cidr="10.8.1.1/32"))
    assert "sg-workers lets TCP 443 in from nowhere that holds 10.8.1.1/32" in error.message
    assert place(world, request(entry, operator_cidr="10.8.1.1/32")).candidates, "a backup has no web page"


def test_the_world_is_the_accounts_own() -> None:
    assert (WORLD.account, WORLD.region) == (ACCOUNT, REGION)
