# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of placement said once more, in other words, for accounts of ``world`` without security groups' faults."""

from __future__ import annotations

from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import profile_of, services_of
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Picture, RouteTable, Subnet
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import Candidate, Request
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.networks import Network

from tests.unit.plugins.placement.world import ACCOUNT, REGION


def own_types(wanted: Request) -> dict[str, None]:
    """The types that the user or the table names."""
    return dict.fromkeys(wanted.instance_types.of(REGION, profile_of(wanted.operation, wanted.size_bytes)))


def fitting(wanted: Request) -> list[Network]:
    """The entries of the account and Region, or one that stands for the default VPC."""
    here = [each for each in wanted.networks if each.account == ACCOUNT and each.region == REGION]
    return here or [Network(account=ACCOUNT, region=REGION)]


def named_subnets(world: Picture, entry: Network) -> set[str]:
    """The subnets that an entry speaks of."""
    if entry.subnet_ids:
        return set(entry.subnet_ids)
    if entry.vpc_id:
        return {subnet.id for subnet in world.subnets if subnet.vpc_id == entry.vpc_id}
    return {subnet.id for subnet in world.subnets if subnet.vpc_id == "vpc-default" and subnet.default}


def possible(world: Picture, wanted: Request) -> set[tuple[str, str]]:
    """The subnets and types that obey every rule."""
    names = {zone.id: (None, zone.id, zone.name) for zone in world.zones}
    kinds = [world.instance_types[name] for name in own_types(wanted) if name in world.instance_types]
    return {
        (subnet.id, kind.name)
        for entry in fitting(wanted)
        for subnet in world.subnets
        for kind in kinds
        if subnet.id in named_subnets(world, entry)
        and entry.availability_zone in names[subnet.zone_id]
        and subnet.free_addresses > 0
        and reached(world, wanted, subnet, public=entry.public_address)
        and subnet.zone_id in kind.zone_ids
        and kind.architecture in wanted.images
    }


def allowed(world: Picture, wanted: Request, candidate: Candidate) -> bool:
    """Whether some entry names that subnet, in that zone, with those groups and that address."""
    names = (None, candidate.availability_zone, candidate.availability_zone_id)
    return any(
        candidate.subnet_id in named_subnets(world, entry)
        and entry.availability_zone in names
        and entry.security_group_ids == candidate.security_group_ids
        and entry.public_address == candidate.public_address
        for entry in fitting(wanted)
    )


def reached(world: Picture, wanted: Request, subnet: Subnet, *, public: bool) -> bool:
    """Whether AWS's services can be reached from there."""
    own = [table for table in world.route_tables if subnet.id in table.subnet_ids]
    table = own[0] if own else RouteTable("none", "none")
    if not own:
        table = next(each for each in world.route_tables if each.main and each.vpc_id == subnet.vpc_id)
    targets = [route.target for route in table.routes if route.destination == "0.0.0.0/0" and route.target]
    if public:
        return targets == ["igw-1"] and subnet.public_on_launch
    if targets in (["nat-1"], ["tgw-1"]):
        return True
    names = [each.name for each in services_of(wanted.operation, REGION, REGION)]
    regions = {name: wanted.repository_region if name in ("s3", "kms") else REGION for name in names}
    return all(
        any(
            each.vpc_id == subnet.vpc_id
            and each.service == f"com.amazonaws.{region}.{service}"
            and (table.id in each.route_table_ids if each.gateway else each.private_dns)
            for each in world.endpoints
        )
        for service, region in regions.items()
    )
