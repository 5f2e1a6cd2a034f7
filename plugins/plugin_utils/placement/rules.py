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


def lets_in(groups: Iterable[SecurityGroup], port: int, *, of: Iterable[str], protocol: str = "tcp") -> bool:
    """Whether the groups let a connection in to the port, from a peer that is any one of ``of``: CIDRs and groups."""
    return any(_reaches(rule, of) for group in groups for rule in group.ingress if rule.covers(protocol, port))


def open_to_everyone(group: SecurityGroup) -> list[Rule]:
    """Rules that let anybody in."""
    return [rule for rule in group.ingress if rule.peer in EVERYWHERE]


def _reaches(rule: Rule, peers: Iterable[str]) -> bool:
    return any(rule.peer == peer or _holds(rule.peer, peer) for peer in peers)


@lru_cache(maxsize=4096)
def _holds(outer: str, inner: str) -> bool:
    """Whether a CIDR holds all of another one; false for ids of groups."""
    try:
        larger, smaller = ipaddress.ip_network(outer), ipaddress.ip_network(inner)
    except ValueError:
        return False
    if isinstance(larger, ipaddress.IPv4Network) and isinstance(smaller, ipaddress.IPv4Network):
        return smaller.subnet_of(larger)
    if isinstance(larger, ipaddress.IPv6Network) and isinstance(smaller, ipaddress.IPv6Network):
        return smaller.subnet_of(larger)
    return False
