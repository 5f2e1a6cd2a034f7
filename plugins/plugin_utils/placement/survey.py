# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a network for workers without one: each subnet's faults, and the types of all who would use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .picture import Picture
from .place import NETWORK_REMEDY, Request, judged, services
from .types import fault_of_type


@dataclass(frozen=True)
class Check:
    """A row as the transfer agent's own are: of a subnet its network, of a profile its types. It takes no time."""

    service: str
    check: str
    ok: bool
    reason: str
    remedy: str = ""
    seconds: float = 0.0


def survey(picture: Picture, request: Request) -> list[Check]:
    """A row for each fault of a subnet, or for one without any, and for each of the request's ``profiles``.

    Raises PlacementError for networks that are not there.
    """
    faults: dict[str, dict[str, None]] = {}
    free: dict[str, int] = {}
    zones: dict[str, None] = {}
    for site, found in judged(picture, request):
        zones[site.subnet.zone_id] = None
        if not found:
            free[site.subnet.id] = site.subnet.free_addresses
        faults.setdefault(site.subnet.id, {}).update(dict.fromkeys(found))
    ways = ", ".join(each.name for each in services(picture.region, request))
    rows: list[Check] = []
    for subnet, known in faults.items():
        if subnet in free:
            rows.append(Check(subnet, "network", True, f"{free[subnet]} free addresses, and ways to {ways}"))
        else:
            rows += [Check(subnet, "network", False, f"{fault}.", NETWORK_REMEDY) for fault in known]
    return [*rows, *_of_profiles(picture, request, tuple(zones))]


def _of_profiles(picture: Picture, request: Request, zones: tuple[str, ...]) -> Iterator[Check]:
    """Of the types of a profile, one that can be launched in any of the zones is enough."""
    for profile in request.profiles:
        usable, faults = [], []
        for name in request.instance_types.of(picture.region, profile):
            fault = fault_of_type(picture, name, request.images, request.markets)
            if not fault and not any(zone in picture.instance_types[name].zone_ids for zone in zones):
                fault = f"not offered in zone {', '.join(zones)}"
            if fault:
                faults.append(f"{name}: {fault}")
            else:
                usable.append(name)
        said = "; ".join([", ".join(usable), *faults]) if usable else f"{'; '.join(faults)}."
        remedy = f"Name other types for {profile} in mayfly_instance_types, or have the quota raised."
        yield Check(profile, "types", bool(usable), said, "" if usable else remedy)
