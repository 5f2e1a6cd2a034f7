# SPDX-License-Identifier: GPL-3.0-or-later
"""Session policies of workers: one resource, one prefix, the snapshots of one operation. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import permissions

# A session policy of AssumeRole (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html).
MAXIMUM_CHARACTERS = 2048
# Resources lie in folders of their accounts, 12 digits: neither repository.json nor keys/ is there.
_ANY_ACCOUNT = "?" * 12


def partition_of(arn: str | None) -> str:
    """aws, aws-cn or aws-us-gov, from any ARN."""
    return arn.split(":")[1] if arn else "aws"


def repository_policy(
    partition: str, bucket: str, prefix: str, resource_path: str, *, write: bool, lock: bool = False
) -> dict[str, Any]:
    """Read, and for a backup write and lock, below the prefix of one resource; nothing can be deleted or unlocked."""
    base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    objects = f"arn:{partition}:s3:::{bucket}/{base}"
    actions = [*permissions.READ_OBJECTS, *(permissions.WRITE_OBJECTS if write else ())]
    actions += permissions.LOCK_OBJECTS if lock else ()
    listed = {"StringLike": {"s3:prefix": [f"{base}{resource_path}/*"]}}
    through_s3 = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}
    return _policy(
        _allow(permissions.READ_OBJECTS, [f"{objects}repository.json"]),
        _allow(actions, [f"{objects}{resource_path}/*"]),
        _allow(permissions.LIST_OBJECTS, [f"arn:{partition}:s3:::{bucket}"], listed),
        _allow(permissions.USE_REPOSITORY_KEY, ["*"], through_s3),
    )


def retention_policy(partition: str, bucket: str, prefix: str) -> dict[str, Any]:
    """Read, write and delete what lies in the folders of resources, which are named by accounts; no key of them all."""
    actions = [*permissions.READ_OBJECTS, *permissions.WRITE_OBJECTS, *permissions.DELETE_OBJECTS]
    return _resources_policy(partition, bucket, prefix, actions)


def copy_policy(partition: str, bucket: str, prefix: str, *, write: bool, lock: bool = False) -> dict[str, Any]:
    """Read, and in the repository that is copied to write and lock, what lies in the folders of resources."""
    actions = [*permissions.READ_OBJECTS, *(permissions.WRITE_OBJECTS if write else ())]
    actions += permissions.LOCK_OBJECTS if lock else ()
    return _resources_policy(partition, bucket, prefix, actions)


def _resources_policy(partition: str, bucket: str, prefix: str, actions: Sequence[str]) -> dict[str, Any]:
    base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    objects = f"arn:{partition}:s3:::{bucket}/{base}"
    listed = {"StringLike": {"s3:prefix": [f"{base}{_ANY_ACCOUNT}/*"]}}
    through_s3 = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}
    return _policy(
        _allow(permissions.READ_OBJECTS, [f"{objects}repository.json"]),
        _allow(actions, [f"{objects}{_ANY_ACCOUNT}/*"]),
        # Archives are nobody's to sweep.
        {**_allow(permissions.DELETE_OBJECTS, [f"{objects}{_ANY_ACCOUNT}/*/*/*/archives/*"]), "Effect": "Deny"},
        _allow(permissions.LIST_OBJECTS, [f"arn:{partition}:s3:::{bucket}"], listed),
        _allow(permissions.USE_REPOSITORY_KEY, ["*"], through_s3),
    )


# Folders of resources that the marks of a health check are written to, an archive, and what is brought back from one.
MARKED = ("marks/damaged",)
ARCHIVED = ("archives",)
BROUGHT_BACK = ("packs", "trees", "points", "attempts", "marks/keep")


def folders_policy(
    partition: str, bucket: str, prefix: str, folders: Sequence[str], *, lock: bool = False
) -> dict[str, Any]:
    """Read what lies in the folders of resources, and write and lock in these of each; nothing can be deleted."""
    base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    objects = f"arn:{partition}:s3:::{bucket}/{base}"
    listed = {"StringLike": {"s3:prefix": [f"{base}{_ANY_ACCOUNT}/*"]}}
    through_s3 = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}
    written = [f"{objects}{_ANY_ACCOUNT}/*/*/*/{folder}/*" for folder in folders]
    return _policy(
        _allow(permissions.READ_OBJECTS, [f"{objects}repository.json", f"{objects}{_ANY_ACCOUNT}/*"]),
        _allow([*permissions.WRITE_OBJECTS, *(permissions.LOCK_OBJECTS if lock else ())], written),
        _allow(permissions.LIST_OBJECTS, [f"arn:{partition}:s3:::{bucket}"], listed),
        _allow(permissions.USE_REPOSITORY_KEY, ["*"], through_s3),
    )


@dataclass(frozen=True)
class Snapshots:
    """Some of a Region: by their ids, and by tags that all of them carry and no others."""

    ids: Sequence[str]
    tags: Mapping[str, str]


def read_policy(
    partition: str, region: str, taken: Snapshots, references: Snapshots, key_arns: Sequence[str]
) -> dict[str, Any]:
    """Read the blocks of the snapshots that were ``taken``, and what has changed in them since the ``references``.

    ListChangedBlocks needs the right on both. Of more than a policy can name, the tags stand for the ids.
    """
    keys = [_allow(["kms:Decrypt"], list(key_arns))] if key_arns else []
    rights: list[tuple[Sequence[str], Snapshots]] = [(permissions.READ_BLOCKS, taken)]
    if references.ids:
        rights.append((permissions.COMPARE_BLOCKS, references))
    each = [_allow(actions, [_snapshot(partition, region, name) for name in of.ids]) for actions, of in rights]
    named = _policy(*each, *keys)
    if len(text_of(named)) <= MAXIMUM_CHARACTERS:
        return named
    every = [_snapshot(partition, region, "*")]
    return _policy(*(_allow(actions, every, _tagged(of.tags)) for actions, of in rights), *keys)


def write_policy(partition: str, region: str, run: str) -> dict[str, Any]:
    """Make snapshots that carry the run's tag, encrypted ones too, and write blocks into such."""
    snapshots = [_snapshot(partition, region, "*")]
    asked = {"StringEquals": {"aws:RequestTag/mayfly:run": run}}
    made = {"StringEquals": {"aws:ResourceTag/mayfly:run": run}}
    keys = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com*"}}
    return _policy(
        _allow(permissions.START_SNAPSHOT, snapshots, asked),
        _allow(permissions.WRITE_BLOCKS, snapshots, made),
        _allow(["ec2:CreateTags"], snapshots, asked),
        _allow(permissions.USE_VOLUME_KEY, ["*"], keys),
    )


def check_policy(partition: str, region: str) -> dict[str, Any]:
    """Ask the EBS direct APIs for the blocks of a snapshot that there is not."""
    return _policy(_allow(permissions.ASK_FOR_NO_SNAPSHOT, [_snapshot(partition, region, permissions.NO_SNAPSHOT)]))


def text_of(policy: dict[str, Any]) -> str:
    """A policy as AssumeRole takes it."""
    return json.dumps(policy, separators=(",", ":"))


def _snapshot(partition: str, region: str, snapshot_id: str) -> str:
    return f"arn:{partition}:ec2:{region}::snapshot/{snapshot_id}"


def _tagged(tags: Mapping[str, str]) -> dict[str, Any]:
    return {"StringEquals": {f"aws:ResourceTag/{key}": value for key, value in sorted(tags.items())}}


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(actions: Sequence[str], resources: list[str], condition: dict[str, Any] | None = None) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": list(actions), "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement
