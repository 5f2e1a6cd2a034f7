# SPDX-License-Identifier: GPL-3.0-or-later
"""The subnets that ``mayfly_networks`` offers to workers, each as a host of its own. Pure but for the pictures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .placement import networks as placement
from .placement.errors import PlacementError
from .placement.networks import Site
from .placement.picture import Picture
from .settings.networks import Network

Describe = Callable[[str, str], Picture]
_SEE = "group_vars/all/networks.yml says what an entry of mayfly_networks holds."
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class WorkerNetwork:
    """A subnet: the host's name, its ``mayfly_resource``, and ``mayfly_networks`` as far as it is about this subnet."""

    host: str
    resource: dict[str, str]
    networks: tuple[dict[str, Any], ...]


@dataclass
class _Offered:
    picture: Picture
    sites: list[Site] = field(default_factory=list)


def find(
    entries: Sequence[Network], accounts: Iterable[str], regions: Iterable[str], describe: Describe
) -> list[WorkerNetwork]:
    """Every subnet that the entries offer, once, in their order.

    An entry without account or Region stands for all ``accounts`` (ids) and ``regions``, in which only what bears its
    tag counts. ``describe`` gives the picture of an account in a Region. Raises PlacementError for an entry that names
    what is not there, and what ``describe`` raises.
    """
    everywhere = (tuple(accounts), tuple(regions))
    found: dict[tuple[str, str, str], _Offered] = {}
    for entry in entries:
        for picture, site in _sites(entry, everywhere, describe):
            key = (picture.account, picture.region, site.subnet.id)
            found.setdefault(key, _Offered(picture)).sites.append(site)
    # A subnet that is shared is in several accounts.
    seen = Counter(subnet for _account, _region, subnet in found)
    return [_host(each, shared=seen[subnet] > 1) for (_account, _region, subnet), each in found.items()]


def _sites(
    entry: Network, everywhere: tuple[Sequence[str], Sequence[str]], describe: Describe
) -> Iterator[tuple[Picture, Site]]:
    """What an entry offers, and where; raises PlacementError when that is nothing."""
    accounts, regions = ((entry.account,), (entry.region,)) if _has_place(entry) else _places(entry, everywhere)
    absent: PlacementError | None = None
    count = 0
    for account in accounts:
        for region in regions:
            picture = describe(str(account), str(region))
            try:
                offered = list(placement.sites(picture, [entry]))
            except PlacementError as error:
                if error.code != "UnknownVpc" or _has_place(entry):
                    raise
                absent = error
                continue
            count += len(offered)
            yield from ((picture, site) for site in offered)
    if absent is not None and not count:
        raise absent
    if not count:
        message = f"The entry of mayfly_networks for {_words(entry)} has no subnet."
        raise PlacementError("UnknownSubnet", message, _SEE)


def _has_place(entry: Network) -> bool:
    return entry.account is not None and entry.region is not None


def _places(
    entry: Network, everywhere: tuple[Sequence[str], Sequence[str]]
) -> tuple[Sequence[str | None], Sequence[str | None]]:
    accounts: Sequence[str | None] = everywhere[0] if entry.account is None else (entry.account,)
    regions: Sequence[str | None] = everywhere[1] if entry.region is None else (entry.region,)
    if not regions:
        message = f"The entry of mayfly_networks for {_words(entry)} names no Region."
        raise PlacementError("NoRegion", message, "Set regions in the inventory file, or region in the entry.")
    return accounts, regions


def _words(entry: Network) -> str:
    given = entry.model_dump(exclude_none=True, exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in given.items())


def _host(offered: _Offered, *, shared: bool) -> WorkerNetwork:
    picture, site = offered.picture, offered.sites[0]
    name = site.subnet.tags.get("Name") or site.vpc.id
    host = f"{_NOT_IN_NAMES.sub('-', name)}_{site.subnet.id}"
    return WorkerNetwork(
        host=f"{host}_{picture.account}" if shared else host,
        resource={
            "account": picture.account,
            "region": picture.region,
            "kind": "subnet",
            "id": site.subnet.id,
            "name": name,
        },
        networks=_unique(_narrowed(picture, each) for each in offered.sites),
    )


def _unique(entries: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    listed: list[dict[str, Any]] = []
    for each in entries:
        if each not in listed:
            listed.append(each)
    return tuple(listed)


def _narrowed(picture: Picture, site: Site) -> dict[str, Any]:
    """An entry for the one subnet, with ids in place of names and tags."""
    return {
        "account": picture.account,
        "region": picture.region,
        "vpc_id": site.vpc.id,
        "subnet_ids": [site.subnet.id],
        **({"availability_zone": site.zone} if site.zone else {}),
        **({"security_group_ids": [each.id for each in site.groups]} if site.groups else {}),
        **({"public_address": True} if site.public_address else {}),
        **({} if site.preflight else {"preflight": False}),
    }
