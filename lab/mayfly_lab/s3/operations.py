# SPDX-License-Identifier: GPL-3.0-or-later
"""Which call of S3's API a request is. Pure."""

from __future__ import annotations

from collections.abc import Mapping

_VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "DELETE": "Delete"}
_OF_A_BUCKET = {
    "versioning": "BucketVersioning",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "encryption": "BucketEncryption",
    "lifecycle": "BucketLifecycleConfiguration",
    "object-lock": "ObjectLockConfiguration",
    "publicAccessBlock": "PublicAccessBlock",
    "ownershipControls": "BucketOwnershipControls",
    "tagging": "BucketTagging",
    "acl": "BucketAcl",
    "cors": "BucketCors",
    "location": "BucketLocation",
    "logging": "BucketLogging",
    "notification": "BucketNotificationConfiguration",
    "replication": "BucketReplication",
    "website": "BucketWebsite",
}
_LISTS = {"versions": "ListObjectVersions", "uploads": "ListMultipartUploads", "delete": "DeleteObjects"}
_OF_AN_OBJECT = {
    "acl": "ObjectAcl",
    "tagging": "ObjectTagging",
    "retention": "ObjectRetention",
    "legal-hold": "ObjectLegalHold",
    "attributes": "ObjectAttributes",
}
_OF_AN_UPLOAD = {
    "PUT": "UploadPart",
    "POST": "CompleteMultipartUpload",
    "DELETE": "AbortMultipartUpload",
    "GET": "ListParts",
}


def name(method: str, query: Mapping[str, str], headers: Mapping[str, str], *, bucket: bool, key: bool) -> str:
    """The call, as ``PutObject``; ``bucket`` and ``key``: whether the request names one. Header names in lower case."""
    if not bucket:
        return "ListBuckets"
    copies = "x-amz-copy-source" in headers
    if key:
        if "uploadId" in query:
            return _OF_AN_UPLOAD.get(method, "?") + ("Copy" if copies else "")
        if method == "POST":
            return "CreateMultipartUpload" if "uploads" in query else "RestoreObject"
        part = next((word for parameter, word in _OF_AN_OBJECT.items() if parameter in query), None)
        if part:
            return _VERBS.get(method, "?") + part
        return {"PUT": "CopyObject" if copies else "PutObject", "HEAD": "HeadObject"}.get(
            method, _VERBS.get(method, "?") + "Object"
        )
    for parameter, call in _LISTS.items():
        if parameter in query:
            return call
    for parameter, word in _OF_A_BUCKET.items():
        if parameter in query:
            return _VERBS.get(method, "?") + word
    listing = "ListObjectsV2" if query.get("list-type") == "2" else "ListObjects"
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"}.get(method, listing)
