# SPDX-License-Identifier: GPL-3.0-or-later
"""The network as the control plane knows it, for the firewall: who may reach what."""

from __future__ import annotations

from typing import Any

from mayfly_lab.addresses import REGIONS, SERVICES, all_addresses, service_address
from mayfly_lab.control.state import Lab, backends

_GONE = (48, 80)
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
    groups = _members()
    hosts = []
    for backend in backends():
        for instance in backend.all_instances():
            if instance.state_code not in _GONE:
                hosts.append(_host(backend, instance, groups))
    return {"hosts": hosts}


def _host(backend: Any, instance: Any, groups: dict[str, list[str]]) -> dict[str, Any]:
    own = {group.id: group for nic in instance.nics.values() for group in nic.group_set}
    own |= {group.id: group for group in instance.security_groups}
    table = _route_table(backend, instance.nics[0].subnet)
    return {
        "instance_id": instance.id,
        "private_ip": instance.private_ip,
        "public": bool(instance.public_ip),
        "vpc_id": instance.vpc_id,
        "services": _services(backend, instance, table),
        "peers": _peers(instance.vpc_id),
        "ingress": [_rule(rule, groups) for group in own.values() for rule in group.ingress_rules],
        "egress": [_rule(rule, groups) for group in own.values() for rule in group.egress_rules],
    }


def _members() -> dict[str, list[str]]:
    """Addresses of the members of every security group, as /32 ranges."""
    found: dict[str, list[str]] = {}
    for backend in backends():
        for instance in backend.all_instances():
            if instance.state_code in _GONE:
                continue
            for group in {group.id for nic in instance.nics.values() for group in nic.group_set}:
                found.setdefault(group, []).append(f"{instance.private_ip}/32")
    return found


def _rule(rule: Any, groups: dict[str, list[str]]) -> dict[str, Any]:
    protocol = {"-1": "all"}.get(str(rule.ip_protocol), str(rule.ip_protocol))
    ranges = [rule.cidr_ipv4] if rule.cidr_ipv4 else []
    if rule.source_group:
        ranges += groups.get(rule.source_group.get("GroupId", ""), [])
    return {"protocol": protocol, "from_port": rule.from_port, "to_port": rule.to_port, "cidrs": ranges}


def _route_table(backend: Any, subnet: Any) -> Any:
    tables = [table for table in backend.route_tables.values() if table.vpc_id == subnet.vpc_id]
    own = [table for table in tables if subnet.id in table._associations.values()]
    return (own or [table for table in tables if table.main_association_id])[0]


def _services(backend: Any, instance: Any, table: Any) -> list[str]:
    default = [route for route in table.routes if route.destination_cidr_block == "0.0.0.0/0"]
    if any(route.nat_gateway for route in default):
        return all_addresses()
    gateways = [route.gateway for route in default if route.gateway]
    if instance.public_ip and any(gateway.id.startswith("igw-") for gateway in gateways):
        return all_addresses()
    found = []
    for endpoint in backend.vpc_end_points.values():
        if endpoint.vpc_id != instance.vpc_id or endpoint.state != "available":
            continue
        _, _, rest = endpoint.service_name.partition("com.amazonaws.")
        region, _, service = rest.partition(".")
        through_table = endpoint.vpc_endpoint_type == "Gateway" and table.id in (endpoint.route_table_ids or [])
        if service in SERVICES and region in REGIONS and (through_table or endpoint.vpc_endpoint_type == "Interface"):
            found.append(service_address(service, region))
    return sorted(set(found))


def _peers(vpc_id: str) -> list[str]:
    found = set()
    for other in backends():
        for peering in other.vpc_pcxs.values():
            if peering.status["Code"] == "active":
                ends = {peering.vpc.id, peering.peer_vpc.id}
                found |= ends - {vpc_id} if vpc_id in ends else set()
    return sorted(found)
