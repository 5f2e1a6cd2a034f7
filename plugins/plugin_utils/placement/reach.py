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
# AWS's own prefix lists are of these services, in the list's Region
# (https://docs.aws.amazon.com/vpc/latest/userguide/working-with-aws-managed-prefix-lists.html).
_LISTED = ("s3", "dynamodb")


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
        *_faults_of_groups(picture, site, services, callers, store_ports),
        *_faults_of_peers(picture, site, peers),
    ]


def has_private_name(picture: Picture, vpc: Vpc, service: Service) -> bool:
    """Whether the service's name means the addresses of an interface endpoint, which it then does in the whole VPC."""
    return bool(_private(picture, vpc, service))


def warnings(
    picture: Picture, site: Site, services: tuple[Service, ...], store_ports: tuple[int, ...] = ()
) -> Iterator[tuple[str, str]]:
    """(Subject, warning) for what works and should not be so, and for what was not looked at or may not work."""
    if site.preflight:
        yield from _doubts(picture, site, services)
    else:
        yield f"subnet {site.subnet.id}", "its way to AWS's services was not looked at: preflight in mayfly_networks"
    for port in store_ports if site.groups else ():
        peers = rules.let_out_to(site.groups, port)
        if not rules.hold(peers, (_ANYWHERE,)):
            said = f"lets TCP {port} out to {', '.join(peers)} alone; whether that holds the store is not known"
            yield f"security group {', '.join(_ids(site.groups))}", said
    for group in site.groups:
        for rule in rules.open_to_everyone(group):
            ports = "all ports" if rule.protocol == "-1" else f"{rule.protocol} {rule.first}-{rule.last}"
            yield f"security group {group.id}", f"lets {rule.peer} in to {ports}; no worker needs that"


def _doubts(picture: Picture, site: Site, services: tuple[Service, ...]) -> Iterator[tuple[str, str]]:
    """(Subject, warning) for services that rules may let the worker reach, which they alone do not tell."""
    for service in services:
        for endpoint in _private(picture, site.vpc, service):
            if _is_let_in(picture, site, endpoint) is None:
                said = f"may not let TCP 443 in from the worker ({service}): its rules alone do not tell"
                yield f"endpoint {endpoint.id}", said
    unsure = [each for each in services if site.groups and _is_let_out(picture, site, each) is None]
    if unsure:
        peers = ", ".join(rules.let_out_to(site.groups, HTTPS))
        said = f"lets TCP 443 out to {peers} alone; whether that holds {', '.join(map(str, unsure))} is not known"
        yield f"security group {', '.join(_ids(site.groups))}", said


def _faults_of_the_way_out(picture: Picture, site: Site, services: tuple[Service, ...]) -> list[str]:
    """A service's private name means its interface endpoint, whatever routes there are."""
    if not site.vpc.dns_support:
        return [f"{site.vpc.id} does not resolve names: enableDnsSupport is off"]
    closed = [fault for each in services if (fault := _fault_of_endpoint(picture, site, each))]
    return [*_faults_of_routes(picture, site, services), *closed]


def _default_route(picture: Picture, site: Site) -> str:
    """What the subnet's default route leads to; empty without one, and for a black hole."""
    table = picture.route_table(site.subnet)
    return "" if table is None else next((r.target for r in table.routes if r.destination == _ANYWHERE), "")


def _faults_of_routes(picture: Picture, site: Site, services: tuple[Service, ...]) -> list[str]:
    leads = _default_route(picture, site)
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
    return []


def _has_endpoint(picture: Picture, site: Site, service: Service) -> bool:
    """Whether the subnet's worker would use an endpoint: a gateway of its table, or a private name."""
    table = picture.route_table(site.subnet)
    return any(
        not each.gateway or (table is not None and table.id in each.route_table_ids)
        for each in _named(picture, site.vpc, service)
    )


def _named(picture: Picture, vpc: Vpc, service: Service) -> Iterator[Endpoint]:
    """The VPC's endpoints that are for the service: gateways, and interfaces that AWS's own name leads to."""
    names = vpc.dns_support and vpc.dns_hostnames
    for endpoint in picture.endpoints_in(vpc.id):
        if service.is_named(endpoint.service) and (endpoint.gateway or (endpoint.private_dns and names)):
            yield endpoint


def _fault_of_endpoint(picture: Picture, site: Site, service: Service) -> str:
    """Which security group stands between the worker and the only private names of a service; empty for none."""
    closed = ""
    for endpoint in _private(picture, site.vpc, service):
        if _is_let_in(picture, site, endpoint) is not False:
            return ""
        closed = f"{', '.join(endpoint.security_group_ids)} of {endpoint.id} ({service}) lets TCP 443 in from no worker"
    return closed


def _private(picture: Picture, vpc: Vpc, service: Service) -> list[Endpoint]:
    """The interface endpoints that the service's name leads to."""
    return [each for each in _named(picture, vpc, service) if not each.gateway]


def _is_let_in(picture: Picture, site: Site, endpoint: Endpoint) -> bool | None:
    """Whether an endpoint's groups let the worker's HTTPS in; None when what is known of them does not tell."""
    groups = _known(picture, endpoint.security_group_ids)
    peers = rules.let_in_from(groups, HTTPS)
    together = bool(site.subnet.cidr) and rules.hold(peers, (site.subnet.cidr,))
    if together or rules.lets_in(groups, HTTPS, of=_itself(site)):
        return True
    unknown = len(groups) < len(endpoint.security_group_ids)
    return None if unknown or rules.name_prefix_list(peers) else False


def _is_let_out(picture: Picture, site: Site, service: Service) -> bool | None:
    """Whether configured groups let HTTPS out to where the service is; None when their rules alone do not tell."""
    peers = rules.let_out_to(site.groups, HTTPS)
    if rules.hold(peers, (_ANYWHERE,)):
        return True
    if not peers:
        return False
    listed = rules.name_prefix_list(peers)
    if private := _private(picture, site.vpc, service):
        of_endpoints = {group for each in private for group in each.security_group_ids}
        if rules.hold(peers, site.vpc.cidrs) or not of_endpoints.isdisjoint(peers):
            return True
        return None if listed or rules.meet(peers, site.vpc.cidrs) else False
    if listed and service.name in _LISTED and service.region == picture.region:
        return True
    # A way out of the user's own making may end at endpoints of another VPC.
    own_way = not _default_route(picture, site).startswith(("nat-", "igw-", "vpce-")) and not site.public_address
    gateway = _has_endpoint(picture, site, service)
    return None if listed or rules.name_public(peers) or (own_way and not gateway) else False


def _faults_of_groups(
    picture: Picture, site: Site, services: tuple[Service, ...], callers: Callers, store_ports: tuple[int, ...]
) -> Iterator[str]:
    """What configured groups keep from the worker.

    The run's own temporary group keeps nothing from it: it is made for the candidate's ports and name servers.
    """
    if not site.groups:
        return
    names = ", ".join(group.id for group in site.groups)
    peers = rules.let_out_to(site.groups, HTTPS)
    kept = [each for each in services if site.preflight and _is_let_out(picture, site, each) is False]
    if not peers:
        yield f"{names} lets no TCP 443 out, which AWS's services are reached at"
    elif kept:
        yield f"{names} lets TCP 443 out to {', '.join(peers)} alone, which does not hold {', '.join(map(str, kept))}"
    for port in store_ports:
        if not rules.let_out_to(site.groups, port):
            yield f"{names} lets no TCP {port} out, which the repository's store is reached at"
    for resolver in map(rules.of_address, site.vpc.resolvers):
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
