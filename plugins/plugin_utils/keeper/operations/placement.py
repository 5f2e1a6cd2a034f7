# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host's worker goes: the picture and the image from AWS, the decision from ``placement.py``."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from ... import placement
from ...picture import Picture
from .. import launch
from ..context import Context
from ..images import Image
from . import operation


@operation("placement.plan")
def plan(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{candidates, reasons, image}: the candidates in the order they are tried in, and why."""
    launch.check_tags("mayfly_worker_tags", arguments.get("tags") or {})
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
        image, placed = _placed(context, (account, region), arguments["image"], picture, request)
    context.report.set(placement=[asdict(reason) for reason in placed.reasons], image=image.as_dict())
    return {
        "candidates": [asdict(each) for each in placed.candidates],
        "reasons": [asdict(reason) for reason in placed.reasons],
        "image": image.as_dict(),
        "control_node_cidr": arguments.get("control_node_cidr"),
    }


def _placed(
    context: Context, place: tuple[str, str], setting: dict[str, Any], picture: Picture, request: placement.Request
) -> tuple[Image, placement.Placement]:
    """The image and the placement. An image by id decides the architecture; by name, the first type's one does."""
    ec2 = context.ec2(*place)
    if setting.get("id"):
        image = context.run.images.resolve(ec2, place, setting)
    else:
        first = placement.place(picture, request).candidates[0].architecture
        image = context.run.images.resolve(ec2, place, setting, first)
    return image, placement.place(picture, replace(request, architectures=frozenset({image.architecture})))


def _zone_id(context: Context, target: dict[str, Any] | None) -> str | None:
    """The id of the zone that is nearest to the work: names differ between accounts, ids do not."""
    if target is not None:
        return target.get("availability_zone_id")
    instance = context.state.instance
    return instance["availability_zone_id"] if instance else None
