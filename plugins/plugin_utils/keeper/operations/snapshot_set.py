# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshots of all volumes of one instance: described, taken at once, waited for, kept or deleted."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ..context import Context, tag_list
from ..errors import KeeperError
from ..instances import describe_instance
from . import operation

_POLL_SECONDS = 2.0
_DELETE_SECONDS = 60.0
_REFERENCE = "mayfly:reference"


@operation("snapshot_set.describe")
def describe(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{instance, volumes, size_gib}: what a backup records, after everything that forbids one has been refused."""
    found = describe_instance(context, arguments["resource"])
    context.run.remember(context.host, "instance", found["instance"])
    context.run.remember(context.host, "volumes", found["volumes"])
    return found


@operation("snapshot_set.create")
def create(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """As describe, with a snapshot_id for each volume: all taken at the same moment."""
    found = describe(context, arguments)
    resource = arguments["resource"]
    context.report.begin("Snapshotting")
    context.run.temporaries.watch(resource["account"], resource["region"])
    made = _create(context, resource, str(arguments.get("description") or ""))
    for snapshot in made.values():
        context.run.temporaries.add(resource["account"], resource["region"], snapshot, "snapshot")
    missing = [each["volume_id"] for each in found["volumes"] if each["volume_id"] not in made]
    if missing:
        message = f"{context.host}: the snapshot set lacks {', '.join(missing)}."
        raise KeeperError("SnapshotMissing", message, "A volume was detached meanwhile; start the operation again.")
    found["volumes"] = [{**each, "snapshot_id": made[each["volume_id"]]} for each in found["volumes"]]
    context.run.remember(context.host, "volumes", found["volumes"])
    context.run.remember(context.host, "snapshots", made)
    return {"changed": True, **found}


@operation("snapshot_set.wait")
def wait(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """Wait until all are completed, which is when their blocks can be read; raises KeeperError after ``timeout``."""
    resource, ids = arguments["resource"], _ids(context)
    ends = time.monotonic() + float(arguments["timeout"])
    while True:
        answer = context.ec2(resource["account"], resource["region"]).describe_snapshots(SnapshotIds=ids)
        states = {each["SnapshotId"]: each["State"] for each in answer["Snapshots"]}
        failed = [each for each, state in states.items() if state == "error"]
        if failed:
            raise KeeperError("SnapshotFailed", f"{context.host}: AWS could not complete {', '.join(failed)}.")
        if all(state == "completed" for state in states.values()) and len(states) == len(ids):
            context.report.end("Snapshotting")
            return {"changed": False}
        if time.monotonic() > ends:
            message = f"{context.host}: {', '.join(ids)} were not completed in {arguments['timeout']} s."
            raise KeeperError("SnapshotTimeout", message, "See mayfly_snapshot_timeout.")
        time.sleep(_POLL_SECONDS)


@operation("snapshot_set.release")
def release(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """With ``keep`` (a restore point's id), the set stays as the next backup's reference and the one before goes."""
    snapshots = context.run.recall(context.host, "snapshots")
    if not snapshots:
        return {"changed": False}
    keep, resource = arguments.get("keep"), arguments["resource"]
    ec2 = context.ec2(resource["account"], resource["region"])
    ids = sorted(snapshots.values())
    if keep:
        older = _references(context, ec2, resource)
        ec2.create_tags(Resources=ids, Tags=tag_list({_REFERENCE: keep}))
        ec2.delete_tags(Resources=ids, Tags=[{"Key": "mayfly:temporary"}, {"Key": "mayfly:lease-ends"}])
        for snapshot in ids:
            context.run.temporaries.forget(snapshot)
        for snapshot in older:
            context.run.temporaries.add(resource["account"], resource["region"], snapshot, "snapshot")
        ids = older
    context.run.remember(context.host, "snapshots", {})
    for thing in context.run.temporaries.all():
        if thing.id in ids:
            context.run.temporaries.delete(thing, _DELETE_SECONDS)
    return {"changed": True, "kept": bool(keep)}


def _create(context: Context, resource: dict[str, Any], description: str) -> dict[str, str]:
    """{volume: snapshot}. CreateSnapshots has no client token: after a lost answer, what it made is looked for."""
    ec2 = context.ec2(resource["account"], resource["region"], once=True)
    try:
        answer = ec2.create_snapshots(
            InstanceSpecification={"InstanceId": resource["id"]},
            Description=description,
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": tag_list(context.tags())}],
        )
        made: list[dict[str, Any]] = answer["Snapshots"]
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and error.response["ResponseMetadata"].get("HTTPStatusCode", 0) < 500:
            raise
        time.sleep(_POLL_SECONDS)
        made = _tagged(ec2, {"mayfly:run": context.run.id, "mayfly:resource": resource["id"]})
        if not made:
            raise
    return {each["VolumeId"]: each["SnapshotId"] for each in made}


def _references(context: Context, ec2: Any, resource: dict[str, Any]) -> list[str]:
    tags = {"mayfly:deployment": context.settings.deployment, "mayfly:resource": resource["id"]}
    return sorted(each["SnapshotId"] for each in _tagged(ec2, tags, has=_REFERENCE))


def _tagged(ec2: Any, tags: dict[str, str], has: str | None = None) -> list[dict[str, Any]]:
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    if has:
        filters.append({"Name": "tag-key", "Values": [has]})
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], Filters=filters)
    return [each for page in pages for each in page["Snapshots"]]


def _ids(context: Context) -> list[str]:
    snapshots = context.run.recall(context.host, "snapshots")
    if not snapshots:
        raise KeeperError("NoSnapshotSet", f"No snapshots of {context.host} have been taken in this run.")
    return sorted(snapshots.values())
