# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe an account in a Region once, for all hosts of a run, as the plain values that placement reads."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from ..picture import Endpoint, InstanceType, Picture, Route, RouteTable, Subnet, Vpc, Zone

_TARGETS = (
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "NetworkInterfaceId",
    "InstanceId",
    "VpcPeeringConnectionId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
)
_ARCHITECTURES = ("x86_64", "arm64")


class Clients(Protocol):
    """Where EC2 clients come from."""

    def client(self, account_id: str, region: str, service: str) -> Any:
        """A client of the service for that account and Region."""


class Pictures:
    """The pictures of a run: each account and Region is described once, each instance type asked for once."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._pictures: dict[tuple[str, str], Picture] = {}
        self._asked: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._locks: dict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)

    def picture(self, account_id: str, region: str, instance_types: Iterable[str] = ()) -> Picture:
        """The picture of an account in a Region, with what it offers of ``instance_types``.

        Waits for another thread that is describing the same one. Raises botocore's errors as they are.
        """
        key = (account_id, region)
        with self._locks[key]:
            ec2 = self._clients.client(account_id, region, "ec2")
            if key not in self._pictures:
                self._pictures[key] = describe_network(ec2, account_id, region)
            unknown = set(instance_types) - self._asked[key]
            if unknown:
                known = self._pictures[key]
                offered = describe_instance_types(ec2, known.zones, unknown)
                self._pictures[key] = replace(known, instance_types={**known.instance_types, **offered})
                self._asked[key] |= unknown
            return self._pictures[key]


def describe_network(ec2: Any, account_id: str, region: str) -> Picture:
    """Zones, VPCs, subnets, route tables and available endpoints, in five calls or their pages."""
    zones = ec2.describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])["AvailabilityZones"]
    return Picture(
        account=account_id,
        region=region,
        zones=tuple(Zone(zone["ZoneName"], zone["ZoneId"]) for zone in zones),
        vpcs=tuple(Vpc(vpc["VpcId"], vpc.get("IsDefault", False)) for vpc in _pages(ec2, "describe_vpcs", "Vpcs")),
        subnets=tuple(_subnet(subnet) for subnet in _pages(ec2, "describe_subnets", "Subnets")),
        route_tables=tuple(_route_table(table) for table in _pages(ec2, "describe_route_tables", "RouteTables")),
        endpoints=tuple(
            _endpoint(endpoint)
            for endpoint in _pages(ec2, "describe_vpc_endpoints", "VpcEndpoints")
            if endpoint.get("State", "available").lower() == "available"
        ),
    )


def describe_instance_types(ec2: Any, zones: Iterable[Zone], names: Iterable[str]) -> dict[str, InstanceType]:
    """Those of ``names`` that the Region offers, with their architecture and the zones that have them."""
    wanted = [{"Name": "instance-type", "Values": sorted(names)}]
    offered: dict[str, set[str]] = defaultdict(set)
    ids = {zone.name: zone.id for zone in zones}
    arguments = {"LocationType": "availability-zone", "Filters": wanted}
    for offer in _pages(ec2, "describe_instance_type_offerings", "InstanceTypeOfferings", **arguments):
        if offer["Location"] in ids:
            offered[offer["InstanceType"]].add(ids[offer["Location"]])
    found: dict[str, InstanceType] = {}
    for kind in _pages(ec2, "describe_instance_types", "InstanceTypes", Filters=wanted) if offered else ():
        name = kind["InstanceType"]
        runs = kind.get("ProcessorInfo", {}).get("SupportedArchitectures", ())
        architecture = next((each for each in _ARCHITECTURES if each in runs), None)
        if architecture is not None and name in offered:
            found[name] = InstanceType(name, architecture, frozenset(offered[name]))
    return found


def _pages(ec2: Any, call: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    for page in ec2.get_paginator(call).paginate(**arguments):
        yield from page.get(key, ())


def _subnet(value: dict[str, Any]) -> Subnet:
    return Subnet(
        id=value["SubnetId"],
        vpc_id=value["VpcId"],
        zone_id=value["AvailabilityZoneId"],
        free_addresses=value["AvailableIpAddressCount"],
        default=value.get("DefaultForAz", False),
        public_on_launch=value.get("MapPublicIpOnLaunch", False),
    )


def _route_table(value: dict[str, Any]) -> RouteTable:
    associations = value.get("Associations", ())
    return RouteTable(
        id=value["RouteTableId"],
        vpc_id=value["VpcId"],
        main=any(each.get("Main") for each in associations),
        subnet_ids=frozenset(each["SubnetId"] for each in associations if each.get("SubnetId")),
        routes=tuple(
            Route(each["DestinationCidrBlock"], _target(each))
            for each in value.get("Routes", ())
            if each.get("DestinationCidrBlock")
        ),
    )


def _target(route: dict[str, Any]) -> str:
    if route.get("State") == "blackhole":
        return ""
    return next((str(route[name]) for name in _TARGETS if route.get(name)), "")


def _endpoint(value: dict[str, Any]) -> Endpoint:
    gateway = value.get("VpcEndpointType", "Gateway") == "Gateway"
    return Endpoint(
        id=value["VpcEndpointId"],
        vpc_id=value["VpcId"],
        service=value["ServiceName"],
        gateway=gateway,
        route_table_ids=frozenset(value.get("RouteTableIds") or ()),
        private_dns=gateway or bool(value.get("PrivateDnsEnabled", False)),
    )
