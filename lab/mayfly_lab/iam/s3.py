# SPDX-License-Identifier: GPL-3.0-or-later
"""What requests to S3 must be allowed to do. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html tells the actions of each call,
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html their conditions. Objects under
KMS need their key: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from mayfly_lab.iam import kms
from mayfly_lab.iam.checks import Check, Context, Place

_OF_OBJECTS = {
    "AbortMultipartUpload": ("AbortMultipartUpload",),
    "CompleteMultipartUpload": ("PutObject",),
    "CopyObject": ("PutObject",),
    "CreateMultipartUpload": ("PutObject",),
    "GetObjectAttributes": ("GetObject", "GetObjectAttributes"),
    "HeadObject": ("GetObject",),
    "ListParts": ("ListMultipartUploadParts",),
    "UploadPart": ("PutObject",),
    "UploadPartCopy": ("PutObject",),
}
_OF_BUCKETS = {
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "ListBuckets": "ListAllMyBuckets",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
}
_VERSIONED = ("GetObject", "GetObjectAttributes", "GetObjectTagging", "DeleteObject", "DeleteObjectTagging")
_WITH_QUERY = {"prefix": "s3:prefix", "delimiter": "s3:delimiter", "max-keys": "s3:max-keys"}
_WITH_HEADERS = {
    "if-match": "s3:if-match",
    "if-none-match": "s3:if-none-match",
    "x-amz-object-lock-mode": "s3:object-lock-mode",
    "x-amz-object-lock-retain-until-date": "s3:object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold": "s3:object-lock-legal-hold",
}
# Headers that need another action beside s3:PutObject.
_MORE = {
    "x-amz-tagging": "PutObjectTagging",
    "x-amz-acl": "PutObjectAcl",
    "x-amz-object-lock-mode": "PutObjectRetention",
    "x-amz-object-lock-legal-hold": "PutObjectLegalHold",
}
_BYPASSING = ("DeleteObject", "PutObjectRetention")
_STARTS = ("PutObject", "CopyObject", "CreateMultipartUpload")  # calls whose headers say how an object is kept


@dataclass(frozen=True)
class Bucket:
    """A bucket with its owner's account (12 digits) and its own policy; ``kms_key`` encrypts what says nothing else."""

    name: str
    owner: str
    policy: str | None = None
    kms_key: str | None = None
    bucket_key: bool = False

    def arn(self, key: str = "") -> str:
        """The ARN of the bucket, or of an object in it."""
        return f"arn:aws:s3:::{self.name}" + (f"/{key}" if key else "")


@dataclass(frozen=True)
class Asked:
    """One request: the call's name (as ``PutObject``), the object, query parameters, headers in lower case."""

    call: str
    key: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Object:
    """An object that is there already: its tags, and the KMS key that encrypts it."""

    tags: Mapping[str, str] = field(default_factory=dict)
    kms_key: str | None = None


def checks(asked: Asked, bucket: Bucket, present: Object | None, place: Place, keys: kms.Keys) -> Iterator[Check]:
    """What a request must be allowed to do; ``present`` is the object that it reads or replaces, where there is one.

    DeleteObjects is `deletion` of each key.
    """
    if asked.call == "ListBuckets":
        yield Check("s3:ListAllMyBuckets", "*", place.account)
        return
    if asked.call == "CreateBucket":
        yield Check("s3:CreateBucket", bucket.arn(), place.account, {"s3:locationconstraint": place.region})
        return
    context = _context(asked, bucket)
    if not asked.key:
        name = _OF_BUCKETS.get(asked.call) or _written(asked.call)
        yield Check(f"s3:{name}", bucket.arn(), bucket.owner, context, bucket.policy)
        return
    tags = {f"s3:ExistingObjectTag/{key}": value for key, value in (present.tags if present else {}).items()}
    for name in _OF_OBJECTS.get(asked.call, (asked.call,)):
        versioned = "Version" if "versionId" in asked.query and name in _VERSIONED else ""
        action = name.replace("Object", f"Object{versioned}", 1)
        yield Check(f"s3:{action}", bucket.arn(asked.key), bucket.owner, {**context, **tags}, bucket.policy)
    if asked.call in _BYPASSING and bypasses(asked):
        yield bypass(asked.key, bucket)
    if asked.call in _STARTS:
        for header, action in _MORE.items():
            if header in asked.headers:
                yield Check(f"s3:{action}", bucket.arn(asked.key), bucket.owner, context, bucket.policy)
    yield from _key_checks(asked, bucket, present, place, keys)


def source(key: str, bucket: Bucket, present: Object | None, place: Place, keys: kms.Keys) -> Iterator[Check]:
    """What a copy must be allowed to do with the object it copies."""
    yield from checks(Asked("GetObject", key), bucket, present, place, keys)


def deletion(key: str, version: str | None, bucket: Bucket) -> Check:
    """What the deletion of one of many objects must be allowed to do."""
    action = "s3:DeleteObjectVersion" if version else "s3:DeleteObject"
    return Check(action, bucket.arn(key), bucket.owner, _context(Asked("DeleteObjects"), bucket), bucket.policy)


def bypasses(asked: Asked) -> bool:
    """Whether a request asks to lift locks of mode governance."""
    return asked.headers.get("x-amz-bypass-governance-retention", "").lower() == "true"


def bypass(key: str, bucket: Bucket) -> Check:
    """What one who asks for that must be allowed to do beside the rest."""
    context = _context(Asked("DeleteObjects"), bucket)
    return Check("s3:BypassGovernanceRetention", bucket.arn(key), bucket.owner, context, bucket.policy)


def seeing(bucket: Bucket) -> Check:
    """What makes S3 say that an object is not there, instead of 403.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html: without s3:ListBucket the answer is 403. No
    prefix is asked for, so a permission under a condition on s3:prefix does not count.
    """
    return Check("s3:ListBucket", bucket.arn(), bucket.owner, _context(Asked("HeadBucket"), bucket), bucket.policy)


def _written(call: str) -> str:
    """The action of a call that changes a bucket's settings (and of those that are called alike)."""
    verb = "Put" if call.startswith(("Put", "Delete")) and call != "DeleteBucket" else ""
    if not verb or call in ("DeleteBucketPolicy",):
        return call
    rest = call.removeprefix("Put").removeprefix("Delete")
    return _OF_BUCKETS.get(f"Get{rest}", f"Get{rest}").replace("Get", "Put", 1)


def _context(asked: Asked, bucket: Bucket) -> Context:
    found: Context = {"s3:ResourceAccount": bucket.owner, "aws:ResourceAccount": bucket.owner}
    found |= {"s3:authType": "REST-HEADER", "s3:signatureversion": "AWS4-HMAC-SHA256", "s3:TlsVersion": "1.3"}
    found |= {key: asked.query[name] for name, key in _WITH_QUERY.items() if name in asked.query}
    found |= {key: asked.headers[name] for name, key in _WITH_HEADERS.items() if name in asked.headers}
    found |= {f"s3:{name}": value for name, value in asked.headers.items() if name.startswith("x-amz-")}
    tags = dict(parse_qsl(asked.headers.get("x-amz-tagging", "")))
    if tags:
        found |= {"s3:RequestObjectTagKeys": list(tags)}
        found |= {f"s3:RequestObjectTag/{key}": value for key, value in tags.items()}
    return found


def _key_checks(asked: Asked, bucket: Bucket, present: Object | None, place: Place, keys: kms.Keys) -> Iterator[Check]:
    """What S3 does with a KMS key for whoever writes or reads an object."""
    if asked.call in _STARTS:
        wanted = asked.headers.get("x-amz-server-side-encryption")
        named = asked.headers.get("x-amz-server-side-encryption-aws-kms-key-id")
        key = named or bucket.kms_key if wanted in (None, "aws:kms") else None
        actions: tuple[str, ...] = ("GenerateDataKey",)
    elif asked.call == "GetObject" or (asked.call == "HeadObject" and "x-amz-checksum-mode" in asked.headers):
        key, actions = present.kms_key if present else None, ("Decrypt",)
    elif asked.call in ("UploadPart", "UploadPartCopy", "CompleteMultipartUpload"):
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
        key, actions = present.kms_key if present else bucket.kms_key, ("Decrypt",)
    else:
        return
    if key:
        encryption = {"aws:s3:arn": bucket.arn() if bucket.bucket_key else bucket.arn(asked.key)}
        yield from kms.for_service("s3", actions, key, place, keys, encryption=encryption)
