# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to place many resources, without AWS: placement is a pure function of a picture and a request."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace

from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import GIB, INSTANCE_TYPES
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
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import Request, place
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.networks import Network

from tests.benchmarks.aims import Aims

_ACCOUNT, _REGION = "111122223333", "eu-central-1"
_ZONES = ("euc1-az1", "euc1-az2", "euc1-az3")
_VPCS, _SUBNETS = 20, 6
_AIM_SECONDS = 10.0
_AIM_GROWTH = 1.5  # seconds a placement of all, beside those of a tenth: 1 is linear, a square would be 10


def world() -> Picture:
    """A large account: 20 private VPCs of 6 subnets with endpoints for everything, and 400 security groups."""
    vpcs = [f"vpc-{number}" for number in range(_VPCS)]
    subnets = [(vpc, f"subnet-{vpc}-{number}", _ZONES[number % 3]) for vpc in vpcs for number in range(_SUBNETS)]
    https = Rule("tcp", 443, 443, "10.0.0.0/8")
    names = ("ebs", "s3", "ec2", "sts", "kms")
    return Picture(
        account=_ACCOUNT,
        region=_REGION,
        zones=tuple(Zone(f"{_REGION}{letter}", zone) for letter, zone in zip("abc", _ZONES, strict=True)),
        vpcs=tuple(Vpc(vpc, cidrs=("10.0.0.0/16",)) for vpc in vpcs),
        subnets=tuple(Subnet(name, vpc, zone, 200, cidr="10.0.0.0/24") for vpc, name, zone in subnets),
        route_tables=tuple(
            RouteTable(f"rtb-{name}", vpc, subnet_ids=frozenset({name}), routes=(Route("10.0.0.0/16", "local"),))
            for vpc, name, _ in subnets
        ),
        endpoints=tuple(
            Endpoint(f"vpce-{vpc}-{name}", vpc, f"com.amazonaws.{_REGION}.{name}", security_group_ids=(f"sg-{vpc}-0",))
            for vpc in vpcs
            for name in names
        ),
        security_groups=tuple(
            SecurityGroup(f"sg-{vpc}-{number}", vpc, ingress=(https, Rule("tcp", 22, 22, "10.0.0.5/32")))
            for vpc in vpcs
            for number in range(20)
        ),
        instance_types={
            name: InstanceType(name, "x86_64", frozenset(_ZONES), 2)
            for types in INSTANCE_TYPES.values()
            for name in types
        },
    )


def requests(count: int) -> list[Request]:
    """So many resources, each of another size, and in another zone than the one before."""
    image = Image("ami-1", "debian-12", "136693071363", "x86_64", "/dev/xvda", "2026-11-01")
    networks = tuple(
        Network(account=_ACCOUNT, region=_REGION, vpc_id=f"vpc-{number}", security_group_ids=(f"sg-vpc-{number}-1",))
        for number in range(_VPCS)
    )
    first = Request(
        operation="ec2_backup",
        size_bytes=0,
        repository_region=_REGION,
        networks=networks,
        images={"x86_64": image},
        control_node_cidr="10.0.0.5/32",
    )
    return [replace(first, size_bytes=number * GIB, zones=(_ZONES[number % 3],)) for number in range(count)]


def placements(aims: Aims, count: int) -> None:
    """Place ``count`` resources, and a tenth of them before."""
    picture = world()
    tenth = _seconds(picture, count // 10)
    seconds = _seconds(picture, count)
    tracemalloc.start()
    _seconds(picture, count // 10)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    candidates = len(place(picture, requests(1)[0]).candidates)
    more = f"{candidates} candidates each, peak {peak:.1f} MiB"
    aims.below(f"placements of {count}", seconds, _AIM_SECONDS, "s", more)
    aims.below("placements, growth for ten times as many", seconds / tenth / 10, _AIM_GROWTH, "times")


def _seconds(picture: Picture, count: int) -> float:
    wanted = requests(count)
    began = time.perf_counter()
    for each in wanted:
        place(picture, each)
    return time.perf_counter() - began
