# SPDX-License-Identifier: GPL-3.0-or-later
"""Reference snapshots: of each volume and repository one is kept, for EBS to say what has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..permissions import REFERENCE
from ..rights import DEPLOYMENT
from . import aws
from .context import Context

MANIFEST = "mayfly:manifest"
REPOSITORY = "mayfly:repository"


def tags(point: str, repository: str, manifest_sha256: str) -> dict[str, str]:
    """What makes a snapshot the reference of a restore point, in the repository of that id."""
    return {REFERENCE: point, REPOSITORY: repository, MANIFEST: manifest_sha256}


def find(context: Context, resource: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The references of a resource in the repository that its transfer goes to, as EC2 describes them."""
    wanted = {
        DEPLOYMENT: context.settings.deployment,
        "mayfly:resource": str(resource["id"]),
        REPOSITORY: context.state.repository,
    }
    filters = [*aws.tag_filters(wanted), {"Name": "tag-key", "Values": [REFERENCE]}]
    ec2 = context.ec2(resource["account"], resource["region"])
    return list(aws.pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters))


def newest(found: list[dict[str, Any]]) -> tuple[str, str] | None:
    """(id, digest of its manifest) of the newest restore point that they are the references of, None for none. Pure."""
    tagged = [{tag["Key"]: tag["Value"] for tag in each.get("Tags", ())} for each in found]
    points = {each[REFERENCE]: each[MANIFEST] for each in tagged if each.get(REFERENCE) and each.get(MANIFEST)}
    return max(points.items(), default=None)


def of_point(found: list[dict[str, Any]], point: str) -> dict[str, str]:
    """{volume: snapshot} of those that are the references of this restore point. Pure."""
    tag = {"Key": REFERENCE, "Value": point}
    return {each["VolumeId"]: each["SnapshotId"] for each in found if tag in each.get("Tags", ())}
