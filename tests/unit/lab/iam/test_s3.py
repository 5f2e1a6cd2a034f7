# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to S3, and what each of them must be allowed to do."""

from __future__ import annotations

import pytest
from mayfly_lab.iam import s3
from mayfly_lab.iam.s3 import Asked, Bucket, Object

from tests.unit.lab.iam.world import ACCOUNT, KEY, KEYS, PLACE, shown

BUCKET = Bucket("data", ACCOUNT, "{}")
SEALED = Bucket("data", ACCOUNT, "{}", KEY)
HERE, THERE = "arn:aws:s3:::data", "arn:aws:s3:::data/a/k"
SSE = "x-amz-server-side-encryption"


def checks(call: str, *, bucket: Bucket = BUCKET, present: Object | None = None, **more):
    key = more.pop("key", "")
    return list(s3.checks(Asked(call, key, **more), bucket, present, PLACE, KEYS))


CALLS = [
    ("ListBuckets", {}, ["s3:ListAllMyBuckets *"]),
    ("CreateBucket", {}, [f"s3:CreateBucket {HERE}"]),
    ("HeadBucket", {}, [f"s3:ListBucket {HERE}"]),
    ("ListObjectsV2", {}, [f"s3:ListBucket {HERE}"]),
    ("ListObjectVersions", {}, [f"s3:ListBucketVersions {HERE}"]),
    ("ListMultipartUploads", {}, [f"s3:ListBucketMultipartUploads {HERE}"]),
    ("GetBucketLocation", {}, [f"s3:GetBucketLocation {HERE}"]),
    ("GetBucketVersioning", {}, [f"s3:GetBucketVersioning {HERE}"]),
    ("GetBucketEncryption", {}, [f"s3:GetEncryptionConfiguration {HERE}"]),
    ("PutBucketEncryption", {}, [f"s3:PutEncryptionConfiguration {HERE}"]),
    ("DeleteBucketEncryption", {}, [f"s3:PutEncryptionConfiguration {HERE}"]),
    ("GetObjectLockConfiguration", {}, [f"s3:GetBucketObjectLockConfiguration {HERE}"]),
    ("PutPublicAccessBlock", {}, [f"s3:PutBucketPublicAccessBlock {HERE}"]),
    ("PutBucketPolicy", {}, [f"s3:PutBucketPolicy {HERE}"]),
    ("DeleteBucketPolicy", {}, [f"s3:DeleteBucketPolicy {HERE}"]),
    ("DeleteBucket", {}, [f"s3:DeleteBucket {HERE}"]),
    ("GetObject", {"key": "a/k"}, [f"s3:GetObject {THERE}"]),
    ("GetObject", {"key": "a/k", "query": {"versionId": "1"}}, [f"s3:GetObjectVersion {THERE}"]),
    ("HeadObject", {"key": "a/k"}, [f"s3:GetObject {THERE}"]),
    ("GetObjectAttributes", {"key": "a/k"}, [f"s3:GetObject {THERE}", f"s3:GetObjectAttributes {THERE}"]),
    ("PutObject", {"key": "a/k"}, [f"s3:PutObject {THERE}"]),
    (
        "PutObject",
        {"key": "a/k", "headers": {"x-amz-tagging": "a=b", "x-amz-object-lock-mode": "GOVERNANCE"}},
        [f"s3:PutObject {THERE}", f"s3:PutObjectTagging {THERE}", f"s3:PutObjectRetention {THERE}"],
    ),
    ("DeleteObject", {"key": "a/k"}, [f"s3:DeleteObject {THERE}"]),
    ("DeleteObject", {"key": "a/k", "query": {"versionId": "1"}}, [f"s3:DeleteObjectVersion {THERE}"]),
    ("CreateMultipartUpload", {"key": "a/k"}, [f"s3:PutObject {THERE}"]),
    ("UploadPart", {"key": "a/k"}, [f"s3:PutObject {THERE}"]),
    ("CompleteMultipartUpload", {"key": "a/k"}, [f"s3:PutObject {THERE}"]),
    ("AbortMultipartUpload", {"key": "a/k"}, [f"s3:AbortMultipartUpload {THERE}"]),
    ("ListParts", {"key": "a/k"}, [f"s3:ListMultipartUploadParts {THERE}"]),
    ("PutObjectRetention", {"key": "a/k"}, [f"s3:PutObjectRetention {THERE}"]),
    (
        "PutObjectRetention",
        {"key": "a/k", "headers": {"x-amz-bypass-governance-retention": "True"}},
        [f"s3:PutObjectRetention {THERE}", f"s3:BypassGovernanceRetention {THERE}"],
    ),
    (
        "DeleteObject",
        {"key": "a/k", "headers": {"x-amz-bypass-governance-retention": "true"}},
        [f"s3:DeleteObject {THERE}", f"s3:BypassGovernanceRetention {THERE}"],
    ),
    ("RestoreObject", {"key": "a/k"}, [f"s3:RestoreObject {THERE}"]),
]


@pytest.mark.parametrize(("call", "more", "wanted"), CALLS)
def test_the_actions_of_a_call(call, more, wanted):
    assert [shown(check) for check in checks(call, **more)] == wanted


def test_the_conditions_of_a_list():
    (check,) = checks("ListObjectsV2", query={"prefix": "a/", "delimiter": "/", "list-type": "2"})
    assert (check.context["s3:prefix"], check.context["s3:delimiter"]) == ("a/", "/")
    assert (check.context["s3:ResourceAccount"], check.context["aws:ResourceAccount"]) == (ACCOUNT, ACCOUNT)
    assert check.resource_policy == "{}"
    assert "s3:prefix" not in checks("ListObjectsV2")[0].context


def test_the_conditions_of_an_object():
    headers = {"x-amz-storage-class": "GLACIER", "if-none-match": "*", "x-amz-tagging": "team=a"}
    check = checks("PutObject", key="a/k", headers=headers, present=Object({"old": "1"}))[0]
    assert check.context["s3:x-amz-storage-class"] == "GLACIER"
    assert check.context["s3:if-none-match"] == "*"
    assert check.context["s3:RequestObjectTag/team"] == "a"
    assert check.context["s3:ExistingObjectTag/old"] == "1"


@pytest.mark.parametrize(
    ("call", "bucket", "present", "headers", "wanted"),
    [
        ("PutObject", SEALED, None, {}, "GenerateDataKey"),
        ("PutObject", SEALED, None, {SSE: "AES256"}, None),
        ("PutObject", BUCKET, None, {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": KEY}, "GenerateDataKey"),
        ("PutObject", BUCKET, None, {SSE: "aws:kms"}, None),  # under aws/s3, which everybody may use
        ("CreateMultipartUpload", SEALED, None, {}, "GenerateDataKey"),
        ("UploadPart", BUCKET, Object(kms_key=KEY), {}, "Decrypt"),
        ("GetObject", BUCKET, Object(kms_key=KEY), {}, "Decrypt"),
        ("GetObject", SEALED, Object(), {}, None),
        ("HeadObject", BUCKET, Object(kms_key=KEY), {}, None),
        ("HeadObject", BUCKET, Object(kms_key=KEY), {"x-amz-checksum-mode": "ENABLED"}, "Decrypt"),
        ("DeleteObject", SEALED, Object(kms_key=KEY), {}, None),
    ],
)
def test_what_s3_does_with_a_key_for_its_caller(call, bucket, present, headers, wanted):
    found = checks(call, key="a/k", bucket=bucket, present=present, headers=headers)
    keys = [check for check in found if check.action.startswith("kms:")]
    assert [shown(check) for check in keys] == ([f"kms:{wanted} {KEY}"] if wanted else [])
    for check in keys:
        assert check.context["kms:ViaService"] == "s3.us-east-1.amazonaws.com"
        assert check.context["kms:EncryptionContext:aws:s3:arn"] == THERE


def test_a_copy_reads_its_source():
    found = list(s3.source("a/k", BUCKET, Object({"old": "1"}, KEY), PLACE, KEYS))
    assert [shown(check) for check in found] == [f"s3:GetObject {THERE}", f"kms:Decrypt {KEY}"]
    assert found[0].context["s3:ExistingObjectTag/old"] == "1"


def test_a_bucket_key_is_asked_for_the_bucket():
    bucket = Bucket("data", ACCOUNT, None, KEY, bucket_key=True)
    check = checks("PutObject", key="a/k", bucket=bucket)[1]
    assert check.context["kms:EncryptionContext:aws:s3:arn"] == HERE


def test_the_objects_of_a_deletion_are_decided_one_by_one():
    assert shown(s3.deletion("a/k", None, BUCKET)) == f"s3:DeleteObject {THERE}"
    assert shown(s3.deletion("a/k", "1", BUCKET)) == f"s3:DeleteObjectVersion {THERE}"


def test_that_an_object_is_missing_is_told_to_those_who_may_list():
    check = s3.seeing(BUCKET)
    assert shown(check) == f"s3:ListBucket {HERE}"
    assert "s3:prefix" not in check.context
