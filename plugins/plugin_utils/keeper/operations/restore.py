# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be restored, and the volumes that come of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from ..context import Context, tag_list
from ..errors import KeeperError
from ..repositories import Opened, ResourceName, open_repository, repository
from . import operation

_POLL_SECONDS = 2.0
_AVAILABLE_SECONDS = 1800.0
_DELETE_SECONDS = 60.0
# Attributes that CreateVolume takes as they were recorded; what AWS derives is left to it.
_IOPS_TYPES = ("io1", "io2", "gp3")


@operation("restore_point.info")
def info(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{restore_points}: all of a resource (or of all), or the one that restore_point names; newest first."""
    opened = open_repository(context, arguments["repository"])
    resource, wanted = arguments.get("resource"), arguments.get("restore_point")
    names = [ResourceName.from_dict(resource)] if resource else repository.list_resources(opened.store)
    found: list[dict[str, Any]] = []
    for name in names:
        points = repository.list_points(opened.store, name)
        chosen = [_choose(context, name, points, str(wanted))] if wanted else sorted(points, reverse=True)
        found += [_described(opened, name, points[point]) for point in chosen]
    return {"changed": False, "restore_points": found}


@operation("restored_volumes.create")
def create(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, volumes: {original: new}}: made from the transfer's snapshots, which are deleted then."""
    target, snapshots = arguments["target"], arguments["snapshots"]
    account, region = target["account"], target["region"]
    ec2 = context.ec2(account, region)
    with context.report.stage("Creating volumes"):
        ends = time.monotonic() + _AVAILABLE_SECONDS
        ids = sorted(snapshots.values())
        _await(
            context,
            "snapshots",
            lambda: _states(ec2.describe_snapshots(SnapshotIds=ids)["Snapshots"]),
            "completed",
            ends,
        )
        made: dict[str, str] = {}
        for volume in arguments["volumes"]:
            original = volume["volume_id"]
            tags = context.tags(user={**volume["attributes"].get("tags", {}), **(arguments.get("tags") or {})})
            answer = ec2.create_volume(
                **_attributes(volume),
                SnapshotId=snapshots[original],
                AvailabilityZone=target["availability_zone"],
                ClientToken=f"{context.run.id[:40]}-{original[-20:]}",
                TagSpecifications=[{"ResourceType": "volume", "Tags": tag_list(tags)}],
            )
            made[original] = answer["VolumeId"]
            context.run.temporaries.add(account, region, answer["VolumeId"], "volume")
        new = sorted(made.values())
        _await(context, "volumes", lambda: _states(ec2.describe_volumes(VolumeIds=new)["Volumes"]), "available", ends)
        ec2.delete_tags(Resources=new, Tags=[{"Key": "mayfly:temporary"}, {"Key": "mayfly:lease-ends"}])
        for volume_id in new:
            context.run.temporaries.forget(volume_id)
        for thing in context.run.temporaries.all():
            if thing.id in ids:
                context.run.temporaries.delete(thing, _DELETE_SECONDS)
    context.report.set(restored_volumes=made)
    return {"changed": True, "volumes": made}


def _choose(context: Context, name: ResourceName, points: dict[str, str], wanted: str) -> str:
    """The id that latest, an id or a time names; raises KeeperError RestorePointMissing."""
    if wanted in points:
        return wanted
    if wanted == "latest" and points:
        return max(points)
    try:
        moment = datetime.fromisoformat(wanted).astimezone(UTC)
    except ValueError:
        moment = None
    older = [each for each in points if moment and each.split("-")[0] <= f"{moment:%Y%m%dT%H%M%SZ}"]
    if older:
        return max(older)
    known = f"It has {', '.join(sorted(points)[-3:])}" if points else "It has none"
    message = f"{context.host} ({name.id}) has no restore point {wanted}. {known}."
    raise KeeperError("RestorePointMissing", message, "See mayfly_restore_point.")


def _described(opened: Opened, name: ResourceName, key: str) -> dict[str, Any]:
    manifest = repository.read_manifest(opened.store, key, opened.resource_key(name))
    value = manifest.to_dict()
    value["size_gib"] = sum(volume.size_gib for volume in manifest.volumes)
    return value


def _attributes(volume: dict[str, Any]) -> dict[str, Any]:
    recorded = volume["attributes"]
    taken: dict[str, Any] = {"VolumeType": recorded.get("type") or "gp3", "Size": volume["size_gib"]}
    if recorded.get("iops") and taken["VolumeType"] in _IOPS_TYPES:
        taken["Iops"] = recorded["iops"]
    if recorded.get("throughput") and taken["VolumeType"] == "gp3":
        taken["Throughput"] = recorded["throughput"]
    if recorded.get("encrypted"):
        taken["Encrypted"] = True
    return taken


def _states(things: list[dict[str, Any]]) -> list[str]:
    return [each["State"] for each in things]


def _await(context: Context, what: str, states: Any, wanted: str, ends: float) -> None:
    while True:
        found = states()
        if all(state == wanted for state in found):
            return
        if "error" in found or time.monotonic() > ends:
            raise KeeperError("RestoreFailed", f"{context.host}: the new {what} are {', '.join(found)}, not {wanted}.")
        time.sleep(_POLL_SECONDS)
