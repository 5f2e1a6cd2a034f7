# SPDX-License-Identifier: GPL-3.0-or-later
"""From ``mayfly_networks`` and a picture to the subnets that may be used, and the groups that go with each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..settings.networks import Network
from .errors import PlacementError
from .picture import Picture, SecurityGroup, Subnet, Tags, Vpc

_Named = TypeVar("_Named", Vpc, Subnet)
_SEE = "group_vars/all/networks.yml says what an entry of mayfly_networks holds."


@dataclass(frozen=True)
class Site:
    """A subnet that the settings offer. ``zone`` is the only one that its entry serves, as it is written there.

    Without ``groups`` the run's temporary security group is meant. Without ``preflight`` its way to AWS's services is
    taken for granted.
    """

    subnet: Subnet
    vpc: Vpc
    groups: tuple[SecurityGroup, ...]
    public_address: bool
    zone: str | None = None
    preflight: bool = True


def sites(picture: Picture, networks: Sequence[Network], vpc_id: str | None = None) -> Iterator[Site]:
    """The subnets that the entries for the picture's account and Region offer, a subnet once for each entry.

    Without any entry, the default VPC's own subnets. With ``vpc_id`` the worker has to be in that VPC: its entries, or
    all its subnets. Raises PlacementError for what the entries name and AWS does not have.
    """
    fitting = [each for each in networks if _is_for(each, picture)]
    offered = [site for each in dict.fromkeys(fitting) for site in _of_entry(picture, each)]
    inside = [site for site in offered if vpc_id in (None, site.vpc.id)]
    if vpc_id is not None and not inside:
        inside = list(_whole_vpc(picture, vpc_id))
    elif not fitting:
        inside = list(_of_entry(picture, Network(account=picture.account, region=picture.region)))
    yield from inside


def _is_for(network: Network, picture: Picture) -> bool:
    return network.account in (None, picture.account) and network.region in (None, picture.region)


def _whole_vpc(picture: Picture, vpc_id: str) -> Iterator[Site]:
    vpc = picture.vpc(vpc_id)
    if vpc is None:
        message = f"{vpc_id}, where the worker has to be, is not in account {picture.account}, {picture.region}."
        raise PlacementError("UnknownVpc", message, "Check the account and Region of the resource.")
    for subnet in picture.subnets_in(vpc_id):
        yield Site(subnet, vpc, (), public_address=False)


def _of_entry(picture: Picture, network: Network) -> Iterator[Site]:
    _check_zone(picture, network)
    for vpc in _vpcs(picture, network):
        groups = _groups(picture, network, vpc)
        for subnet in _subnets(picture, network, vpc):
            yield Site(
                subnet, vpc, groups, network.public_address, network.availability_zone, preflight=network.preflight
            )


def _check_zone(picture: Picture, network: Network) -> None:
    if network.availability_zone and picture.zone_id(network.availability_zone) is None:
        raise PlacementError(
            "UnknownAvailabilityZone",
            f"mayfly_networks names zone {network.availability_zone}, which {picture.region} does not have.",
            f"Its zones are {', '.join(zone.name for zone in picture.zones)}.",
        )


def _vpcs(picture: Picture, network: Network) -> list[Vpc]:
    place = f"account {picture.account}, {picture.region}"
    if network.tag is not None:
        found = [each for each in picture.vpcs if _bears(each.tags, network)]
        if not found:
            message = f"No VPC of {place} bears the tag {_words(network)} of mayfly_networks."
            raise PlacementError("UnknownVpc", message, "Put the tag on the VPC, its subnets and a security group.")
        return found
    if network.vpc_id is not None:
        known = picture.vpc(network.vpc_id)
        if known is None:
            raise PlacementError("UnknownVpc", f"{network.vpc_id} of mayfly_networks is not in {place}.", _SEE)
        return [known]
    if network.vpc_name is not None:
        return [_only(picture.vpcs, network.vpc_name, "Vpc", place)]
    default = next((each for each in picture.vpcs if each.default), None)
    if default is None:
        raise PlacementError(
            "NoDefaultVpc",
            f"Account {picture.account} has no default VPC in {picture.region}.",
            "Name a VPC and its subnets in mayfly_networks.",
        )
    return [default]


def _subnets(picture: Picture, network: Network, vpc: Vpc) -> list[Subnet]:
    inside = picture.subnets_in(vpc.id)
    if network.tag is not None:
        tagged = [each for each in inside if _bears(each.tags, network)]
        if not tagged:
            message = f"{vpc.id} bears the tag {_words(network)} of mayfly_networks, but none of its subnets does."
            raise PlacementError("UnknownSubnet", message, "Put the tag on the subnets that workers may use.")
        return tagged
    if network.subnet_names:
        return [_only(inside, name, "Subnet", vpc.id) for name in network.subnet_names]
    known = {each.id: each for each in inside}
    for missing in (each for each in network.subnet_ids if each not in known):
        raise PlacementError("UnknownSubnet", f"{missing} of mayfly_networks is not in {vpc.id}.", _SEE)
    if network.subnet_ids:
        return [known[each] for each in network.subnet_ids]
    own = network.vpc_id is not None or network.vpc_name is not None
    return [each for each in inside if own or each.default]


def _groups(picture: Picture, network: Network, vpc: Vpc) -> tuple[SecurityGroup, ...]:
    inside = {each.id: each for each in picture.security_groups if each.vpc_id == vpc.id}
    if network.tag is not None:
        tagged = tuple(each for each in inside.values() if _bears(each.tags, network))
        if not tagged:
            message = f"{vpc.id} bears the tag {_words(network)} of mayfly_networks, but no security group in it does."
            raise PlacementError("UnknownSecurityGroup", message, "Put the tag on the group for workers.")
        return tagged
    if network.security_group_names:  # unique in a VPC, unlike Name tags
        inside = {each.name: each for each in inside.values()}
    wanted = tuple(dict.fromkeys(network.security_group_ids or network.security_group_names))
    for missing in (each for each in wanted if each not in inside):
        message = f"The security group {missing} of mayfly_networks is not in {vpc.id}."
        raise PlacementError("UnknownSecurityGroup", message, _SEE)
    return tuple(inside[each] for each in wanted)


def _only(these: Sequence[_Named], name: str, kind: str, place: str) -> _Named:
    """The one of that Name tag: names are not unique, and a wrong guess would run a worker where it must not."""
    named = [each for each in these if each.tags.get("Name") == name]
    if len(named) == 1:
        return named[0]
    found = ", ".join(each.id for each in named) or "none"
    message = f"mayfly_networks wants the one {kind} with the Name tag {name}; of that name, {place} has {found}."
    raise PlacementError(f"{'Ambiguous' if named else 'Unknown'}{kind}", message, _SEE)


def _bears(tags: Tags, network: Network) -> bool:
    return network.tag is not None and tags.get(network.tag.key) == network.tag.value


def _words(network: Network) -> str:
    return f"{network.tag.key}={network.tag.value}" if network.tag else ""
