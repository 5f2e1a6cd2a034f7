# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host's worker goes: the picture and the image from AWS, the decision from ``placement.py``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ... import placement
from ..context import Context
from ..errors import KeeperError
from . import operation


@operation("placement.plan")
def plan(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{candidates, reasons, image}: the candidates in the order they are tried in, and why."""
    with context.report.stage("Placing"):
        target = arguments.get("target") or None
        region = str((target or arguments["resource"])["region"])
        account = context.account(arguments["worker_account"]).id
        networks = tuple(placement.Network.from_setting(each) for each in arguments["networks"])
        types = arguments["instance_types"]
        profile = placement.profile_of(arguments["operation"], arguments["size_gib"])
        wanted = placement.wanted_types(types, region, profile)
        picture = context.run.pictures.picture(account, region, wanted)
        request = placement.Request(
            operation=arguments["operation"],
            size_gib=arguments["size_gib"],
            repository_region=arguments["repository_region"],
            zone=_zone_id(context, target),
            networks=networks,
            instance_types=types,
            control_node_cidr=arguments.get("control_node_cidr"),
        )
        placed = placement.place(picture, request)
        ec2 = context.ec2(account, region)
        place, setting = (account, region), arguments["image"]
        architecture = placed.candidates[0].architecture
        image = context.run.images.resolve(ec2, place, setting, architecture)
        candidates = [each for each in placed.candidates if each.architecture == image.architecture]
    context.report.set(placement=[asdict(reason) for reason in placed.reasons])
    return {
        "candidates": [asdict(each) for each in candidates],
        "reasons": [asdict(reason) for reason in placed.reasons],
        "image": image.as_dict(),
    }


def _zone_id(context: Context, target: dict[str, Any] | None) -> str | None:
    """The id of the zone that is nearest to the work: names differ between accounts, ids do not."""
    if target is None:
        instance = context.run.recall(context.host, "instance")
        return instance["availability_zone_id"] if instance else None
    picture = context.run.pictures.picture(str(target["account"]), str(target["region"]))
    zone = target.get("availability_zone") or ""
    zone_id = picture.zone_id(zone)
    if zone and zone_id is None:
        known = ", ".join(each.name for each in picture.zones)
        message = f"{context.host} cannot be restored to {zone}: {target['region']} has no such Availability Zone."
        raise KeeperError(
            "UnknownAvailabilityZone", message, f"Set mayfly_restore_availability_zone to one of {known}."
        )
    return zone_id
