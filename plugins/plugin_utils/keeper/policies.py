# SPDX-License-Identifier: GPL-3.0-or-later
"""Session policies of workers: one resource, one prefix, the snapshots of one operation. Pure."""

from __future__ import annotations

from typing import Any


def partition_of(arn: str | None) -> str:
    """aws, aws-cn or aws-us-gov, from any ARN."""
    return arn.split(":")[1] if arn else "aws"


def repository_policy(partition: str, bucket: str, prefix: str, resource_path: str, *, write: bool) -> dict[str, Any]:
    """Read, and for a backup write, below the prefix of one resource; nothing can be deleted."""
    base = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    objects = f"arn:{partition}:s3:::{bucket}/{base}"
    actions = ["s3:GetObject", *(["s3:PutObject"] if write else [])]
    listed = {"StringLike": {"s3:prefix": [f"{base}{resource_path}/*"]}}
    through_s3 = {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}}
    return _policy(
        _allow(["s3:GetObject"], [f"{objects}repository.json"]),
        _allow(actions, [f"{objects}{resource_path}/*"]),
        _allow(["s3:ListBucket"], [f"arn:{partition}:s3:::{bucket}"], listed),
        _allow(["kms:Decrypt", "kms:GenerateDataKey"], ["*"], through_s3),
    )


def read_policy(partition: str, region: str, snapshot_ids: list[str], key_arns: list[str]) -> dict[str, Any]:
    """Read the blocks of these snapshots."""
    snapshots = [f"arn:{partition}:ec2:{region}::snapshot/{each}" for each in snapshot_ids]
    actions = ["ebs:ListSnapshotBlocks", "ebs:ListChangedBlocks", "ebs:GetSnapshotBlock"]
    return _policy(_allow(actions, snapshots), *([_allow(["kms:Decrypt"], key_arns)] if key_arns else []))


def write_policy(partition: str, region: str, run: str) -> dict[str, Any]:
    """Make snapshots that carry the run's tag, and write blocks into such."""
    snapshots = [f"arn:{partition}:ec2:{region}::snapshot/*"]
    asked = {"StringEquals": {"aws:RequestTag/mayfly:run": run}}
    made = {"StringEquals": {"aws:ResourceTag/mayfly:run": run}}
    keys = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com*"}}
    return _policy(
        _allow(["ebs:StartSnapshot"], snapshots, asked),
        _allow(["ebs:PutSnapshotBlock", "ebs:CompleteSnapshot"], snapshots, made),
        _allow(["ec2:CreateTags"], snapshots, asked),
        _allow(["kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey", "kms:Decrypt"], ["*"], keys),
    )


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(actions: list[str], resources: list[str], condition: dict[str, Any] | None = None) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": actions, "Resource": resources}
    return {**statement, "Condition": condition} if condition else statement
