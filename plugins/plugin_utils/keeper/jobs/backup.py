# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup: the snapshots that this run has taken of the host's volumes, into the repository."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from .. import aws
from ..context import Context
from ..errors import KeeperError
from ..policies import read_policy
from .part import Part, Session, data_fields, partition, repository_session


def build(context: Context, arguments: dict[str, Any]) -> Part:
    """See jobs.BUILD; raises KeeperError NoSnapshotSet when the run has taken no snapshots."""
    fields = data_fields(context, arguments)
    resource, volumes = arguments["resource"], context.state.volumes
    if not volumes or "snapshot_id" not in volumes[0]:
        raise KeeperError("NoSnapshotSet", f"No snapshots of {context.host} have been taken in this run.")
    ec2 = context.ec2(resource["account"], resource["region"])
    ids = [each["snapshot_id"] for each in volumes]
    answer = aws.of_young(lambda: ec2.describe_snapshots(SnapshotIds=ids))
    taken = min(each["StartTime"] for each in answer["Snapshots"])
    keys = sorted({key for each in volumes if (key := each["attributes"].get("kms_key_id"))})
    account, tags = str(resource["account"]), {"mayfly:run": context.run.id, "mayfly:resource": str(resource["id"])}
    return Part(
        fields={
            **fields,
            "source_region": resource["region"],
            "restore_point_time": taken.astimezone(UTC).isoformat(),
            "volumes": volumes,
            "settings": context.state.instance,
        },
        repository=repository_session(context, arguments, write=True),
        source=Session(account, read_policy(partition(context, account), resource["region"], ids, keys, tags)),
    )
