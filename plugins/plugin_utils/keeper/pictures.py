# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe an account in a Region once, for all hosts of a run, as the plain values that placement reads."""

from __future__ import annotations

import ipaddress
import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from ..placement.picture import (
    Endpoint,
    InstanceType,
    Picture,
    Quota,
    Route,
    RouteTable,
    Rule,
    SecurityGroup,
    Subnet,
    Vpc,
    Zone,
)
from ..placement.types import ON_DEMAND, SPOT, quota_class
from . import aws, prices
from .things import TEMPORARY

log = logging.getLogger(__name__)

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
_LAST_PORT = 65535
_NAME_SERVERS = "domain-name-servers"
# And at the third address of the first range (https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html).
_AMAZONS_OWN = ("AmazonProvidedDNS", "169.254.169.253", "fd00:ec2::253")
_LIVE = {"Name": "instance-state-name", "Values": ["pending", "running"]}


class Clients(prices.Clients, Protocol):
    """Where clients come from."""

    def client(self, account_id: str, region: str, service: str) -> Any:
        """A client of the service for that account and Region."""


class Pictures:
    """The pictures of a run: each account and Region is described once, each instance type asked for once."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._pictures: dict[tuple[str, str], Picture] = {}
        self._asked: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._named: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._counted: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._priced: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
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

    def with_names(self, account_id: str, region: str, vpc_ids: Iterable[str]) -> Picture:
        """The picture, once more, when it is known of these VPCs whether they resolve names: two calls for each.

        Raises as :meth:`picture`.
        """
        key = (account_id, region)
        with self._locks[key]:
            picture = self._pictures[key]
            unknown = set(vpc_ids) - self._named[key]
            if unknown:
                ec2 = self._clients.client(account_id, region, "ec2")
                vpcs = tuple(_with_names(ec2, each) if each.id in unknown else each for each in picture.vpcs)
                self._pictures[key] = replace(picture, vpcs=vpcs)
                self._named[key] |= unknown
            return self._pictures[key]

    def with_quotas(self, account_id: str, region: str, codes: Iterable[str], deployment: str) -> Picture:
        """The picture, once more, with these quotas of vCPUs and their use, as far as the role may ask for them."""
        key = (account_id, region)
        with self._locks[key]:
            picture = self._pictures[key]
            unknown = set(codes) - self._counted[key]
            if unknown:
                self._counted[key] |= unknown
                quotas = self._clients.client(account_id, region, "service-quotas")
                answers = {code: _limit(quotas, code) for code in sorted(unknown)}
                limits = {code: answer for code, answer in answers.items() if isinstance(answer, int)}
                faults = {f"quota {code}": answer for code, answer in answers.items() if isinstance(answer, str)}
                found = _used(self._clients.client(account_id, region, "ec2"), limits, deployment) if limits else {}
                self._pictures[key] = replace(
                    picture, quotas={**picture.quotas, **found}, unknown={**picture.unknown, **faults}
                )
            return self._pictures[key]

    def with_prices(self, account_id: str, region: str, wanted: Iterable[tuple[str, str]]) -> Picture:
        """The picture, once more, with the prices of these types, each on a market, as far as AWS tells them."""
        key = (account_id, region)
        with self._locks[key]:
            picture = self._pictures[key]
            new = set(wanted) - self._priced[key]
            if new:
                self._priced[key] |= new
                found, unknown = prices.describe(self._clients, picture, new)
                self._pictures[key] = replace(
                    picture, prices={**picture.prices, **found}, unknown={**picture.unknown, **unknown}
                )
            return self._pictures[key]


def describe_network(ec2: Any, account_id: str, region: str) -> Picture:
    """Zones, VPCs, subnets, routes, endpoints and security groups, in eight calls or their pages."""
    zones = ec2.describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])["AvailabilityZones"]
    gateways = {
        attached["VpcId"]
        for gateway in _pages(ec2, "describe_internet_gateways", "InternetGateways")
        for attached in gateway.get("Attachments", ())
    }
    resolvers = {
        each["DhcpOptionsId"]: _resolvers(each) for each in _pages(ec2, "describe_dhcp_options", "DhcpOptions")
    }
    return Picture(
        account=account_id,
        region=region,
        zones=tuple(Zone(zone["ZoneName"], zone["ZoneId"]) for zone in zones),
        vpcs=tuple(_vpc(vpc, gateways, resolvers) for vpc in _pages(ec2, "describe_vpcs", "Vpcs")),
        subnets=tuple(_subnet(subnet) for subnet in _pages(ec2, "describe_subnets", "Subnets")),
        route_tables=tuple(_route_table(table) for table in _pages(ec2, "describe_route_tables", "RouteTables")),
        endpoints=tuple(
            _endpoint(endpoint)
            for endpoint in _pages(ec2, "describe_vpc_endpoints", "VpcEndpoints")
            if endpoint.get("State", "available").lower() == "available"
        ),
        security_groups=tuple(_group(group) for group in _pages(ec2, "describe_security_groups", "SecurityGroups")),
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
            vcpus = int(kind.get("VCpuInfo", {}).get("DefaultVCpus", 0))
            found[name] = InstanceType(name, architecture, frozenset(offered[name]), vcpus)
    return found


def _pages(ec2: Any, call: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    for page in ec2.get_paginator(call).paginate(**arguments):
        yield from page.get(key, ())


def _tags(value: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in value.get("Tags", ())}


def _vpc(value: dict[str, Any], gateways: set[str], resolvers: dict[str, tuple[str, ...]]) -> Vpc:
    associated = [each["CidrBlock"] for each in value.get("CidrBlockAssociationSet", ())]
    amazons_own = str(ipaddress.ip_network(value["CidrBlock"])[2])
    servers = resolvers.get(value.get("DhcpOptionsId", ""), ())
    return Vpc(
        id=value["VpcId"],
        default=value.get("IsDefault", False),
        cidrs=tuple(dict.fromkeys([value["CidrBlock"], *associated])),
        resolvers=tuple(each for each in servers if each != amazons_own),
        internet_gateway=value["VpcId"] in gateways,
        tags=_tags(value),
    )


def _with_names(ec2: Any, vpc: Vpc) -> Vpc:
    support = ec2.describe_vpc_attribute(VpcId=vpc.id, Attribute="enableDnsSupport")["EnableDnsSupport"]
    names = ec2.describe_vpc_attribute(VpcId=vpc.id, Attribute="enableDnsHostnames")["EnableDnsHostnames"]
    return replace(vpc, dns_support=support["Value"], dns_hostnames=names["Value"])


def _resolvers(options: dict[str, Any]) -> tuple[str, ...]:
    """Name servers of the user's own; Amazon's are let through by every security group."""
    given = [
        value["Value"]
        for each in options.get("DhcpConfigurations", ())
        if each["Key"] == _NAME_SERVERS
        for value in each["Values"]
    ]
    return tuple(each for each in given if each not in _AMAZONS_OWN)


def _group(value: dict[str, Any]) -> SecurityGroup:
    return SecurityGroup(
        id=value["GroupId"],
        vpc_id=value.get("VpcId", ""),
        name=value["GroupName"],
        ingress=tuple(_rules(value.get("IpPermissions", ()))),
        egress=tuple(_rules(value.get("IpPermissionsEgress", ()))),
        tags=_tags(value),
    )


def _rules(permissions: Iterable[dict[str, Any]]) -> Iterator[Rule]:
    for each in permissions:
        first, last = each.get("FromPort", 0), each.get("ToPort", _LAST_PORT)
        peers = [
            *(peer["CidrIp"] for peer in each.get("IpRanges", ())),
            *(peer["CidrIpv6"] for peer in each.get("Ipv6Ranges", ())),
            *(peer["GroupId"] for peer in each.get("UserIdGroupPairs", ())),
            *(peer["PrefixListId"] for peer in each.get("PrefixListIds", ())),
        ]
        for peer in peers:
            yield Rule(str(each["IpProtocol"]), first, last, peer)


def _limit(quotas: Any, code: str) -> int | str:
    """A quota's value; why there is none when the role may not ask for it, or the Region does not know it."""
    try:
        return int(quotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"])
    except aws.ERRORS as error:
        log.warning("the quota %s is not known: %s", code, error)
        return f"{aws.code_of(error)}: {aws.message_of(error)}"


def _used(ec2: Any, limits: dict[str, int], deployment: str) -> dict[str, Quota]:
    """Each quota with the vCPUs that live instances use of it, workers of this deployment apart."""
    others: dict[str, int] = defaultdict(int)
    workers: dict[str, int] = defaultdict(int)
    for reservation in _pages(ec2, "describe_instances", "Reservations", Filters=[_LIVE]):
        for instance in reservation["Instances"]:
            known = quota_class(instance["InstanceType"])
            if known is None:
                continue
            code = known.code(SPOT if instance.get("InstanceLifecycle") == "spot" else ON_DEMAND)
            options, tags = instance.get("CpuOptions", {}), _tags(instance)
            ours = tags.get("mayfly:deployment") == deployment and TEMPORARY.items() <= tags.items()
            vcpus = options.get("CoreCount", 0) * options.get("ThreadsPerCore", 0)
            (workers if ours else others)[code] += vcpus
    return {code: Quota(limit, others[code], workers[code]) for code, limit in limits.items()}


def _subnet(value: dict[str, Any]) -> Subnet:
    return Subnet(
        id=value["SubnetId"],
        vpc_id=value["VpcId"],
        zone_id=value["AvailabilityZoneId"],
        free_addresses=value["AvailableIpAddressCount"],
        default=value.get("DefaultForAz", False),
        public_on_launch=value.get("MapPublicIpOnLaunch", False),
        cidr=value.get("CidrBlock", ""),
        tags=_tags(value),
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
    # Its private name is for networks outside of the VPC then, which ask the VPC's inbound resolver.
    for_others = bool(value.get("DnsOptions", {}).get("PrivateDnsOnlyForInboundResolverEndpoint", False))
    return Endpoint(
        id=value["VpcEndpointId"],
        vpc_id=value["VpcId"],
        service=value["ServiceName"],
        gateway=gateway,
        route_table_ids=frozenset(value.get("RouteTableIds") or ()),
        private_dns=gateway or (bool(value.get("PrivateDnsEnabled", False)) and not for_others),
        security_group_ids=tuple(group["GroupId"] for group in value.get("Groups", ())),
    )
