# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be restored, and the volumes that come of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ...operations import GIB
from ...settings.model import read
from ...settings.tags import OwnTags
from .. import aws, things
from ..context import Context, tag_list
from ..errors import KeeperError
from ..repositories import AgentError, Manifest, Opened, ResourceName, TreeReader, open_repository, repository
from ..things import Thing
from . import operation

# Of one volume, AWS's limit for any resource.
_TAGS = 50
_TIMEOUT = "mayfly_restore_timeout"
_DELETE_SECONDS = 60.0
# Attributes that CreateVolume takes as they were recorded; what AWS derives is left to it.
_IOPS_TYPES = ("io1", "io2", "gp3")


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
    """{changed, volumes: {original: new}}: made from the transfer's snapshots, which are deleted then."""
    target, snapshots = arguments["target"], arguments["snapshots"]
    place = (str(target["account"]), str(target["region"]))
    ec2 = context.making(*place)
    timeout = float(arguments["timeout"])
    ends = time.monotonic() + timeout
    with context.report.stage("Creating volumes"):
        context.run.watching.wait(context.host, place, "snapshot", snapshots.values(), timeout, setting=_TIMEOUT)
        made: dict[str, str] = {}
        for volume in arguments["restore_point"]["volumes"]:
            original = volume["volume_id"]
            request = _request(context, volume, snapshots[original], target, arguments.get("tags") or {})
            context.run.check_open()
            # With its client token, it may be asked as often as it takes.
            answer = aws.retrying(
                partial(ec2.create_volume, **request),
                seconds=aws.YOUNG_SECONDS,
                again=lambda error: aws.is_passing(error) or aws.is_gone(error),
                pause=context.run.pause,
            )
            made[original] = answer["VolumeId"]
            context.run.temporaries.add(*place, answer["VolumeId"], "volume")
        left = max(1.0, ends - time.monotonic())
        context.run.watching.wait(context.host, place, "volume", made.values(), left, setting=_TIMEOUT)
        context.run.temporaries.hand_over(context.ec2(*place), made.values())
        _delete_snapshots(context, place, snapshots.values())
    context.report.set(restored_volumes=made)
    return {"changed": True, "volumes": made}


@operation("restored_volumes.check")
def check(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{target, site}: the target with its zone, and where the worker belongs.

    All that would fail when the data has been moved already is refused here.

    Raises KeeperError BadTags and UnknownAvailabilityZone.
    """
    target, point = dict(arguments["target"]), arguments["restore_point"]
    tags: dict[str, str] = read(OwnTags, "mayfly_restore_tags", arguments.get("tags"))
    for volume in point["volumes"]:
        count = len({**volume["attributes"].get("tags", {}), **tags, **context.tags()})
        if count > _TAGS:
            message = f"{context.host}: {volume['volume_id']} would have {count} tags, AWS allows {_TAGS}."
            raise KeeperError("BadTags", message, "Give fewer tags in mayfly_restore_tags.")
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
    return {"changed": False, "target": {**target, **zone}, "site": site}


def _request(
    context: Context, volume: dict[str, Any], snapshot: str, target: dict[str, Any], own: dict[str, str]
) -> dict[str, Any]:
    """CreateVolume for a volume of the restore point."""
    tags = context.tags(user={**volume["attributes"].get("tags", {}), **own})
    unique = hashlib.sha256(f"{context.run.id} {volume['volume_id']}".encode()).hexdigest()
    return {
        **_attributes(volume),
        "SnapshotId": snapshot,
        "AvailabilityZone": target["availability_zone"],
        "ClientToken": unique,
        "TagSpecifications": [{"ResourceType": "volume", "Tags": tag_list(tags)}],
    }


def _delete_snapshots(context: Context, place: tuple[str, str], ids: Iterable[str]) -> None:
    """They have served; what cannot be deleted now, the run's end deletes."""
    doomed = [context.run.temporaries.get(each) or Thing("snapshot", each, *place) for each in ids]
    for thing, error in things.remove_all(context.run.clients, doomed, time.monotonic() + _DELETE_SECONDS).items():
        if error is None:
            context.run.temporaries.forget(thing.id)


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


def _attributes(volume: dict[str, Any]) -> dict[str, Any]:
    """Type and speed as recorded. Encryption is the snapshot's own, which was written with the right key."""
    recorded = volume["attributes"]
    taken: dict[str, Any] = {"VolumeType": recorded.get("type") or "gp3", "Size": volume["size_gib"]}
    if recorded.get("iops") and taken["VolumeType"] in _IOPS_TYPES:
        taken["Iops"] = recorded["iops"]
    if recorded.get("throughput") and taken["VolumeType"] == "gp3":
        taken["Throughput"] = recorded["throughput"]
    return taken
