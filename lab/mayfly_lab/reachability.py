# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may reach what. Pure: records of the network in, the addresses and ports that each host reaches out.

A host and an address have a way to each other, or not: that is what route tables, endpoints and peerings decide. Who
may open a connection along it, security groups decide.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

HTTPS = 443
_EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class Rule:
    """A rule of a security group: ranges, groups and prefix lists, any of which matches; "all" or a protocol.

    Of icmp, the ports are type and code. None and -1 stand for all.
    """

    protocol: str
    first: int | None = None
    last: int | None = None
    cidrs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    prefix_lists: tuple[str, ...] = ()

    def covers(self, protocol: str, port: int) -> bool:
        """Whether it is about this port."""
        every = None in (self.first, self.last) or self.first == -1
        return self.protocol == "all" or (
            self.protocol == protocol and (every or (self.first or 0) <= port <= (self.last or 0))
        )


@dataclass(frozen=True)
class Group:
    """A security group."""

    id: str
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Vpc:
    """A VPC of a Region, with the internet gateways attached to it."""

    id: str
    region: str
    dns_support: bool = True
    dns_hostnames: bool = True
    internet_gateways: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Subnet:
    """A subnet and the route table that serves it; ``routes``: destination as a CIDR, and the id of the target.

    The VPC's own ranges need no route.
    """

    id: str
    vpc_id: str
    table_id: str
    routes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """A VPC endpoint: ``service`` is its full name, ``addresses`` are those of its interfaces."""

    id: str
    vpc_id: str
    service: str
    gateway: bool = False
    available: bool = True
    private_dns: bool = True
    table_ids: frozenset[str] = frozenset()
    addresses: tuple[str, ...] = ()
    group_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Nat:
    """A NAT gateway; a private one, or one without an address, has no way out of AWS's own networks."""

    id: str
    subnet_id: str
    available: bool = True
    public: bool = True


@dataclass(frozen=True)
class Host:
    """An instance that runs; ``public`` says that its first interface has a public address."""

    instance_id: str
    address: str
    subnet_id: str
    group_ids: tuple[str, ...] = ()
    public: bool = False


@dataclass(frozen=True)
class Service:
    """An endpoint of AWS in a Region, at its address on the internet."""

    name: str
    region: str
    address: str


@dataclass(frozen=True)
class Records:
    """The networks of every account and Region. ``peerings`` are those that are active: the two VPCs of each."""

    hosts: tuple[Host, ...] = ()
    vpcs: Mapping[str, Vpc] = field(default_factory=dict)
    subnets: Mapping[str, Subnet] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ()
    nats: Mapping[str, Nat] = field(default_factory=dict)
    peerings: Mapping[str, frozenset[str]] = field(default_factory=dict)
    prefix_lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    services: tuple[Service, ...] = ()

    @cached_property
    def members(self) -> dict[str, list[str]]:
        """The addresses of each group's members: hosts and endpoints."""
        found: dict[str, list[str]] = {}
        ends = [(each.group_ids, each.addresses) for each in self.endpoints if each.available]
        for groups, addresses in [*((host.group_ids, (host.address,)) for host in self.hosts), *ends]:
            for group in groups:
                found.setdefault(group, []).extend(addresses)
        return found

    @cached_property
    def ranges(self) -> dict[Rule, list[str]]:
        """What `ranges` has found out: the records do not change."""
        return {}


@dataclass(frozen=True)
class Reach:
    """What a host reaches.

    ``ways`` are the addresses (of hosts and services) that packets go to and come from, whatever security groups say,
    ``services`` the (address, TCP port) of AWS's services to which it may open connections, ``dns`` whether the VPC's
    resolver answers.
    """

    ways: frozenset[str]
    services: frozenset[tuple[str, int]]
    dns: bool


def reach(records: Records) -> dict[str, Reach]:
    """What each host reaches, by instance id."""
    return {host.instance_id: _of_host(records, host) for host in records.hosts}


def ranges(records: Records, rule: Rule) -> list[str]:
    """The ranges that a rule means now, without overlap, as CIDRs; none of a group without members."""
    if rule not in records.ranges:
        found = [*rule.cidrs]
        found += [f"{address}/32" for group in rule.groups for address in records.members.get(group, ())]
        found += [cidr for prefix_list in rule.prefix_lists for cidr in records.prefix_lists.get(prefix_list, ())]
        networks = ipaddress.collapse_addresses(_network(cidr) for cidr in found)
        records.ranges[rule] = [str(network) for network in networks]
    return records.ranges[rule]


def _of_host(records: Records, host: Host) -> Reach:
    vpc = records.vpcs[records.subnets[host.subnet_id].vpc_id]
    ways = {other.address for other in records.hosts if other is not host and _meet(records, host, other)}
    open_services = set()
    for service in records.services:
        places = _places(records, host, vpc, service)
        if places:
            ways.add(service.address)
        if any(_lets_out(records, host, address) and _lets_in(records, end, host) for address, end in places):
            open_services.add((service.address, HTTPS))
    return Reach(frozenset(ways), frozenset(open_services), vpc.dns_support)


def _meet(records: Records, one: Host, other: Host) -> bool:
    """Whether there is a way there and one back."""
    return _leads(records, one, other) and _leads(records, other, one)


def _leads(records: Records, one: Host, other: Host) -> bool:
    subnet, there = records.subnets[one.subnet_id], records.subnets[other.subnet_id].vpc_id
    if subnet.vpc_id == there:
        return True
    return records.peerings.get(_target(subnet, other.address)) == frozenset((subnet.vpc_id, there))


def _places(records: Records, host: Host, vpc: Vpc, service: Service) -> list[tuple[str, Endpoint | None]]:
    """The addresses at which the host finds a service, and the interface endpoint of each; empty without a way.

    Where a VPC has an interface endpoint with private DNS, the service's name is that endpoint's: nothing else counts.
    """
    named = [each for each in records.endpoints if each.vpc_id == vpc.id and _serves(each, service, vpc)]
    if vpc.dns_support and vpc.dns_hostnames:
        interfaces = [each for each in named if not each.gateway and each.private_dns]
        places: list[tuple[str, Endpoint | None]] = [(at, each) for each in interfaces for at in each.addresses]
        if places:
            return places
    subnet = records.subnets[host.subnet_id]
    through_table = any(each.gateway and subnet.table_id in each.table_ids for each in named)
    if through_table or _leaves(records, vpc, subnet, service.address, public=host.public):
        return [(service.address, None)]
    return []


def _serves(endpoint: Endpoint, service: Service, vpc: Vpc) -> bool:
    own = service.region == vpc.region
    return endpoint.available and own and endpoint.service == f"com.amazonaws.{service.region}.{service.name}"


def _leaves(records: Records, vpc: Vpc, subnet: Subnet, address: str, *, public: bool) -> bool:
    """Whether a subnet's route to an address on the internet gets there."""
    target = _target(subnet, address)
    if target in vpc.internet_gateways:
        return public
    nat = records.nats.get(target)
    if nat is None or not nat.available or not nat.public:
        return False
    return _target(records.subnets[nat.subnet_id], address) in vpc.internet_gateways


def _target(subnet: Subnet, address: str) -> str:
    """Where the longest of the routes that hold an address leads; empty without one."""
    fitting = [(_network(cidr).prefixlen, target) for cidr, target in subnet.routes if _holds((cidr,), address)]
    return max(fitting, key=lambda each: each[0], default=(0, ""))[1]


def _lets_out(records: Records, host: Host, address: str) -> bool:
    groups = [records.groups[each] for each in host.group_ids if each in records.groups]
    return _matches(records, [rule for group in groups for rule in group.egress], address)


def _lets_in(records: Records, endpoint: Endpoint | None, host: Host) -> bool:
    if endpoint is None:
        return True
    groups = [records.groups[each] for each in endpoint.group_ids if each in records.groups]
    return _matches(records, [rule for group in groups for rule in group.ingress], host.address)


def _matches(records: Records, rules: Iterable[Rule], address: str) -> bool:
    return any(rule.covers("tcp", HTTPS) and _holds(ranges(records, rule), address) for rule in rules)


def _holds(cidrs: Sequence[str], address: str) -> bool:
    return any(cidr == _EVERYWHERE or ipaddress.IPv4Address(address) in _network(cidr) for cidr in cidrs)


@lru_cache(4096)
def _network(cidr: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(cidr, strict=False)
