# SPDX-License-Identifier: GPL-3.0-or-later
"""What placement knows of an account in a Region: plain values, made by ``keeper/pictures.py`` from AWS's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

Tags = Mapping[str, str]


@dataclass(frozen=True)
class Zone:
    """An Availability Zone: ``name`` differs between accounts, ``id`` does not."""

    name: str
    id: str


@dataclass(frozen=True)
class Vpc:
    """A VPC. ``default`` is AWS's own mark; ``cidrs`` are all of its IPv4 ranges.

    ``dns`` says that it resolves names (enableDnsSupport) and gives out private ones (enableDnsHostnames), which
    private DNS of endpoints needs both; ``resolvers`` are the addresses of name servers of the user's own.
    """

    id: str
    default: bool = False
    cidrs: tuple[str, ...] = ()
    dns_support: bool = True
    dns_hostnames: bool = True
    resolvers: tuple[str, ...] = ()
    internet_gateway: bool = True
    tags: Tags = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Subnet:
    """A subnet; ``public_on_launch`` says that it gives public IPv4 addresses by itself."""

    id: str
    vpc_id: str
    zone_id: str
    free_addresses: int
    default: bool = False
    public_on_launch: bool = False
    cidr: str = ""
    tags: Tags = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Route:
    """A route: ``target`` is the id of what it leads to, empty for a black hole."""

    destination: str
    target: str


@dataclass(frozen=True)
class RouteTable:
    """A route table; the ``main`` one serves the VPC's subnets that no other names."""

    id: str
    vpc_id: str
    main: bool = False
    subnet_ids: frozenset[str] = frozenset()
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A rule of a security group. ``protocol`` is tcp, udp, -1 (all) or a number; of all ports ``first`` is 0.

    ``peer`` is a CIDR, the id of a security group, or that of a prefix list.
    """

    protocol: str
    first: int
    last: int
    peer: str

    def covers(self, protocol: str, port: int) -> bool:
        """Whether it is about this port."""
        return self.protocol == "-1" or (self.protocol == protocol and self.first <= port <= self.last)


@dataclass(frozen=True)
class SecurityGroup:
    """A security group of a VPC with its rules."""

    id: str
    vpc_id: str
    name: str = ""
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = (Rule("-1", 0, 65535, "0.0.0.0/0"),)
    tags: Tags = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Endpoint:
    """A VPC endpoint that is available. A gateway one serves the route tables it names.

    ``service`` is the full name. An interface endpoint without ``private_dns`` does not answer to AWS's own names, and
    it lets in what its security groups do.
    """

    id: str
    vpc_id: str
    service: str
    gateway: bool = False
    route_table_ids: frozenset[str] = frozenset()
    private_dns: bool = True
    security_group_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """A machine image; ``created`` is AWS's own time of its creation."""

    id: str
    name: str
    owner: str
    architecture: str
    root_device_name: str
    created: str

    def as_dict(self) -> dict[str, str]:
        """The form for results and reports."""
        return asdict(self)


@dataclass(frozen=True)
class InstanceType:
    """An instance type that the Region offers: its architecture (x86_64 or arm64) and the zones' ids that have it."""

    name: str
    architecture: str
    zone_ids: frozenset[str]
    vcpus: int = 0


@dataclass(frozen=True)
class Quota:
    """A quota of vCPUs: what it allows in the Region, what others use, and what workers of this deployment use."""

    limit: int
    used: int = 0
    used_by_workers: int = 0


@dataclass(frozen=True)
class Picture:
    """An account in a Region, as described once a run.

    ``quotas`` are by quota code; ``prices`` are USD an hour by (instance type, zone's id, market). ``unknown`` says of
    quotas and prices that could not be had why, as "quota L-1216C47A".
    """

    account: str
    region: str
    zones: tuple[Zone, ...] = ()
    vpcs: tuple[Vpc, ...] = ()
    subnets: tuple[Subnet, ...] = ()
    route_tables: tuple[RouteTable, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    security_groups: tuple[SecurityGroup, ...] = ()
    instance_types: Mapping[str, InstanceType] = field(default_factory=dict)
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    prices: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    def zone_id(self, zone: str) -> str | None:
        """The id of a zone given by its name in this account or by its id; None when the Region has no such zone."""
        return next((known.id for known in self.zones if zone in (known.name, known.id)), None)

    def zone_name(self, zone_id: str) -> str:
        """This account's name of a zone; its id where the account does not see it."""
        return next((known.name for known in self.zones if known.id == zone_id), zone_id)

    def vpc(self, vpc_id: str) -> Vpc | None:
        """The VPC of that id."""
        return self._vpcs.get(vpc_id)

    def security_group(self, group_id: str) -> SecurityGroup | None:
        """The security group of that id."""
        return self._groups.get(group_id)

    def subnets_in(self, vpc_id: str) -> tuple[Subnet, ...]:
        """The VPC's subnets."""
        return self._subnets.get(vpc_id, ())

    def endpoints_in(self, vpc_id: str) -> tuple[Endpoint, ...]:
        """The VPC's endpoints."""
        return self._endpoints.get(vpc_id, ())

    def route_table(self, subnet: Subnet) -> RouteTable | None:
        """The table that serves a subnet: its own, else the VPC's main one."""
        return self._own_tables.get(subnet.id) or self._main_tables.get(subnet.vpc_id)

    @cached_property
    def worked_out(self) -> dict[Any, Any]:
        """What has been worked out from this picture, for the resources that want the same."""
        return {}

    # Looked up for each of many resources; the picture does not change.
    @cached_property
    def _vpcs(self) -> dict[str, Vpc]:
        return {each.id: each for each in self.vpcs}

    @cached_property
    def _groups(self) -> dict[str, SecurityGroup]:
        return {each.id: each for each in self.security_groups}

    @cached_property
    def _subnets(self) -> dict[str, tuple[Subnet, ...]]:
        return {vpc.id: tuple(each for each in self.subnets if each.vpc_id == vpc.id) for vpc in self.vpcs}

    @cached_property
    def _endpoints(self) -> dict[str, tuple[Endpoint, ...]]:
        return {vpc.id: tuple(each for each in self.endpoints if each.vpc_id == vpc.id) for vpc in self.vpcs}

    @cached_property
    def _own_tables(self) -> dict[str, RouteTable]:
        return {subnet_id: table for table in self.route_tables for subnet_id in table.subnet_ids}

    @cached_property
    def _main_tables(self) -> dict[str, RouteTable]:
        return {table.vpc_id: table for table in self.route_tables if table.main}
