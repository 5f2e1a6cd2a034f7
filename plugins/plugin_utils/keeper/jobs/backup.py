# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup: the snapshots that this run has taken of the host's volumes, into the repository.

It goes on from the newest restore point of the resource that can be read, unless a full one is asked for.
"""

from __future__ import annotations

from datetime import UTC
from itertools import islice
from typing import Any

from ...permissions import REFERENCE
from .. import aws, references, shares
from ..context import Context
from ..errors import KeeperError
from ..policies import Snapshots, read_policy
from ..repositories import (
    AgentError,
    Manifest,
    ResourceName,
    open_repository,
    repository,
)
from .locks import locked
from .part import Part, Session, data_fields, partition, repository_session

# Restore points that are looked at before a backup is a full one: where so many are damaged, others are no parent.
_LOOKED_AT = 10
_DAMAGED = ("ObjectNotFound", "RestorePointDamaged", "RepositoryFormat")


def build(context: Context, arguments: dict[str, Any]) -> Part:
    """See jobs.BUILD; raises KeeperError NoSnapshotSet when the run has taken no snapshots."""
    fields, lock = data_fields(context, arguments), locked(context, arguments, arguments["repository"])
    resource, volumes = arguments["resource"], context.state.volumes
    if not volumes or "snapshot_id" not in volumes[0]:
        raise KeeperError("NoSnapshotSet", f"No snapshots of {context.host} have been taken in this run.")
    ec2 = context.ec2(resource["account"], resource["region"])
    ids = [each["snapshot_id"] for each in volumes]
    answer = aws.of_young(lambda: ec2.describe_snapshots(SnapshotIds=ids))
    taken = min(each["StartTime"] for each in answer["Snapshots"])
    found = references.find(context, resource)
    changed = _changed_point(context, arguments, found)
    parent = None if arguments.get("full") else _parent(context, arguments, changed)
    point = parent.id if parent else ""
    kept = references.of_point(found, point)
    context.report.set(parent=point or None)
    keys = sorted({key for each in volumes if (key := each["attributes"].get("kms_key_id"))})
    compared = [kept[each["volume_id"]] for each in volumes if each["volume_id"] in kept]
    account, tag = str(resource["account"]), {"mayfly:resource": str(resource["id"])}
    reader = _reader(context, arguments, account)
    policy = read_policy(
        partition(context, reader),
        resource["region"],
        Snapshots(ids, {"mayfly:run": context.run.id, **tag}),
        Snapshots(compared, {REFERENCE: point, **tag}),
        keys,
    )
    if reader != account:
        _share(context, resource, [*ids, *compared], reader, policy)
    return Part(
        fields={
            **fields,
            "source_region": resource["region"],
            "restore_point_time": taken.astimezone(UTC).isoformat(),
            "volumes": [{**each, "parent_snapshot_id": kept.get(each["volume_id"], "")} for each in volumes],
            "settings": context.state.instance,
            "parent": point,
            "lock": lock,
        },
        repository=repository_session(context, arguments, write=True, lock=lock is not None),
        source=Session(reader, policy),
    )


def _reader(context: Context, arguments: dict[str, Any], owner: str) -> str:
    """The account whose session reads the snapshots: their owner's, or the worker's that they are shared with."""
    if arguments.get("snapshot_access") != "share":
        return owner
    worker = context.run.workers.get(context.host)
    if worker is None:
        raise KeeperError("NoWorker", f"{context.host} has no worker that its snapshots could be shared with.")
    return worker.account


def _share(context: Context, resource: dict[str, Any], ids: list[str], reader: str, policy: dict[str, Any]) -> None:
    """Share the snapshots with the reader until the host's snapshot set is released.

    Raises KeeperError TooManySnapshots: their tags, which stand for many, are their owner's alone.
    """
    if any("Condition" in each for each in policy["Statement"]):
        message = f"{context.host}: the {len(ids)} snapshots to share are more than one session policy can name."
        raise KeeperError("TooManySnapshots", message, "Set mayfly_snapshot_access to session for this host.")
    ec2 = context.making(str(resource["account"]), str(resource["region"]))
    context.state.shared = True
    shares.share(ec2, ids, reader, context.run.id, context.tags()["mayfly:deadline"])


def _changed_point(context: Context, arguments: dict[str, Any], found: list[dict[str, Any]]) -> str:
    """The id of the point that the references are of when it is not as it was written, else "".

    The tags of the references lie outside of the bucket: whoever sets that back to an older state is seen by them.
    """
    told = references.newest(found)
    opened, name = open_repository(context, arguments["repository"]), ResourceName.from_dict(arguments["resource"])
    if told is None:
        return ""
    point, digest = told
    points = repository.list_points(opened.store, name)
    if point not in points:
        if (newest := max(points, default="")) < point:
            message = f"{context.host}: the repository has no restore point {point}, which was the newest one, but "
            message += f"{newest} for the newest. Unless somebody has removed it, the bucket was set back."
            context.report.warning(KeeperError("RepositorySetBack", message, "Compare the bucket with its versions."))
        return ""
    try:
        same = repository.first_digest(opened.store, points[point], opened.resource_key(name)) == digest
    except AgentError as error:  # whoever looks for a parent tells it
        if error.code not in _DAMAGED:
            raise
        return ""
    if same:
        return ""
    message = f"{context.host}: the restore point {point} is another one than was written: its digest is not {digest}."
    context.report.warning(KeeperError("RestorePointChanged", message, "Look who has the repository's key."))
    return point


def _parent(context: Context, arguments: dict[str, Any], changed: str) -> Manifest | None:
    """The newest restore point of the resource that can be read; one that is damaged is reported and passed over.

    So is the one that was ``changed``, which was reported already.
    """
    opened = open_repository(context, arguments["repository"])
    name = ResourceName.from_dict(arguments["resource"])
    points = repository.list_points(opened.store, name)
    for point in islice(sorted(points.keys() - {changed}, reverse=True), _LOOKED_AT):
        try:
            return repository.read_manifest(opened.store, points[point], opened.resource_key(name))
        except AgentError as error:
            if error.code not in _DAMAGED:
                raise
            message = f"{context.host}: the backup does not go on from {point}: {error.message}"
            context.report.warning(KeeperError(error.code, message))
    return None
