# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a worker goes, and why: a pure function from settings and a picture of the account to ordered candidates.

It never calls AWS. Trouble with the network is found here, before anything is launched, and the error names the
setting that would mend it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from . import services
from .picture import Picture, Subnet

_GIB_PER_TIB = 1024

# Profile by total size of the volumes: up to, and not including, so many GiB. A size exactly on a bound takes the
# larger type. The figures are OPERATIONS' of the reference product for EBS data.
_BY_VOLUME_SIZE = ((_GIB_PER_TIB, "small"), (16 * _GIB_PER_TIB, "medium"), (None, "large"))
PROFILES: dict[str, tuple[tuple[int | None, str], ...]] = {
    "ec2_backup": _BY_VOLUME_SIZE,
    "ec2_restore": _BY_VOLUME_SIZE,
    "volume_restore": _BY_VOLUME_SIZE,
}
INSTANCE_TYPES: dict[str, tuple[str, ...]] = {
    "small": ("c6a.large", "c6i.large", "c5.large"),
    "medium": ("c6a.2xlarge", "c6i.2xlarge", "c5.2xlarge"),
    "large": ("c6a.4xlarge", "c6i.4xlarge", "c5.4xlarge"),
}
_ANYWHERE = "0.0.0.0/0"


class PlacementError(Exception):
    """No worker can be placed: a code, a message that names the place, and the setting that would mend it."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(f"{code}: {message} {remedy}")
        self.code = code
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True)
class Network:
    """One entry of ``mayfly_networks``; without ``vpc_id`` it speaks of the default VPC."""

    account: str
    region: str
    availability_zone: str | None = None
    vpc_id: str | None = None
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    public_address: bool = False

    @classmethod
    def from_setting(cls, value: Mapping[str, Any]) -> Network:
        """An entry as users write it; raises PlacementError for one that says nothing sensible."""
        fault = _fault_of_entry(value)
        if fault:
            raise PlacementError("BadNetwork", f"An entry of mayfly_networks is wrong ({fault}).", _SEE_NETWORKS)
        return cls(
            account=str(value["account"]),
            region=value["region"],
            availability_zone=value.get("availability_zone") or None,
            vpc_id=value.get("vpc_id") or None,
            subnet_ids=tuple(value.get("subnet_ids") or ()),
            security_group_ids=tuple(value.get("security_group_ids") or ()),
            public_address=_TRUTHS[str(value.get("public_address") or False).lower()],
        )


# A template gives a word where the user means a truth; "false" must not open a worker to the internet.
_TRUTHS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_ACCOUNT_ID = re.compile("[0-9]{12}")
_SEE_NETWORKS = "group_vars/all/networks.yml says what an entry of mayfly_networks holds."


@dataclass(frozen=True)
class Request:
    """What a worker is wanted for. ``zone`` is the id of the zone that is best, ``architectures`` what the image runs.

    ``instance_types`` is the user's ``mayfly_instance_types``: lists by profile, also below a Region's name.
    """

    operation: str
    size_gib: int
    repository_region: str
    zone: str | None = None
    networks: tuple[Network, ...] = ()
    instance_types: Mapping[str, Any] = field(default_factory=dict)
    architectures: frozenset[str] = frozenset({"x86_64", "arm64"})
    control_node_cidr: str | None = None


@dataclass(frozen=True)
class Reason:
    """Why something was taken or not: ``decision`` is chosen, fallback or rejected."""

    subject: str
    decision: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """One way to launch the worker. Without ``security_group_ids``, the run's temporary group is meant."""

    account: str
    region: str
    availability_zone: str
    availability_zone_id: str
    subnet_id: str
    vpc_id: str
    security_group_ids: tuple[str, ...]
    instance_type: str
    architecture: str
    public_address: bool
    market: str = "on-demand"


@dataclass(frozen=True)
class Placement:
    """Candidates in the order they are tried in, never empty, and the reasons for them."""

    candidates: tuple[Candidate, ...]
    reasons: tuple[Reason, ...]


def place(picture: Picture, request: Request) -> Placement:
    """Candidates for a worker in the picture's account and Region; raises PlacementError when there is none."""
    reasons: list[Reason] = []
    types = _types(picture, request, reasons)
    usable = _usable_subnets(picture, request, reasons)
    if not usable:
        rejected = "; ".join(f"{each.subject}: {each.reason}" for each in reasons if each.subject.startswith("subnet"))
        raise PlacementError(
            "NoNetwork",
            f"No subnet of account {picture.account} in {picture.region} can take a worker"
            f" ({rejected or 'there is none'}).",
            "Name a VPC and subnets in mayfly_networks from which AWS's services can be reached.",
        )
    usable.sort(key=lambda pair: (pair[1].zone_id != request.zone, -pair[1].free_addresses, pair[1].id))
    candidates: list[Candidate] = []
    for network, subnet in usable:
        offered = [name for name in types if subnet.zone_id in picture.instance_types[name].zone_ids]
        if not offered:
            reasons.append(_rejected(subnet.id, f"zone {subnet.zone_id} offers none of {', '.join(types)}"))
            continue
        near = " in the resource's zone" if subnet.zone_id == request.zone else f" in zone {subnet.zone_id}"
        decision = "fallback" if candidates else "chosen"
        reasons.append(Reason(f"subnet {subnet.id}", decision, f"{subnet.free_addresses} free addresses{near}"))
        candidates += _candidates(picture, network, subnet, offered)
    if not candidates:
        raise PlacementError(
            "NoInstanceType",
            f"No usable subnet of {picture.region} is in a zone that offers any of {', '.join(types)}.",
            "Name other types in mayfly_instance_types or other subnets in mayfly_networks.",
        )
    if any(not each.security_group_ids for each in candidates):
        check_control_node(request.control_node_cidr)
    return Placement(tuple(candidates), tuple(reasons))


def profile_of(operation: str, size_gib: int) -> str:
    """The profile of instance types for an operation on so many GiB; raises PlacementError for other operations."""
    if operation not in PROFILES:
        raise PlacementError(
            "UnknownOperation", f"Operation {operation} has no worker.", f"Known are {', '.join(PROFILES)}."
        )
    return next(profile for bound, profile in PROFILES[operation] if bound is None or size_gib < bound)


def check_control_node(cidr: str | None) -> None:
    """Raises PlacementError unless SSH may be opened to ``cidr``: a network, and not everywhere."""
    remedy = "Set mayfly_control_node_cidr to the control node's own address, or name groups in mayfly_networks."
    if not cidr:
        raise PlacementError("NoControlNode", "No security group is configured and none can be made.", remedy)
    try:
        network = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise PlacementError("BadControlNode", f"mayfly_control_node_cidr is no network: {error}.", remedy) from error
    if "/" not in cidr:  # EC2 takes no bare address
        raise PlacementError("BadControlNode", f"mayfly_control_node_cidr {cidr} has no /32 or other prefix.", remedy)
    if network.prefixlen == 0:
        raise PlacementError("BadControlNode", f"mayfly_control_node_cidr {cidr} is everywhere.", remedy)


def _fault_of_entry(value: Any) -> str:
    """What is wrong with an entry of mayfly_networks as users write it; empty for a good one."""
    if not isinstance(value, Mapping):
        return f"{value!r} is not a dictionary"
    given = {name: each for name, each in value.items() if not _is_blank(each)}
    unknown = sorted(str(name) for name in value if name not in Network.__dataclass_fields__)
    if unknown:
        return f"unknown: {', '.join(unknown)}"
    missing = [name for name in ("account", "region") if name not in given]
    if missing:
        return f"missing: {', '.join(missing)}"
    if not _ACCOUNT_ID.fullmatch(str(given["account"])):
        return f"account {given['account']!r} is not an account id of 12 digits in quotes"
    for name in ("region", "availability_zone", "vpc_id"):
        if not isinstance(given.get(name, ""), str):
            return f"{name} {given[name]!r} is not a text"
    for name in ("subnet_ids", "security_group_ids"):
        if not _is_list_of_text(given.get(name, ())):
            return f"{name} {given[name]!r} is not a list of ids"
    if str(given.get("public_address", False)).lower() not in _TRUTHS:
        return f"public_address {given['public_address']!r} is neither true nor false"
    return "it has subnet_ids but no vpc_id" if "subnet_ids" in given and "vpc_id" not in given else ""


def _rejected(subnet_id: str, reason: str) -> Reason:
    return Reason(f"subnet {subnet_id}", "rejected", reason)


def _types(picture: Picture, request: Request, reasons: list[Reason]) -> list[str]:
    profile = profile_of(request.operation, request.size_gib)
    wanted = wanted_types(request.instance_types, picture.region, profile)
    taken: list[str] = []
    for name in wanted:
        known = picture.instance_types.get(name)
        if known is None or not known.zone_ids:
            reasons.append(Reason(f"type {name}", "rejected", f"not offered in {picture.region}"))
        elif known.architecture not in request.architectures:
            reasons.append(Reason(f"type {name}", "rejected", f"{known.architecture} is not the image's architecture"))
        else:
            decision = "fallback" if taken else "chosen"
            reasons.append(Reason(f"type {name}", decision, f"profile {profile} for {request.size_gib} GiB"))
            taken.append(name)
    if not taken:
        rejected = "; ".join(f"{each.subject.removeprefix('type ')}: {each.reason}" for each in reasons)
        raise PlacementError(
            "NoInstanceType",
            f"No type for the worker can be used in {picture.region} ({rejected}).",
            f"Name others for the profile {profile} in mayfly_instance_types.",
        )
    return taken


def wanted_types(setting: Mapping[str, Any], region: str, profile: str) -> tuple[str, ...]:
    """The types of a profile: the user's for the Region, else the user's for all, else the default. No type twice."""
    remedy = "group_vars/all/instance_types.yml shows its form."
    local = {} if _is_blank(setting.get(region)) else setting[region]
    if not isinstance(local, Mapping):
        raise PlacementError("BadInstanceTypes", f"mayfly_instance_types has no profiles below {region}.", remedy)
    own = [each for each in (local.get(profile), setting.get(profile)) if not _is_blank(each)]
    names = own[0] if own else INSTANCE_TYPES[profile]
    if not _is_list_of_text(names):
        message = f"mayfly_instance_types has no list of types for the profile {profile}."
        raise PlacementError("BadInstanceTypes", message, remedy)
    return tuple(dict.fromkeys(names))


def _is_blank(value: Any) -> bool:
    """Whether a setting was not given: a blank answer of a survey counts as none."""
    return value is None or (isinstance(value, Sequence) and not value)


def _is_list_of_text(value: Any) -> TypeGuard[Sequence[str]]:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return listed and all(isinstance(each, str) and each for each in value)


def _networks(picture: Picture, request: Request) -> Iterator[Network]:
    """The configured networks of the account and Region, else its default VPC."""
    fitting = [each for each in request.networks if (each.account, each.region) == (picture.account, picture.region)]
    for each in fitting:
        if each.availability_zone and picture.zone_id(each.availability_zone) is None:
            raise PlacementError(
                "UnknownAvailabilityZone",
                f"mayfly_networks names zone {each.availability_zone}, which {picture.region} does not have.",
                f"Its zones are {', '.join(zone.name for zone in picture.zones)}.",
            )
    yield from dict.fromkeys(fitting or [Network(picture.account, picture.region)])


def _zone(picture: Picture, network: Network) -> str | None:
    return picture.zone_id(network.availability_zone) if network.availability_zone else None


def _usable_subnets(picture: Picture, request: Request, reasons: list[Reason]) -> list[tuple[Network, Subnet]]:
    """Each subnet that a worker could work in, with the first network that says how; why not, for the others."""
    usable: dict[str, tuple[Network, Subnet]] = {}
    faults: dict[str, list[str]] = {}
    for network in _networks(picture, request):
        for subnet in _subnets_of(picture, network):
            fault = _fault(picture, request, network, subnet)
            if not fault:
                usable.setdefault(subnet.id, (network, subnet))
            elif fault not in faults.setdefault(subnet.id, []):
                faults[subnet.id].append(fault)
    reasons += [_rejected(each, "; ".join(faults[each])) for each in sorted(faults.keys() - usable.keys())]
    return list(usable.values())


def _subnets_of(picture: Picture, network: Network) -> list[Subnet]:
    """The subnets that the network names, else all of its VPC; of the default VPC, the default ones."""
    vpc_id = network.vpc_id or next((vpc.id for vpc in picture.vpcs if vpc.default), None)
    if vpc_id is None:
        raise PlacementError(
            "NoDefaultVpc",
            f"Account {picture.account} has no default VPC in {picture.region}.",
            "Name a VPC and its subnets in mayfly_networks.",
        )
    if vpc_id not in {vpc.id for vpc in picture.vpcs}:
        raise PlacementError(
            "UnknownVpc",
            f"{vpc_id} of mayfly_networks is not in account {picture.account}, {picture.region}.",
            _SEE_NETWORKS,
        )
    inside = {subnet.id: subnet for subnet in picture.subnets if subnet.vpc_id == vpc_id}
    for missing in (each for each in network.subnet_ids if each not in inside):
        raise PlacementError("UnknownSubnet", f"{missing} of mayfly_networks is not in {vpc_id}.", _SEE_NETWORKS)
    wanted = network.subnet_ids or tuple(subnet.id for subnet in inside.values() if network.vpc_id or subnet.default)
    return [inside[each] for each in wanted]


def _fault(picture: Picture, request: Request, network: Network, subnet: Subnet) -> str | None:
    """Why a worker could not work in a subnet, or None."""
    zone = _zone(picture, network)
    if zone is not None and zone != subnet.zone_id:
        return f"not in zone {network.availability_zone}, for which it is configured"
    if subnet.free_addresses < 1:
        return "no free address"
    table = picture.route_table(subnet)
    leads = "" if table is None else next((r.target for r in table.routes if r.destination == _ANYWHERE), "")
    if network.public_address:
        if not leads.startswith("igw-"):
            return "public_address is set, but the subnet's route table leads to no internet gateway"
        if not subnet.public_on_launch:
            return "public_address is set, but the subnet does not assign public IPv4 addresses"
        return None
    if leads and not leads.startswith("igw-"):
        return None  # a NAT gateway, or a way out of the user's own making
    missing = _missing_endpoints(picture, request, subnet)
    if not missing:
        return None
    advice = "; a public address would do: public_address in mayfly_networks" if leads else ""
    return f"no NAT gateway, and no endpoint for {', '.join(missing)}{advice}"


def _missing_endpoints(picture: Picture, request: Request, subnet: Subnet) -> list[str]:
    table = picture.route_table(subnet)
    reached = {
        endpoint.service
        for endpoint in picture.endpoints
        if endpoint.vpc_id == subnet.vpc_id
        and ((table is not None and table.id in endpoint.route_table_ids) if endpoint.gateway else endpoint.private_dns)
    }
    names = services.endpoint_names(request.operation, picture.region, request.repository_region)
    return [name for name in names if name not in reached]


def _candidates(picture: Picture, network: Network, subnet: Subnet, types: Iterable[str]) -> Iterator[Candidate]:
    for name in types:
        yield Candidate(
            account=picture.account,
            region=picture.region,
            availability_zone=picture.zone_name(subnet.zone_id),
            availability_zone_id=subnet.zone_id,
            subnet_id=subnet.id,
            vpc_id=subnet.vpc_id,
            security_group_ids=network.security_group_ids,
            instance_type=name,
            architecture=picture.instance_types[name].architecture,
            public_address=network.public_address,
        )
