# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a worker in a subnet could do its work: AWS's services, its peers inside the VPC, and who must reach it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..operations import Service
from . import rules
from .networks import Site
from .picture import Endpoint, Picture, SecurityGroup, Vpc

HTTPS = 443
DNS = 53
_ANYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class Peer:
    """What the worker must reach inside its VPC, such as a mount target: its groups have to let the worker in.

    ``cidr`` is its address, as 10.0.1.5/32.
    """

    name: str
    zone_id: str
    port: int
    cidr: str
    security_group_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Callers:
    """Who reaches the worker, by TCP port: all that rules may call it, CIDRs and security groups.

    Of whom nothing is known is not looked at.
    """

    by_port: tuple[tuple[int, tuple[str, ...]], ...] = ()


def faults(
    picture: Picture,
    site: Site,
    services: tuple[Service, ...],
    callers: Callers,
    peers: tuple[Peer, ...] = (),
    *,
    store_ports: tuple[int, ...] = (),
) -> list[str]:
    """Why a worker could not work there; empty when it could. The first is the one to mend first.

    ``store_ports`` are those of repositories outside of AWS. Whether routes lead there, nobody knows but a worker.
    """
    if site.zone is not None and picture.zone_id(site.zone) != site.subnet.zone_id:
        return [f"not in zone {site.zone}, for which it is configured"]
    if site.subnet.free_addresses < 1:
        return ["no free address"]
    return [
        *(_faults_of_the_way_out(picture, site, services) if site.preflight else ()),
        *_faults_of_groups(site, callers, store_ports),
        *_faults_of_peers(picture, site, peers),
    ]


def has_private_name(picture: Picture, vpc: Vpc, service: Service) -> bool:
    """Whether the service's name means the addresses of an interface endpoint, which it then does in the whole VPC."""
    return any(not each.gateway for each in _named(picture, vpc, service))


def warnings(site: Site) -> Iterator[tuple[str, str]]:
    """(Subject, warning) for what works and should not be so, and for what was not looked at."""
    if not site.preflight:
        yield f"subnet {site.subnet.id}", "its way to AWS's services was not looked at: preflight in mayfly_networks"
    for group in site.groups:
        for rule in rules.open_to_everyone(group):
            ports = "all ports" if rule.protocol == "-1" else f"{rule.protocol} {rule.first}-{rule.last}"
            yield f"security group {group.id}", f"lets {rule.peer} in to {ports}; no worker needs that"


def _faults_of_the_way_out(picture: Picture, site: Site, services: tuple[Service, ...]) -> list[str]:
    table = picture.route_table(site.subnet)
    leads = "" if table is None else next((r.target for r in table.routes if r.destination == _ANYWHERE), "")
    if not site.vpc.dns_support:
        return [f"{site.vpc.id} does not resolve names: enableDnsSupport is off"]
    if site.public_address:
        if not leads.startswith("igw-"):
            return ["public_address is set, but the subnet's route table leads to no internet gateway"]
        if not site.vpc.internet_gateway:
            return [f"public_address is set, but no internet gateway is attached to {site.vpc.id}"]
        if not site.subnet.public_on_launch:
            return ["public_address is set, but the subnet does not assign public IPv4 addresses"]
        return []
    if leads and not leads.startswith("igw-"):
        return []  # a NAT gateway, or a way out of the user's own making
    missing = [each for each in services if not _has_endpoint(picture, site, each)]
    if missing:
        advice = "; a public address would do: public_address in mayfly_networks" if leads else ""
        return [f"no NAT gateway, and no endpoint for {', '.join(map(str, missing))}{advice}"]
    return [fault for each in services if (fault := _fault_of_endpoint(picture, site, each))]


def _has_endpoint(picture: Picture, site: Site, service: Service) -> bool:
    return any(True for _ in _endpoints(picture, site, service))


def _endpoints(picture: Picture, site: Site, service: Service) -> Iterator[Endpoint]:
    """The endpoints of a service that the subnet's worker would use: a gateway of its table, or a private name."""
    table = picture.route_table(site.subnet)
    for endpoint in _named(picture, site.vpc, service):
        if not endpoint.gateway or (table is not None and table.id in endpoint.route_table_ids):
            yield endpoint


def _named(picture: Picture, vpc: Vpc, service: Service) -> Iterator[Endpoint]:
    """The VPC's endpoints that are for the service: gateways, and interfaces that AWS's own name leads to."""
    names = vpc.dns_support and vpc.dns_hostnames
    for endpoint in picture.endpoints_in(vpc.id):
        if service.is_named(endpoint.service) and (endpoint.gateway or (endpoint.private_dns and names)):
            yield endpoint


def _fault_of_endpoint(picture: Picture, site: Site, service: Service) -> str:
    """Which security group stands between the worker and the only endpoints of a service; empty for none."""
    closed = ""
    for endpoint in _endpoints(picture, site, service):
        if endpoint.gateway:
            return ""
        groups = _known(picture, endpoint.security_group_ids)
        if rules.lets_in(groups, HTTPS, of=_itself(site)):
            return ""
        closed = f"{', '.join(endpoint.security_group_ids)} of {endpoint.id} ({service}) lets TCP 443 in from no worker"
    return closed


def _faults_of_groups(site: Site, callers: Callers, store_ports: tuple[int, ...]) -> Iterator[str]:
    """What configured groups keep from the worker; the run's own temporary group keeps nothing from it."""
    if not site.groups:
        return
    names = ", ".join(group.id for group in site.groups)
    if not any(rule.covers("tcp", HTTPS) for group in site.groups for rule in group.egress):
        yield f"{names} lets no TCP 443 out, which AWS's services are reached at"
    for port in store_ports:
        if not any(rule.covers("tcp", port) for group in site.groups for rule in group.egress):
            yield f"{names} lets no TCP {port} out, which the repository's store is reached at"
    for resolver in (f"{each}/32" for each in site.vpc.resolvers):
        if not rules.lets_out(site.groups, DNS, to=(resolver,), protocol="udp"):
            yield f"{names} lets no UDP 53 out to {resolver}, a name server of {site.vpc.id}"
    for port, caller in callers.by_port:
        if caller and not rules.lets_in(site.groups, port, of=caller):
            yield f"{names} lets TCP {port} in from nowhere that holds {' or '.join(caller)}"


def _faults_of_peers(picture: Picture, site: Site, peers: tuple[Peer, ...]) -> Iterator[str]:
    """Of several peers, as the mount targets of a file system are, the one of the subnet's zone counts."""
    for peer in peers:
        if peer.zone_id != site.subnet.zone_id:
            continue
        if site.groups and not rules.lets_out(site.groups, peer.port, to=(peer.cidr, *peer.security_group_ids)):
            yield f"{', '.join(_ids(site.groups))} lets no TCP {peer.port} out to {peer.name}"
        if not rules.lets_in(_known(picture, peer.security_group_ids), peer.port, of=_itself(site)):
            yield f"{', '.join(peer.security_group_ids)} of {peer.name} lets TCP {peer.port} in from no worker"


def _itself(site: Site) -> tuple[str, ...]:
    """What the rules of others may call the worker: its subnet's range, or one of its groups."""
    return (*([site.subnet.cidr] if site.subnet.cidr else []), *_ids(site.groups))


def _ids(groups: tuple[SecurityGroup, ...]) -> tuple[str, ...]:
    return tuple(group.id for group in groups)


def _known(picture: Picture, ids: tuple[str, ...]) -> list[SecurityGroup]:
    return [group for each in ids if (group := picture.security_group(each)) is not None]
