# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshots of all volumes of one instance: described, taken at once, waited for, kept or deleted."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .. import aws, references, shares, things
from ..context import Context, tag_list
from ..errors import KeeperError
from ..instances import describe_instance
from ..things import Thing
from . import operation

# While an application is frozen: short, and still longer than AWS's throttling of a burst.
_CREATE_SECONDS = 90.0
_LOOK_SECONDS = 30.0
_POLL_SECONDS = 2.0
_DELETE_SECONDS = 60.0
_TIMEOUT = "mayfly_snapshot_timeout"


@operation("snapshot_set.describe")
def describe(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{instance, volumes, size_bytes, site}: what a backup records, unless something forbids one."""
    found = describe_instance(context, arguments["resource"])
    context.state.instance, context.state.volumes = found["instance"], found["volumes"]
    return found


@operation("snapshot_set.create")
def create(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{volumes}, with a snapshot_id for each: all taken at the same moment. The instance was described before."""
    resource, state = arguments["resource"], context.state
    account, region = resource["account"], resource["region"]
    if not state.volumes:
        describe(context, arguments)
    context.report.begin("Snapshotting")
    made = _create(context, resource, str(arguments.get("description") or ""), len(state.volumes))
    for snapshot in made.values():
        context.run.temporaries.add(account, region, snapshot, "snapshot")
    state.snapshots = made
    described = {each["volume_id"] for each in state.volumes}
    if described != set(made):
        changed = ", ".join(sorted(described ^ set(made)))
        message = f"{context.host}: {changed} was attached or detached while its snapshots were taken."
        raise KeeperError("VolumesChanged", message, "Start the operation again for this resource.")
    state.volumes = [{**each, "snapshot_id": made[each["volume_id"]]} for each in state.volumes]
    return {"changed": True, "volumes": state.volumes}


@operation("snapshot_set.wait")
def wait(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """Wait until all are completed, which is when their blocks can be read; raises KeeperError after ``timeout``."""
    resource = arguments["resource"]
    place = (resource["account"], resource["region"])
    ids = context.state.snapshots.values()
    if not ids:
        raise KeeperError("NoSnapshotSet", f"No snapshots of {context.host} have been taken in this run.")
    context.run.watching.wait(context.host, place, "snapshot", ids, float(arguments["timeout"]), setting=_TIMEOUT)
    context.report.end("Snapshotting")
    return {"changed": False}


@operation("snapshot_set.release")
def release(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """With ``keep`` (a restore point's id), the set stays as the next backup's reference and all before go.

    Those before go last, and stay when anything fails until then: no backup is left without one for nothing.
    """
    state = context.state
    if not state.snapshots:
        return {"changed": False}
    keep, resource = arguments.get("keep"), arguments["resource"]
    account, region = resource["account"], resource["region"]
    ec2 = context.ec2(account, region)
    if state.shared:
        _take_back(context, ec2, resource)
    ids = sorted(state.snapshots.values())
    doomed = ids
    if keep:
        doomed = sorted({each["SnapshotId"] for each in references.find(context, resource)} - set(ids))
        digest = str((state.status.get("result") or {}).get("manifest_sha256") or "")
        reference = references.tags(keep, state.repository, digest)
        aws.of_young(lambda: ec2.create_tags(Resources=ids, Tags=tag_list(reference)))
        context.run.temporaries.hand_over(ec2, ids)
    state.snapshots = {}
    failed = things.remove_all(
        context.run.clients,
        [context.run.temporaries.get(each) or Thing("snapshot", each, account, region) for each in doomed],
        time.monotonic() + _DELETE_SECONDS,
    )
    for thing, error in failed.items():
        if error is None:
            context.run.temporaries.forget(thing.id)
        elif not keep:  # still tagged as temporary: the run's end tries again
            raise error
        else:
            context.report.warning(error)
    return {"changed": True, "kept": bool(keep)}


def _take_back(context: Context, ec2: Any, resource: dict[str, Any]) -> None:
    """End the shares that this run has made of the resource's snapshots; raises KeeperError when one stays."""
    tags = {"mayfly:run": context.run.id, "mayfly:resource": str(resource["id"])}
    found = things.find(ec2, (str(resource["account"]), str(resource["region"])), tags, [shares.KIND])
    for error in things.remove_all(context.run.clients, found, time.monotonic() + _DELETE_SECONDS).values():
        if error is not None:
            raise error
    context.state.shared = False


def _create(context: Context, resource: dict[str, Any], description: str, volumes: int) -> dict[str, str]:
    """{volume: snapshot}. CreateSnapshots has no client token: after a lost answer, what it made is looked for."""
    ec2 = context.making(resource["account"], resource["region"])

    def ask() -> list[dict[str, Any]]:
        context.run.check_open()
        try:
            answer = ec2.create_snapshots(
                InstanceSpecification={"InstanceId": resource["id"]},
                Description=description,
                TagSpecifications=[{"ResourceType": "snapshot", "Tags": tag_list(context.tags())}],
            )
            return list(answer["Snapshots"])
        except (BotoCoreError, ClientError) as error:
            made = _made(context, ec2, resource, volumes) if aws.is_doubtful(error) else []
            if not made:
                raise
            return made

    made = aws.retrying(ask, seconds=_CREATE_SECONDS, again=aws.is_passing, pause=context.run.pause)
    return {each["VolumeId"]: each["SnapshotId"] for each in made}


def _made(context: Context, ec2: Any, resource: dict[str, Any], volumes: int) -> list[dict[str, Any]]:
    """What a call without an answer has made, once it is whole: none when nothing is seen for a while."""
    ends = time.monotonic() + _LOOK_SECONDS
    filters = aws.tag_filters({"mayfly:run": context.run.id, "mayfly:resource": resource["id"]})
    while True:
        found = list(aws.pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters))
        if len(found) >= volumes or (found and time.monotonic() > ends):
            return found
        if time.monotonic() > ends:
            return []
        time.sleep(_POLL_SECONDS)
