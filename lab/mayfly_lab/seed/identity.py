# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles in both accounts, and the bucket that is the repository."""

from __future__ import annotations

import json
from typing import Any

from mayfly_lab import accounts

ROLES = {
    "deployment": "mayfly-worker-deployment",
    "worker": "mayfly-worker-session",
    "reaper": "mayfly-reaper",
    "inventory": "mayfly-inventory",
}
_ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def ensure_roles(iam: Any, account: str) -> dict[str, str]:
    """{deployment, worker, reaper, inventory}: ARNs of the roles, which both accounts may assume."""
    principals = sorted({account, accounts.BACKUP})
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": principals}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arns = {}
    for purpose, name in ROLES.items():
        try:
            arns[purpose] = iam.get_role(RoleName=name)["Role"]["Arn"]
        except iam.exceptions.NoSuchEntityException:
            arns[purpose] = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
            iam.put_role_policy(RoleName=name, PolicyName="lab", PolicyDocument=json.dumps(_ANYTHING))
    return arns


def ensure_key(kms: Any, alias: str) -> str:
    """ARN of the key of that alias."""
    try:
        arn: str = kms.describe_key(KeyId=alias)["KeyMetadata"]["Arn"]
    except kms.exceptions.NotFoundException:
        arn = kms.create_key(Description="wraps the repository's key")["KeyMetadata"]["Arn"]
        kms.create_alias(AliasName=alias, TargetKeyId=arn)
    return arn


def ensure_bucket(s3: Any, name: str, key_arn: str) -> None:
    """An encrypted bucket that nobody else can read."""
    if name in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        return
    s3.create_bucket(Bucket=name)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key_arn}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(closed, True))
