# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of what each role may do. The templates in ``iam/`` and ``docs/permissions.md`` are made from it.

Rights to make something ask for this deployment's tags on the request, rights to change or delete for the same tags on
what is there. Resources and conditions are as CloudFormation's Fn::Sub takes them: ``${Deployment}``, ``${Bucket}`` and
``${RepositoryKey}`` are parameters of the templates. What begins with ``${aws:`` is a variable of IAM's own.
"""

from __future__ import annotations

from .restore_rights import PUT_BACK, RESTORES
from .rights import (
    BACKUP_ACCOUNT,
    DEPLOYMENT,
    PRODUCTION_ACCOUNT,
    TEMPORARY,
    WORKER_DEPLOYMENT,
    Condition,
    Right,
    Role,
    where,
)
from .session_manager import REACH_WORKERS, SESSION_MANAGER

READ_BLOCKS = ("ebs:ListSnapshotBlocks", "ebs:ListChangedBlocks", "ebs:GetSnapshotBlock")
COMPARE_BLOCKS = ("ebs:ListChangedBlocks",)
# A check of networks tries the EBS direct APIs without a snapshot. Ids end in 17 random digits: this is no snapshot's.
NO_SNAPSHOT = f"snap-{0:017x}"
ASK_FOR_NO_SNAPSHOT = ("ebs:ListSnapshotBlocks",)
START_SNAPSHOT = ("ebs:StartSnapshot",)
WRITE_BLOCKS = ("ebs:PutSnapshotBlock", "ebs:CompleteSnapshot")
READ_OBJECTS = ("s3:GetObject",)
WRITE_OBJECTS = ("s3:PutObject",)
# With what says why an object cannot be deleted: the lock of one of its versions.
DELETE_OBJECTS = (
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetObjectLegalHold",
    "s3:GetObjectRetention",
    "s3:GetObjectVersion",
)
# Locks are made and made longer, and read to see whether they are long enough; none is ever lifted.
LOCK_OBJECTS = ("s3:PutObjectRetention", "s3:GetObjectRetention")
LIST_OBJECTS = ("s3:ListBucket", "s3:ListBucketVersions")
USE_REPOSITORY_KEY = ("kms:Decrypt", "kms:GenerateDataKey")
# Of the key of an encrypted snapshot (https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-permissions.html).
USE_VOLUME_KEY = (
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey*",
    "kms:ReEncrypt*",
)

REFERENCE = "mayfly:reference"
WORKER_IMAGE = "mayfly:worker-image"
_OURS = {f"aws:ResourceTag/{DEPLOYMENT}": "${Deployment}"}
_MADE: Condition = {"StringEquals": _OURS}
_MADE_TEMPORARY: Condition = {"StringEquals": {**_OURS, f"aws:ResourceTag/{TEMPORARY}": "true"}}
_ASKED: Condition = {
    "StringEquals": {f"aws:RequestTag/{DEPLOYMENT}": "${Deployment}", f"aws:RequestTag/{TEMPORARY}": "true"}
}
_THROUGH_EC2: Condition = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com*"}}


def _ec2(*kinds: str) -> tuple[str, ...]:
    """ARNs of EC2's resources in the template's own account; snapshots and images have no account in theirs."""
    return tuple(
        f"arn:${{AWS::Partition}}:ec2:*:{'' if kind in ('snapshot', 'image') else '${AWS::AccountId}'}:{kind}/*"
        for kind in kinds
    )


_LAUNCHED = ("instance", "volume", "network-interface", "spot-instances-request")
_OBJECTS = ("arn:${AWS::Partition}:s3:::${Bucket}/${Prefix}*",)
_BUCKET = ("arn:${AWS::Partition}:s3:::${Bucket}",)
_BACKUPS = ("ec2_backup",)
_MADE_POINTS = (*_BACKUPS, "archive", "repository_copy")
_LOCKS = (*_MADE_POINTS, "retention")
_RESTORES = ("ec2_restore", "volume_restore")
_IMAGES = ("worker_image",)

_LOOK = Right(
    "Describe networks, types and their prices, images, instances and what a run has made",
    (
        "ec2:DescribeAvailabilityZones",
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeImages",
        "ec2:DescribeInstances",
        "ec2:DescribeInstanceTypeOfferings",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeInternetGateways",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeRegions",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSnapshots",
        "ec2:DescribeSpotInstanceRequests",
        "ec2:DescribeSpotPriceHistory",
        "ec2:DescribeSubnets",
        "ec2:DescribeVolumes",
        "ec2:DescribeVpcAttribute",
        "ec2:DescribeVpcEndpoints",
        "ec2:DescribeVpcs",
        "pricing:GetProducts",
        "servicequotas:GetServiceQuota",
    ),
)
_LAUNCH = (
    Right("Launch workers, with this deployment's tags alone", ("ec2:RunInstances",), _ec2(*_LAUNCHED), _ASKED),
    Right(
        "Launch them from images, into subnets and groups that are there",
        ("ec2:RunInstances",),
        _ec2("image", "subnet", "security-group"),
    ),
    Right("Let EC2 encrypt a worker's root volume", USE_VOLUME_KEY, condition=_THROUGH_EC2),
    Right("Make the run's security group", ("ec2:CreateSecurityGroup",), _ec2("security-group"), _ASKED),
    Right("Make it in a VPC", ("ec2:CreateSecurityGroup",), _ec2("vpc")),
    Right(
        "Open it to the control node and to HTTPS",
        (
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:AuthorizeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupEgress",
        ),
        _ec2("security-group"),
        _MADE_TEMPORARY,
    ),
)
_TAG = (
    Right(
        "Tag what is made while it is made",
        ("ec2:CreateTags",),
        _ec2(*_LAUNCHED, "security-group", "snapshot", "image"),
        {
            "StringEquals": {
                "ec2:CreateAction": [
                    "RunInstances",
                    "CreateSecurityGroup",
                    "CreateSnapshots",
                    "CreateVolume",
                    "CreateImage",
                    "CopyImage",
                ],
            }
        },
    ),
    Right(
        "Write the lease's end, and hand over what the user keeps",
        ("ec2:CreateTags", "ec2:DeleteTags"),
        _ec2(*_LAUNCHED, "security-group", "snapshot", "image"),
        {**_MADE_TEMPORARY, "ForAllValues:StringLike": {"aws:TagKeys": ["mayfly:*"]}},
    ),
)
_END_WORKERS = Right(
    "End workers, and lift their protection when somebody has set it",
    ("ec2:TerminateInstances", "ec2:ModifyInstanceAttribute"),
    _ec2("instance"),
    _MADE_TEMPORARY,
)
_DELETE = (
    Right(
        "Delete what a run has made",
        (
            "ec2:DeleteVolume",
            "ec2:DeleteSnapshot",
            "ec2:DeleteNetworkInterface",
            "ec2:DeleteSecurityGroup",
            "ec2:DeregisterImage",
        ),
        _ec2("volume", "snapshot", "network-interface", "security-group", "image"),
        _MADE_TEMPORARY,
    ),
)
_UNSHARE = (
    Right(
        "Take back what a run has shared",
        ("ec2:ModifySnapshotAttribute",),
        _ec2("snapshot"),
        {**_MADE, "Null": {"ec2:Add/group": "true", "ec2:Add/userId": "true"}},
    ),
    Right(
        "And no longer call it shared",
        ("ec2:DeleteTags",),
        _ec2("snapshot"),
        {**_MADE, "ForAllValues:StringLike": {"aws:TagKeys": ["mayfly:shared-*"]}},
    ),
)
_REPOSITORY = (
    # Under a condition on the prefix, S3 would answer 403 for an object that is not there.
    Right("Find restore points, and what is not there", LIST_OBJECTS, _BUCKET),
    Right(
        "See what the bucket keeps: locks and versions",
        ("s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning"),
        _BUCKET,
    ),
    Right("Read and write the repository", (*READ_OBJECTS, *WRITE_OBJECTS, "s3:DeleteObject"), _OBJECTS),
    Right(
        "Leave no version of what the store is tried with",
        ("s3:DeleteObjectVersion",),
        ("arn:${AWS::Partition}:s3:::${Bucket}/${Prefix}*checks/*",),
    ),
    Right(
        "Leave no version of what tests the repository",
        ("s3:DeleteObjectVersion",),
        ("arn:${AWS::Partition}:s3:::${Bucket}/${Prefix}checks/*",),
    ),
    Right("Lock what opens the repository, where that is configured", LOCK_OBJECTS, _OBJECTS, {}, _LOCKS),
    Right(
        "Wrap and open the repository's key",
        ("kms:DescribeKey", "kms:Encrypt", *USE_REPOSITORY_KEY),
        ("${RepositoryKey}",),
    ),
)
_ARCHIVES = Right("Retrieve archived restore points", ("s3:RestoreObject",), _OBJECTS, operations=("archive",))
_SETS = Right(
    "Delete archived sets that are given up, and nothing else",
    DELETE_OBJECTS,
    # account, Region, kind and id
    ("arn:${AWS::Partition}:s3:::${Bucket}/${Prefix}*/*/*/*/archives/*",),
    operations=("archive_sets",),
)
_SESSIONS = Right(
    "Give workers sessions of the role that is theirs",
    ("sts:AssumeRole",),
    ("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/${WorkerRoleName}",),
)
_SNAPSHOTS = (
    Right("Take snapshots of protected instances", ("ec2:CreateSnapshots",), _ec2("instance", "volume"), {}, _BACKUPS),
    Right("With this deployment's tags alone", ("ec2:CreateSnapshots",), _ec2("snapshot"), _ASKED, _BACKUPS),
    Right("Keep a snapshot as the next backup's reference", ("ec2:CreateTags",), _ec2("snapshot"), _MADE, _BACKUPS),
    Right(
        "Delete the reference before",
        ("ec2:DeleteSnapshot",),
        _ec2("snapshot"),
        {**_MADE, "Null": {f"aws:ResourceTag/{REFERENCE}": "false"}},
        _BACKUPS,
    ),
    Right("See whether the volumes' keys can be used", ("kms:DescribeKey",), ("*",), {}, _BACKUPS),
    Right(
        "Share snapshots with the worker's account, where mayfly_snapshot_access is share; never with everybody",
        ("ec2:ModifySnapshotAttribute",),
        _ec2("snapshot"),
        {**_MADE, "Null": {"ec2:Add/group": "true"}},
        _BACKUPS,
    ),
)
_VOLUMES = (
    Right(
        "Make restored volumes, with this deployment's tags", ("ec2:CreateVolume",), _ec2("volume"), _ASKED, _RESTORES
    ),
    Right("From snapshots of this deployment", ("ec2:CreateVolume",), _ec2("snapshot"), _MADE, _RESTORES),
)
_BAKING = (
    Right("Make images of workers", ("ec2:CreateImage",), _ec2("instance"), _MADE_TEMPORARY, _IMAGES),
    Right(
        "With this deployment's tags alone, and copies in other Regions",
        ("ec2:CreateImage", "ec2:CopyImage"),
        _ec2("image", "snapshot"),
        _ASKED,
        _IMAGES,
    ),
    Right(
        "Remove images that were baked before, when that is asked",
        ("ec2:DeregisterImage", "ec2:DeleteSnapshot"),
        _ec2("image", "snapshot"),
        {**_MADE, "Null": {f"aws:ResourceTag/{WORKER_IMAGE}": "false"}},
        _IMAGES,
    ),
)
_UPLOADS = (
    Right("Find unfinished uploads", ("s3:ListBucketMultipartUploads",), _BUCKET),
    Right("End unfinished uploads", ("s3:AbortMultipartUpload",), _OBJECTS),
)

RUN = Role(
    name="mayfly",
    purpose="what a run does in an account: place, launch and end workers; snapshots and volumes; the repository",
    setting="mayfly_accounts.NAME.role_arn",
    assumed_by="the control node",
    rights=(
        _LOOK,
        *_TAG,
        *_DELETE,
        _SESSIONS,
        *where(WORKER_DEPLOYMENT, *_LAUNCH, _END_WORKERS, *_BAKING, *REACH_WORKERS),
        *where(PRODUCTION_ACCOUNT, *_SNAPSHOTS, *_UNSHARE, *_VOLUMES),
        # Uploads are of a run that was killed, which the runner reaps itself.
        *where(BACKUP_ACCOUNT, *_REPOSITORY, _ARCHIVES, _SETS, *_UPLOADS),
    ),
    more=RESTORES,
)
WORKER = Role(
    name="mayfly-worker",
    purpose="the most that a worker's session can have; each is narrowed to one resource and one run",
    setting="mayfly_accounts.NAME.worker_role_arn",
    assumed_by="the role of runs in the same account",
    rights=(
        Right("Use the keys of encrypted volumes", USE_VOLUME_KEY, condition=_THROUGH_EC2),
        Right(
            "Read blocks of what other accounts share with this one, whose tags are theirs alone",
            READ_BLOCKS,
            _ec2("snapshot"),
            {"Null": {f"aws:ResourceTag/{DEPLOYMENT}": "true"}},
            _BACKUPS,
            parameter="SharedSnapshots",
        ),
        *where(
            WORKER_DEPLOYMENT,
            Right(
                "Try the EBS direct APIs with a snapshot that there is not",
                ASK_FOR_NO_SNAPSHOT,
                (f"arn:${{AWS::Partition}}:ec2:*::snapshot/{NO_SNAPSHOT}",),
                operations=("worker_check",),
            ),
        ),
        *where(
            PRODUCTION_ACCOUNT,
            Right(
                "Read blocks of this deployment's snapshots, and what has changed since those that were kept",
                READ_BLOCKS,
                _ec2("snapshot"),
                _MADE,
                _BACKUPS,
            ),
            Right("Start snapshots with this deployment's tags", START_SNAPSHOT, _ec2("snapshot"), _ASKED, _RESTORES),
            Right("Write blocks into them", WRITE_BLOCKS, _ec2("snapshot"), _MADE_TEMPORARY, _RESTORES),
            Right("Tag them while they are started", ("ec2:CreateTags",), _ec2("snapshot"), _ASKED, _RESTORES),
        ),
        *where(
            BACKUP_ACCOUNT,
            Right(
                "Find what is in the repository", LIST_OBJECTS, _BUCKET, {"StringLike": {"s3:prefix": ["${Prefix}*"]}}
            ),
            Right("Read and write the repository", (*READ_OBJECTS, *WRITE_OBJECTS), _OBJECTS),
            Right("Lock restore points, where that is configured", LOCK_OBJECTS, _OBJECTS, {}, _MADE_POINTS),
            Right(
                "Delete what retention has found unneeded, of resources alone",
                DELETE_OBJECTS,
                # account, Region, kind, id, and a folder there; repository.json and keys/ do not lie so deep
                ("arn:${AWS::Partition}:s3:::${Bucket}/${Prefix}*/*/*/*/*/*",),
                operations=("retention",),
            ),
            Right(
                "Use the bucket's key through S3",
                USE_REPOSITORY_KEY,
                ("${RepositoryKey}",),
                {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}},
            ),
        ),
    ),
)
REAPER = Role(
    name="mayfly-reaper",
    purpose="the playbook reap alone: find what bears this deployment's tags, and remove it",
    setting="mayfly_accounts.NAME.role_arn of the inventory that reap is run with",
    assumed_by="the control node, or whatever runs the schedule",
    rights=(
        Right(
            "Find what bears this deployment's tags",
            (
                "ec2:DescribeImages",
                "ec2:DescribeInstances",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeRegions",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSnapshots",
                "ec2:DescribeVolumes",
            ),
            operations=("reap",),
        ),
        _END_WORKERS,
        *_DELETE,
        *_UNSHARE,
        *where(BACKUP_ACCOUNT, *_UPLOADS),
    ),
    more=PUT_BACK,
)
INVENTORY = Role(
    name="mayfly-inventory",
    purpose="inventories: list instances, and the restore points of a repository",
    setting="the inventory files of inventories/aws",
    assumed_by="the control node",
    rights=(
        Right("List instances to protect", ("ec2:DescribeInstances", "ec2:DescribeRegions")),
        *where(
            BACKUP_ACCOUNT,
            Right("Find restore points", LIST_OBJECTS, _BUCKET),
            Right("Read restore points", READ_OBJECTS, _OBJECTS),
            Right("Open the repository's key", ("kms:Decrypt",), ("${RepositoryKey}",)),
        ),
    ),
)
ROLES = (RUN, WORKER, REAPER, INVENTORY, SESSION_MANAGER)
