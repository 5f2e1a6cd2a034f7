# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts to place workers in, one line each: VPCs of subnets with a way out or without one, and endpoints.

Every subnet has a route table of its own, ``rtb-SUBNET``, unless it says that the VPC's main one, ``rtb-main-VPC``,
serves it. Ids say what a thing is for, so that a case reads as a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import GIB, INSTANCE_TYPES
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.errors import PlacementError
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import (
    Endpoint,
    Image,
    InstanceType,
    Picture,
    Route,
    RouteTable,
    Rule,
    SecurityGroup,
    Subnet,
    Vpc,
    Zone,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import Placement, Request, place
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.instance_types import InstanceTypes
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import read
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.networks import Network

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"
REGION = "eu-central-1"
OTHER_REGION = "us-east-1"
CONTROL_NODE = "10.20.0.5/32"
# As in a real Region, an account's names do not follow the ids.
ZONE_IDS = {"a": "euc1-az2", "b": "euc1-az3", "c": "euc1-az1"}
LEADS_TO = {"nat": "nat-1", "internet": "igw-1", "transit": "tgw-1", "black hole": ""}
SERVICES = ("ebs", "s3", "ec2", "sts", "kms")
CIDR = "172.31.0.0/16"
SSH = Rule("tcp", 22, 22, "10.20.0.0/16")


@dataclass(frozen=True)
class At:
    """A subnet and its way out: a key of LEADS_TO, or nowhere. With ``main`` the VPC's main table serves it."""

    id: str
    zone: str = "a"
    free: int = 100
    out: str = "nat"
    default: bool = True
    assigns_public: bool = False
    main: bool = False
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Net:
    """A VPC: its subnets, its endpoints, and the way out of its main route table."""

    id: str
    subnets: tuple[At, ...]
    endpoints: tuple[Endpoint, ...] = ()
    main_out: str = "nowhere"
    default: bool = False
    groups: tuple[SecurityGroup, ...] = ()
    changes: tuple[tuple[str, Any], ...] = ()


def vpc(
    name: str,
    *subnets: At,
    endpoints: Iterable[Endpoint] = (),
    main_out: str = "nowhere",
    groups: Iterable[SecurityGroup] = (),
    **changes: Any,
) -> Net:
    """A VPC of the user's own; ``changes`` are those of the Vpc itself."""
    return Net(name, subnets, tuple(endpoints), main_out, groups=tuple(groups), changes=tuple(changes.items()))


def default_vpc(*subnets: At, **more: Any) -> Net:
    """The default VPC of the account and Region; otherwise as :func:`vpc`."""
    return replace(vpc("vpc-default", *subnets, **more), default=True)


def group(group_id: str, *ingress: Rule, **changes: Any) -> SecurityGroup:
    """A security group of the VPC that is given it; it lets SSH in from the control node unless it says what."""
    return SecurityGroup(group_id, "", ingress=ingress or (SSH,), **changes)


def interface(service: str, region: str = REGION, *, private_dns: bool = True, group: str = "") -> Endpoint:
    """An interface endpoint in the VPC that is given it."""
    groups = (group or "sg-endpoints",)
    return Endpoint(
        f"vpce-{service}", "", f"com.amazonaws.{region}.{service}", private_dns=private_dns, security_group_ids=groups
    )


def gateway(service: str, *tables: str, region: str = REGION) -> Endpoint:
    """A gateway endpoint for those route tables."""
    name = f"com.amazonaws.{region}.{service}"
    return Endpoint(f"vpce-{service}", "", name, gateway=True, route_table_ids=frozenset(tables))


def interfaces(*without: str) -> list[Endpoint]:
    """Interface endpoints for all that a backup needs, but for those named."""
    return [interface(service) for service in SERVICES if service not in without]


def offer(name: str, zones: str = "abc", architecture: str = "x86_64") -> InstanceType:
    """An instance type and the zones that have it."""
    return InstanceType(name, architecture, frozenset(ZONE_IDS[zone] for zone in zones))


ALL_OFFERED = tuple(offer(name) for names in INSTANCE_TYPES.values() for name in names)


# Of the endpoints that say no other: lets the whole VPC in.
ENDPOINTS = group("sg-endpoints", Rule("tcp", 443, 443, CIDR))
IMAGES = {
    architecture: Image(f"ami-{architecture}", "debian-12", "136693071363", architecture, "/dev/xvda", "2026-11-01")
    for architecture in ("x86_64", "arm64")
}


def picture(*nets: Net, types: Iterable[InstanceType] = ALL_OFFERED, region: str = REGION) -> Picture:
    """The account with these VPCs."""
    subnets: list[Subnet] = []
    tables: list[RouteTable] = []
    for net in nets:
        tables.append(RouteTable(f"rtb-main-{net.id}", net.id, main=True, routes=_routes(net.main_out)))
        for each in net.subnets:
            zone_id = ZONE_IDS[each.zone]
            cidr = f"172.31.{len(subnets)}.0/24"
            tags = {"Name": f"{each.id} by name", **dict(each.tags)}
            subnets.append(Subnet(each.id, net.id, zone_id, each.free, each.default, each.assigns_public, cidr, tags))
            if not each.main:
                served = frozenset({each.id})
                tables.append(RouteTable(f"rtb-{each.id}", net.id, subnet_ids=served, routes=_routes(each.out)))
    return Picture(
        account=ACCOUNT,
        region=region,
        zones=tuple(Zone(f"{region}{letter}", zone_id) for letter, zone_id in ZONE_IDS.items()),
        vpcs=tuple(
            replace(Vpc(net.id, net.default, (CIDR,), tags={"Name": f"{net.id} by name"}), **dict(net.changes))
            for net in nets
        ),
        subnets=tuple(subnets),
        route_tables=tuple(tables),
        endpoints=tuple(replace(each, vpc_id=net.id) for net in nets for each in net.endpoints),
        security_groups=tuple(replace(each, vpc_id=net.id) for net in nets for each in (ENDPOINTS, *net.groups)),
        instance_types={each.name: each for each in types},
    )


def _routes(out: str) -> tuple[Route, ...]:
    local = Route(CIDR, "local")
    return (local,) if out == "nowhere" else (local, Route("0.0.0.0/0", LEADS_TO[out]))


def network(**values: Any) -> Network:
    """An entry of mayfly_networks for the account and Region, unless it says another."""
    return read(Network, "mayfly_networks", {"account": ACCOUNT, "region": REGION, **values})


def request(*networks: Network, size_gib: int = 10, instance_types: Any = None, **changes: Any) -> Request:
    """A backup of 10 GiB, unless changed."""
    values = {
        "operation": "ec2_backup",
        "repository_region": REGION,
        "control_node_cidr": CONTROL_NODE,
        "images": IMAGES,
        "instance_types": InstanceTypes.parsed(instance_types or {}),
    }
    return Request(networks=networks, size_bytes=size_gib * GIB, **{**values, **changes})


def refusal(where: Picture, wanted: Request) -> PlacementError:
    """The error that placing ends in."""
    with pytest.raises(PlacementError) as caught:
        place(where, wanted)
    return caught.value


def reasons(placed: Placement) -> dict[str, tuple[str, str]]:
    """Decision and reason by subject, of which each has one."""
    found = {each.subject: (each.decision, each.reason) for each in placed.reasons if each.decision != "warning"}
    assert len(found) == sum(each.decision != "warning" for each in placed.reasons), "a subject has two reasons"
    return found


def warned(placed: Placement) -> list[str]:
    """What is warned of."""
    return [each.reason for each in placed.reasons if each.decision == "warning"]


def subnets_of(placed: Placement) -> list[str]:
    """Subnets in the order they are tried in."""
    return list(dict.fromkeys(each.subnet_id for each in placed.candidates))


def types_of(placed: Placement) -> list[str]:
    """Instance types in the order they are tried in."""
    return list(dict.fromkeys(each.instance_type for each in placed.candidates))
