# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request and a picture of the account to the candidates for a worker, in the order they are tried in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

from ..operations import GIB, OPERATIONS, Service, profile_of, services_of
from ..settings.connection import fault_of_cidr
from ..settings.instance_types import InstanceTypes
from ..settings.networks import Network
from . import networks, reach
from .errors import PlacementError, known_operation
from .networks import Site
from .picture import Image, Picture
from .types import ON_DEMAND, SPOT, fault_of_quota, fault_of_type, quota_class

SSH_PORT = 22
NETWORK_REMEDY = "Name a VPC and subnets in mayfly_networks from which AWS's services can be reached."
_CONTROL_NODE = "Set mayfly_control_node_cidr to the control node's own address, or name groups in mayfly_networks."


@dataclass(frozen=True)
class Request:
    """What a worker is wanted for.

    ``zones`` are the ids of the zones that are best, nearest first; with ``vpc_id`` the worker has to be in that VPC
    and in one of them. ``callers`` of SSH and of the operation's own port are CIDRs; SSH comes from ``bastion``, by all
    that rules may call it, where there is one, and over Session Manager to no port at all. ``market`` is spot or
    on-demand; after spot, on-demand is fallen back to. ``by_price`` puts the cheapest of each market first. ``images``
    is the worker's machine image by architecture. ``store_ports`` are the TCP ports of stores that are not
    AWS's S3; with ``own_store`` the repository is in such a one. ``copy_region`` is that of a bucket that is copied to.
    ``check_ports`` are the TCP ports that a check of the network connects to, wherever their hosts are, and
    ``profiles`` those of the operations that it is checked for.
    """

    operation: str
    size_bytes: int
    repository_region: str
    zones: tuple[str, ...] = ()
    vpc_id: str | None = None
    peers: tuple[reach.Peer, ...] = ()
    more_services: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    instance_types: InstanceTypes = field(default_factory=InstanceTypes)
    images: Mapping[str, Image] = field(default_factory=dict)
    market: str = ON_DEMAND
    by_price: bool = False
    control_node_cidr: str | None = None
    operator_cidr: str | None = None
    ssh_port: int = SSH_PORT
    bastion: tuple[str, ...] = ()
    session_manager: bool = False
    store_ports: tuple[int, ...] = ()
    own_store: bool = False
    copy_region: str = ""
    check_ports: tuple[int, ...] = ()
    profiles: tuple[str, ...] = ()

    @property
    def ports_out(self) -> tuple[int, ...]:
        """The TCP ports that the worker has to reach beside HTTPS; raises KeyError for an unknown operation."""
        of_operation = OPERATIONS[self.operation].port
        of_peers = (each.port for each in self.peers)
        known = {*self.store_ports, *self.check_ports, *of_peers, *((of_operation,) if of_operation else ())}
        return tuple(sorted(known - {reach.HTTPS}))

    @property
    def markets(self) -> tuple[str, ...]:
        """The markets in the order they are tried in."""
        return (SPOT, ON_DEMAND) if self.market == SPOT else (ON_DEMAND,)

    @property
    def profile(self) -> str:
        """The profile of instance types; raises KeyError for an unknown operation."""
        return profile_of(self.operation, self.size_bytes)

    def types_in(self, region: str) -> tuple[str, ...]:
        """The instance types that are wanted there, in order; raises as :attr:`profile`."""
        return self.instance_types.of(region, self.profile)

    def all_types_in(self, region: str) -> tuple[str, ...]:
        """Those, and the types of ``profiles``; raises as :attr:`profile`."""
        more = (name for each in self.profiles for name in self.instance_types.of(region, each))
        return tuple(dict.fromkeys((*self.types_in(region), *more)))


# What a request says of types alone; the rest is about subnets.
_OF_TYPES = ("size_bytes", "instance_types", "images", "profiles")


@dataclass(frozen=True)
class Reason:
    """Why something was taken or not: ``decision`` is chosen, fallback, rejected, warning or unknown."""

    subject: str
    decision: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """One way to launch the worker. Without ``security_group_ids``, the run's temporary group is meant.

    ``price`` is in USD an hour, None where it is not known. A run's group lets the worker out to ``ports_out`` (TCP)
    beside HTTPS, and to ``name_servers``, the addresses of those that the VPC has in place of AWS's.
    """

    account: str
    region: str
    availability_zone: str
    availability_zone_id: str
    subnet_id: str
    vpc_id: str
    security_group_ids: tuple[str, ...]
    instance_type: str
    architecture: str
    image_id: str
    root_device_name: str
    public_address: bool
    market: str = ON_DEMAND
    price: float | None = None
    ports_out: tuple[int, ...] = ()
    name_servers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placement:
    """Candidates in the order they are tried in, never empty, and the reasons for them."""

    candidates: tuple[Candidate, ...]
    reasons: tuple[Reason, ...]


def place(picture: Picture, request: Request) -> Placement:
    """Candidates for a worker in the picture's account and Region; raises PlacementError when there is none."""
    known_operation(request.operation)
    if request.control_node_cidr:
        check_control_node(request.control_node_cidr)
    reasons: list[Reason] = []
    types = tuple(_types(picture, request, reasons))
    candidates, more = _of_subnets(picture, request, types)
    return Placement(candidates, (*reasons, *more))


def _of_subnets(
    picture: Picture, request: Request, types: tuple[str, ...]
) -> tuple[tuple[Candidate, ...], tuple[Reason, ...]]:
    """The candidates, and the reasons for each subnet: the same for all resources that want the same."""
    images = tuple(sorted((name, image.id) for name, image in request.images.items()))
    key = (types, images, *(getattr(request, each.name) for each in fields(request) if each.name not in _OF_TYPES))
    known: tuple[tuple[Candidate, ...], tuple[Reason, ...]] | None = picture.worked_out.get(key)
    if known is None:
        known = picture.worked_out[key] = _worked_out(picture, request, types)
    return known


def _worked_out(
    picture: Picture, request: Request, types: tuple[str, ...]
) -> tuple[tuple[Candidate, ...], tuple[Reason, ...]]:
    reasons: list[Reason] = []
    usable = _usable(picture, request, reasons)
    if not usable:
        rejected = "; ".join(f"{each.subject}: {each.reason}" for each in reasons)
        raise PlacementError(
            "NoNetwork",
            f"No subnet of account {picture.account} in {picture.region} can take a worker"
            f" ({rejected or 'there is none'}).",
            NETWORK_REMEDY,
        )
    offering: list[tuple[Site, list[str]]] = []
    for site in sorted(usable, key=lambda each: _preference(request, each)):
        zone = site.subnet.zone_id
        offered = [name for name in types if zone in picture.instance_types[name].zone_ids]
        if not offered:
            reason = f"zone {zone} offers none of {', '.join(types)}"
            reasons.append(Reason(f"subnet {site.subnet.id}", "rejected", reason))
            continue
        near = " in the resource's zone" if zone in request.zones else f" in zone {zone}"
        decision = "fallback" if offering else "chosen"
        free = f"{site.subnet.free_addresses} free addresses{near}"
        reasons.append(Reason(f"subnet {site.subnet.id}", decision, free))
        warned = reach.warnings(picture, site, services(picture.region, request), request.store_ports)
        reasons += [Reason(subject, "warning", said) for subject, said in warned]
        offering.append((site, offered))
    candidates = [each for market in request.markets for each in _candidates(picture, request, offering, market)]
    if not candidates:
        raise PlacementError(
            "NoInstanceType",
            f"No usable subnet of {picture.region} is in a zone that offers any of {', '.join(types)}.",
            "Name other types in mayfly_instance_types or other subnets in mayfly_networks.",
        )
    makes_group = any(not each.security_group_ids for each in candidates)
    if makes_group and not (request.control_node_cidr or request.bastion or request.session_manager):
        raise PlacementError("NoControlNode", "No security group is configured and none can be made.", _CONTROL_NODE)
    if request.by_price:
        markets = request.markets
        candidates.sort(key=lambda each: (markets.index(each.market), each.price is None, each.price or 0.0))
        reasons += _of_prices(picture, candidates)
    return tuple(candidates), tuple(dict.fromkeys(reasons))


def _of_prices(picture: Picture, candidates: Sequence[Candidate]) -> Iterator[Reason]:
    """What the order by price began with, and which prices it had to do without."""
    first = candidates[0]
    if first.price is not None:
        where = f"{first.instance_type} in zone {first.availability_zone_id}"
        yield Reason("order", "chosen", f"by price: {where} costs {first.price:g} USD an hour ({first.market})")
    for subject in dict.fromkeys(f"{each.market} price of {each.instance_type}" for each in candidates):
        why = picture.unknown.get(subject)
        if why is not None:
            yield Reason(subject, "unknown", f"{why}; it comes last, in the order of preference")


def services(region: str, request: Request) -> tuple[Service, ...]:
    """What a worker in that Region must reach for the request; raises KeyError for an unknown operation."""
    found = services_of(
        request.operation,
        region,
        request.repository_region,
        more=request.more_services,
        session_manager=request.session_manager,
        own_store=request.own_store,
    )
    copied_to = (Service("s3", request.copy_region),) if request.copy_region else ()
    return tuple(dict.fromkeys((*found, *copied_to)))


def check_control_node(cidr: str) -> None:
    """Raises PlacementError unless SSH may be opened to ``cidr``: a network, and not everywhere."""
    fault = fault_of_cidr(cidr)
    if fault:
        raise PlacementError("BadControlNode", f"mayfly_control_node_cidr {cidr} {fault}.", _CONTROL_NODE)


def _types(picture: Picture, request: Request, reasons: list[Reason]) -> list[str]:
    taken: list[str] = []
    for name in request.types_in(picture.region):
        fault = fault_of_type(picture, name, request.images, request.markets)
        if fault:
            reasons.append(Reason(f"type {name}", "rejected", fault))
            continue
        decision = "fallback" if taken else "chosen"
        size = f"{request.size_bytes / GIB:.10g} GiB"
        reasons.append(Reason(f"type {name}", decision, f"profile {request.profile} for {size}"))
        taken.append(name)
    reasons += _unknown_quotas(picture, request, taken)
    if not taken:
        rejected = "; ".join(f"{each.subject.removeprefix('type ')}: {each.reason}" for each in reasons)
        raise PlacementError(
            "NoInstanceType",
            f"No type for the worker can be used in {picture.region} ({rejected}).",
            f"Name others for the profile {request.profile} in mayfly_instance_types, or have the quota raised.",
        )
    return taken


def _unknown_quotas(picture: Picture, request: Request, names: Sequence[str]) -> Iterator[Reason]:
    classes = dict.fromkeys(quota_class(name) for name in names)
    for code in (kind.code(market) for kind in classes if kind is not None for market in request.markets):
        why = picture.unknown.get(f"quota {code}")
        if why is not None:
            yield Reason(f"quota {code}", "unknown", f"{why}; whether it has room is seen at the launch")


def judged(picture: Picture, request: Request) -> Iterator[tuple[Site, list[str]]]:
    """Each subnet as the settings offer it, and why a worker could not work there: nothing when it could."""
    wanted = OPERATIONS[request.operation]
    needed = services(picture.region, request)
    callers: list[tuple[int, tuple[str, ...]]] = []
    if not request.session_manager:
        callers.append((request.ssh_port, request.bastion or _known(request.control_node_cidr)))
    if wanted.serves:
        callers.append((wanted.serves, _known(request.operator_cidr)))
    reached_by = reach.Callers(tuple(callers))
    for site in networks.sites(picture, request.networks, request.vpc_id):
        zone = site.subnet.zone_id
        if request.vpc_id is not None and request.zones and zone not in request.zones:
            yield site, [f"zone {zone} is none that the resource is in"]
        else:
            store_ports = request.store_ports
            yield site, reach.faults(picture, site, needed, reached_by, request.peers, store_ports=store_ports)


def _usable(picture: Picture, request: Request, reasons: list[Reason]) -> list[Site]:
    """Each subnet that a worker could work in, as the first entry that fits says; why not, for the others."""
    usable: dict[str, Site] = {}
    faults: dict[str, dict[str, None]] = {}
    for site, found in judged(picture, request):
        if found:
            faults.setdefault(site.subnet.id, {}).update(dict.fromkeys(found))
        else:
            usable.setdefault(site.subnet.id, site)
    reasons += [
        Reason(f"subnet {each}", "rejected", "; ".join(faults[each])) for each in sorted(faults.keys() - usable.keys())
    ]
    return list(usable.values())


def _known(cidr: str | None) -> tuple[str, ...]:
    return (cidr,) if cidr else ()


def _preference(request: Request, site: Site) -> tuple[int, int, str]:
    """Nearest zone first, then most free addresses, then id."""
    zones = request.zones
    near = zones.index(site.subnet.zone_id) if site.subnet.zone_id in zones else len(zones)
    return near, -site.subnet.free_addresses, site.subnet.id


def _candidates(
    picture: Picture, request: Request, offering: list[tuple[Site, list[str]]], market: str
) -> Iterator[Candidate]:
    for site, names in offering:
        for name in names:
            kind, zone = picture.instance_types[name], site.subnet.zone_id
            image = request.images[kind.architecture]
            if fault_of_quota(picture, kind, market):
                continue  # the other market's may do
            yield Candidate(
                account=picture.account,
                region=picture.region,
                availability_zone=picture.zone_name(zone),
                availability_zone_id=zone,
                subnet_id=site.subnet.id,
                vpc_id=site.vpc.id,
                security_group_ids=tuple(group.id for group in site.groups),
                instance_type=name,
                architecture=kind.architecture,
                image_id=image.id,
                root_device_name=image.root_device_name,
                public_address=site.public_address,
                market=market,
                price=picture.prices.get((name, zone, market)),
                ports_out=request.ports_out,
                name_servers=site.vpc.resolvers,
            )
