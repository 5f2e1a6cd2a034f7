# SPDX-License-Identifier: GPL-3.0-or-later
"""The network as the control plane knows it, for the firewall: who may reach what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mayfly_lab import reachability
from mayfly_lab.addresses import ELSEWHERE, REGIONS, SERVICES, service_address
from mayfly_lab.control.state import Lab, backends
from mayfly_lab.reachability import Endpoint, Group, Host, Nat, Records, Rule, Service, Subnet, Vpc

_GONE = (48, 80)
_ENDPOINTS = {"pricing": "pricing.api"}  # where a service's VPC endpoint has another name
_SERVICES = (
    *(
        Service(_ENDPOINTS.get(name, name), region, service_address(name, region))
        for name in SERVICES
        for region in REGIONS
    ),
    Service("elsewhere", "", ELSEWHERE),
)
_applied: dict[str, Any] = {}


def apply() -> None:
    """Put the present picture into force, if it has changed."""
    model = current()
    if model != _applied:
        Lab.supervisor.call("set_network", model=model)
        _applied.clear()
        _applied.update(model)


def current() -> dict[str, Any]:
    """The picture in the form of `mayfly_lab.firewall.render`."""
    known = records()
    reach = reachability.reach(known)
    return {"hosts": [_shown(known, host, reach[host.instance_id]) for host in known.hosts]}


def records() -> Records:
    """The networks of all accounts and Regions, as `mayfly_lab.reachability` takes them."""
    every = list(backends())
    lists = {key: entries for backend in every for key, entries in _prefix_lists(backend)}
    return Records(
        hosts=tuple(
            _host(each) for backend in every for each in backend.all_instances() if each.state_code not in _GONE
        ),
        vpcs={vpc.id: _vpc(backend, vpc) for backend in every for vpc in backend.vpcs.values()},
        subnets={each.id: each for backend in every for each in _subnets(backend, lists)},
        groups={
            key: _group(group)
            for backend in every
            for inside in backend.groups.values()
            for key, group in inside.items()
        },
        endpoints=tuple(_endpoint(backend, each) for backend in every for each in backend.vpc_end_points.values()),
        nats={nat.id: _nat(nat) for backend in every for nat in backend.nat_gateways.values()},
        peerings={
            key: frozenset((peering.vpc.id, peering.peer_vpc.id))
            for backend in every
            for key, peering in backend.vpc_pcxs.items()
            if peering.status["Code"] == "active"
        },
        prefix_lists=lists,
        services=_SERVICES,
    )


def _shown(known: Records, host: Host, reach: reachability.Reach) -> dict[str, Any]:
    groups = [known.groups[each] for each in host.group_ids]
    return {
        "instance_id": host.instance_id,
        "private_ip": host.address,
        "ways": sorted(reach.ways),
        "services": [list(each) for each in sorted(reach.services)],
        "dns": reach.dns,
        "ingress": [_expanded(known, rule) for group in groups for rule in group.ingress],
        "egress": [_expanded(known, rule) for group in groups for rule in group.egress],
    }


def _expanded(known: Records, rule: Rule) -> dict[str, Any]:
    cidrs = reachability.ranges(known, rule)
    return {"protocol": rule.protocol, "from_port": rule.first, "to_port": rule.last, "cidrs": cidrs}


def _host(instance: Any) -> Host:
    groups = {group.id for nic in instance.nics.values() for group in nic.group_set}
    groups |= {group.id for group in instance.security_groups}
    return Host(
        instance_id=instance.id,
        address=instance.private_ip,
        subnet_id=instance.nics[0].subnet.id,
        group_ids=tuple(sorted(groups)),
        public=bool(instance.public_ip),
    )


def _vpc(backend: Any, vpc: Any) -> Vpc:
    gateways = [each.id for each in backend.internet_gateways.values() if each.vpc and each.vpc.id == vpc.id]
    return Vpc(
        id=vpc.id,
        region=backend.region_name,
        dns_support=_is_on(vpc.enable_dns_support),
        dns_hostnames=_is_on(vpc.enable_dns_hostnames),
        internet_gateways=frozenset(gateways),
    )


def _is_on(value: Any) -> bool:
    return str(value).lower() == "true"


def _subnets(backend: Any, prefix_lists: dict[str, tuple[str, ...]]) -> Iterator[Subnet]:
    tables = list(backend.route_tables.values())
    own = {subnet: table for table in tables for subnet in table._associations.values()}
    main = {table.vpc_id: table for table in tables if table.main_association_id}
    for zone in backend.subnets.values():
        for subnet in zone.values():
            table = own.get(subnet.id) or main[subnet.vpc_id]
            yield Subnet(subnet.id, subnet.vpc_id, table.id, tuple(_routes(table, prefix_lists)))


def _routes(table: Any, prefix_lists: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    for route in table.routes:
        target = route.gateway or route.nat_gateway or route.vpc_pcx
        if target is None:
            continue
        listed = route.destination_prefix_list
        for cidr in prefix_lists.get(listed.id, ()) if listed else [route.destination_cidr_block]:
            if cidr:
                yield cidr, target.id


def _endpoint(backend: Any, endpoint: Any) -> Endpoint:
    interfaces = [backend.enis[each] for each in endpoint.network_interface_ids if each in backend.enis]
    return Endpoint(
        id=endpoint.id,
        vpc_id=endpoint.vpc_id,
        service=endpoint.service_name,
        gateway=endpoint.vpc_endpoint_type == "Gateway",
        available=endpoint.state == "available",
        private_dns=_is_on(endpoint.private_dns_enabled),
        table_ids=frozenset(endpoint.route_table_ids or ()),
        addresses=tuple(each.private_ip_address for each in interfaces),
        group_ids=tuple(endpoint.security_group_ids or ()),
    )


def _nat(nat: Any) -> Nat:
    addressed = any(each.get("publicIp") for each in nat.address_set)
    public = nat.connectivity_type != "private" and addressed  # None where a request left it open
    return Nat(nat.id, nat.subnet_id, available=nat.state == "available", public=public)


def _group(group: Any) -> Group:
    ingress, egress = (tuple(map(_rule, rules)) for rules in (group.ingress_rules, group.egress_rules))
    return Group(group.id, ingress, egress)


def _rule(rule: Any) -> Rule:
    source = (rule.source_group or {}).get("GroupId")
    return Rule(
        protocol={"-1": "all"}.get(str(rule.ip_protocol), str(rule.ip_protocol)),
        first=rule.from_port,
        last=rule.to_port,
        cidrs=(rule.cidr_ipv4,) if rule.cidr_ipv4 else (),
        groups=(source,) if source else (),
        prefix_lists=(rule.prefix_list_id,) if rule.prefix_list_id else (),
    )


def _prefix_lists(backend: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    for each in backend.managed_prefix_lists.values():
        if each.address_family == "IPv4" and each.state != "delete-complete":
            newest = max(each.entries, default=None)  # AWS's own have no version, but entries all the same
            yield each.id, tuple(entry["Cidr"] for entry in each.entries.get(newest, ()))
