# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be restored, and the volumes that come of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ...operations import GIB
from .. import attach
from ..context import Context
from ..errors import KeeperError
from ..repositories import AgentError, Manifest, Opened, ResourceName, TreeReader, open_repository, repository
from ..restored import check_tags, delete_snapshots, make_volumes, own_tags, place_of
from . import operation


@operation("restore_point.info")
def info(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{restore_points}: all of a resource (or of all), or the one that restore_point names; newest first.

    The one that is named is looked into; raises KeeperError RestorePointMissing and RestorePointDamaged.
    """
    opened = open_repository(context, arguments["repository"])
    resource, wanted = arguments.get("resource"), arguments.get("restore_point")
    names = [ResourceName.from_dict(resource)] if resource else repository.list_resources(opened.store)
    found: list[dict[str, Any]] = []
    for name in names:
        points = repository.list_points(opened.store, name)
        chosen = [_choose(context, name, points, str(wanted))] if wanted else sorted(points, reverse=True)
        for point in chosen:
            manifest = repository.read_manifest(opened.store, points[point], opened.resource_key(name))
            if wanted:
                _look_into(context, opened, name, point, manifest)
            found.append(_described(manifest))
    return {"changed": False, "restore_points": found}


@operation("restored_volumes.create")
def create(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, volumes: {original: new}}: made from the transfer's snapshots, which are deleted then.

    As ``plan`` says, they stand alone, are attached to an instance, or take the place of what is attached there.
    """
    place = place_of(arguments["target"])
    timeout = float(arguments["timeout"])
    ends = time.monotonic() + timeout
    with context.report.stage("Creating volumes"):
        made = make_volumes(context, arguments, ends)
        plan = arguments.get("plan") or {}
        result = attach.done(context, place, plan, made, arguments)
        delete_snapshots(context, place, arguments["snapshots"].values())
    context.report.set(restored_volumes=made)
    return {"changed": True, "volumes": made, **result}


@operation("restored_volumes.check")
def check(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{target, site, restore_point, plan}: the target with its zone, and where the worker belongs.

    ``restore_point`` has those of its volumes alone that are wanted, ``plan`` says what becomes of them. All that would
    fail when the data has been moved already is refused here.

    Raises KeeperError BadTags, VolumeMissing, UnknownAvailabilityZone and what attach.plan does.
    """
    target = dict(arguments["target"])
    point = chosen(context, arguments["restore_point"], arguments.get("volumes") or ())
    tags = own_tags(arguments)
    for volume in point["volumes"]:
        check_tags(context, volume["volume_id"], volume["attributes"].get("tags", {}), tags)
    plan = attach.plan(context, arguments, point)
    if plan:
        target["availability_zone"] = plan["availability_zone"]
    settled = settle(context, target, point)
    return {"changed": False, **settled, "restore_point": point, "plan": plan}


def settle(context: Context, target: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """{target, site}: the target with its zone; raises KeeperError UnknownAvailabilityZone."""
    picture = context.run.pictures.picture(str(target["account"]), str(target["region"]))
    recorded = point["settings"].get("availability_zone_id") if target["region"] == point["resource"]["region"] else ""
    wanted = target.get("availability_zone") or recorded or ""
    zone_id = picture.zone_id(wanted)
    if zone_id is None:
        known = ", ".join(each.name for each in picture.zones)
        where = f"{target['region']} has no Availability Zone {wanted}" if wanted else "no Availability Zone is named"
        message = f"{context.host} cannot be restored to account {target['account']}: {where}."
        raise KeeperError(
            "UnknownAvailabilityZone", message, f"Set mayfly_restore_availability_zone to one of {known}."
        )
    zone = {"availability_zone": picture.zone_name(zone_id), "availability_zone_id": zone_id}
    site = {"account": target["account"], "region": target["region"], "zone_ids": [zone_id]}
    wanted_volumes = [each["volume_id"] for each in point["volumes"]]
    return {"target": {**target, **zone, "volumes": wanted_volumes}, "site": site}


def chosen(context: Context, point: dict[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """The restore point with those of its volumes alone that ``wanted`` names by id or device; all, if it names none.

    Raises KeeperError VolumeMissing.
    """
    names = set(wanted)
    volumes = [each for each in point["volumes"] if not names or {each["volume_id"], each["device"]} & names]
    missing = names - {each[part] for each in volumes for part in ("volume_id", "device")}
    if missing:
        has = ", ".join(f"{each['volume_id']} ({each['device']})" for each in point["volumes"])
        message = f"{context.host}: the restore point {point['id']} has no volume {', '.join(sorted(missing))}."
        raise KeeperError("VolumeMissing", message, f"Name some of {has} in mayfly_restore_volumes.")
    return {**point, "volumes": volumes, "size_bytes": sum(each["size_gib"] for each in volumes) * GIB}


def _choose(context: Context, name: ResourceName, points: dict[str, str], wanted: str) -> str:
    """The id that latest, an id or a time names; raises KeeperError RestorePointMissing."""
    if wanted in points:
        return wanted
    if wanted == "latest" and points:
        return max(points)
    try:
        moment = datetime.fromisoformat(wanted)
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except ValueError:
        moment = None
    older = [each for each in points if moment and each.split("-")[0] <= f"{moment:%Y%m%dT%H%M%SZ}"]
    if older:
        return max(older)
    known = f"It has {', '.join(sorted(points)[-3:])}" if points else "It has none"
    message = f"{context.host} ({name.id}) has no restore point {wanted}. {known}."
    raise KeeperError("RestorePointMissing", message, "See mayfly_restore_point.")


def _look_into(context: Context, opened: Opened, name: ResourceName, point: str, manifest: Manifest) -> None:
    """Read each volume's tree down to its first block; what lies deeper is found by the transfer."""
    key = opened.resource_key(name)
    for volume in manifest.volumes:
        try:
            next(TreeReader(manifest.place(volume), key, volume.tree(), opened.store).entries(), None)
        except AgentError as error:
            message = (
                f"{context.host}: the restore point {point} is damaged, volume {volume.volume_id}: {error.message}"
            )
            raise KeeperError("RestorePointDamaged", message, "Take another one: mayfly_restore_point.") from error


def _described(manifest: Manifest) -> dict[str, Any]:
    value = manifest.to_dict()
    value["size_bytes"] = sum(volume.size_gib for volume in manifest.volumes) * GIB
    return value
