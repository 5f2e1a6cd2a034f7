# SPDX-License-Identifier: GPL-3.0-or-later
"""What security groups let through."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

from .picture import Rule, SecurityGroup

EVERYWHERE = ("0.0.0.0/0", "::/0")


def lets_out(groups: Sequence[SecurityGroup], port: int, *, to: Iterable[str], protocol: str = "tcp") -> bool:
    """Whether the groups let a connection out to the port of a peer, which is any one of ``to``: CIDRs and group ids.

    A rule for a prefix list counts as one that the user has made for AWS's services: what it holds is not looked up.
    """
    return any(
        _reaches(rule, to) or rule.peer.startswith("pl-")
        for group in groups
        for rule in group.egress
        if rule.covers(protocol, port)
    )


def let_out_to(groups: Iterable[SecurityGroup], port: int) -> tuple[str, ...]:
    """The peers that the groups let a TCP connection out to, at that port: CIDRs, groups and prefix lists."""
    return tuple(dict.fromkeys(rule.peer for group in groups for rule in group.egress if rule.covers("tcp", port)))


def let_in_from(groups: Iterable[SecurityGroup], port: int) -> tuple[str, ...]:
    """The peers that the groups let a TCP connection in from, at that port: CIDRs, groups and prefix lists."""
    return tuple(dict.fromkeys(rule.peer for group in groups for rule in group.ingress if rule.covers("tcp", port)))


def hold(peers: Iterable[str], cidrs: Iterable[str]) -> bool:
    """Whether peers of rules hold all of these IPv4 ranges, one by itself or several together."""
    known = list(ipaddress.collapse_addresses(_ipv4(peers)))
    return all(any(each.subnet_of(larger) for larger in known) for each in _ipv4(cidrs))


def meet(peers: Iterable[str], cidrs: Iterable[str]) -> bool:
    """Whether peers of rules hold anything of these IPv4 ranges."""
    known = _ipv4(peers)
    return any(each.overlaps(other) for each in _ipv4(cidrs) for other in known)


def name_prefix_list(peers: Iterable[str]) -> bool:
    """Whether a rule is about a prefix list: what it holds is not looked up."""
    return any(peer.startswith("pl-") for peer in peers)


def name_public(peers: Iterable[str]) -> bool:
    """Whether a rule is about addresses of the internet, all or some."""
    return any(not each.is_private for each in _ipv4(peers))


def of_address(address: str) -> str:
    """A single address as a CIDR, of either version; raises ValueError for what is none."""
    return str(ipaddress.ip_network(address))


def _ipv4(peers: Iterable[str]) -> list[ipaddress.IPv4Network]:
    found = (_network(each) for each in peers)
    return [each for each in found if isinstance(each, ipaddress.IPv4Network)]


def lets_in(groups: Iterable[SecurityGroup], port: int, *, of: Iterable[str], protocol: str = "tcp") -> bool:
    """Whether the groups let a connection in to the port, from a peer that is any one of ``of``: CIDRs and groups."""
    return any(_reaches(rule, of) for group in groups for rule in group.ingress if rule.covers(protocol, port))


def open_to_everyone(group: SecurityGroup) -> list[Rule]:
    """Rules that let anybody in."""
    return [rule for rule in group.ingress if rule.peer in EVERYWHERE]


def _reaches(rule: Rule, peers: Iterable[str]) -> bool:
    return any(rule.peer == peer or _holds(rule.peer, peer) for peer in peers)


@lru_cache(maxsize=4096)
def _network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """None for ids of groups and prefix lists."""
    try:
        return ipaddress.ip_network(cidr)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _holds(outer: str, inner: str) -> bool:
    """Whether a CIDR holds all of another one; false for ids of groups."""
    larger, smaller = _network(outer), _network(inner)
    if isinstance(larger, ipaddress.IPv4Network) and isinstance(smaller, ipaddress.IPv4Network):
        return smaller.subnet_of(larger)
    if isinstance(larger, ipaddress.IPv6Network) and isinstance(smaller, ipaddress.IPv6Network):
        return smaller.subnet_of(larger)
    return False
