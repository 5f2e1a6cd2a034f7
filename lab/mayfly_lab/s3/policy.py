# SPDX-License-Identifier: GPL-3.0-or-later
"""Bucket policies: whether one lets an account in. Pure.

An access key tells the account, not the role, so a principal matches when its account does. Of conditions, those on
aws:SecureTransport and aws:PrincipalAccount are understood; a statement with any other does not apply.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any, Literal

Verdict = Literal["allow", "deny", "neutral"]

_BUCKET_WORDS = {
    "versions": "ListBucketVersions",
    "uploads": "ListBucketMultipartUploads",
    "location": "GetBucketLocation",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "versioning": "BucketVersioning",
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "object-lock": "BucketObjectLockConfiguration",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "ownershipControls": "BucketOwnershipControls",
    "tagging": "BucketTagging",
    "acl": "BucketAcl",
    "cors": "BucketCORS",
    "logging": "BucketLogging",
    "notification": "BucketNotification",
    "replication": "ReplicationConfiguration",
    "website": "BucketWebsite",
}
_OBJECT_WORDS = {
    "tagging": "ObjectTagging",
    "acl": "ObjectAcl",
    "retention": "ObjectRetention",
    "legal-hold": "ObjectLegalHold",
    "attributes": "ObjectAttributes",
}
_UPLOADS = {"DELETE": "s3:AbortMultipartUpload", "GET": "s3:ListMultipartUploadParts"}
_VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}


def action(method: str, query: dict[str, str], *, key: bool) -> str:
    """The IAM action of a request, as ``s3:GetObject``; ``query``: its parameters, ``key``: whether it names one."""
    verb = _VERBS.get(method, "Get")
    if key:
        if "uploadId" in query:
            return {"DELETE": "s3:AbortMultipartUpload", "GET": "s3:ListMultipartUploadParts"}.get(
                method, "s3:PutObject"
            )
        word = next((name for parameter, name in _OBJECT_WORDS.items() if parameter in query), "Object")
        version = "Version" if "versionId" in query and verb != "Put" else ""
        return f"s3:{verb}{word}{version}"
    for parameter, name in _BUCKET_WORDS.items():
        if parameter in query:
            return f"s3:{name}" if name.startswith(("List", "Get")) else f"s3:{verb}{name}"
    if "delete" in query:
        return "s3:DeleteObject"
    return {"PUT": "s3:CreateBucket", "DELETE": "s3:DeleteBucket"}.get(method, "s3:ListBucket")


def evaluate(document: bytes | str | None, account: str, wanted: str, resource: str) -> Verdict:
    """What a policy says about ``wanted`` (an action) by ``account`` (12 digits) on ``resource`` (an ARN)."""
    if not document:
        return "neutral"
    verdict: Verdict = "neutral"
    for statement in _list(json.loads(document)["Statement"]):
        if not (
            _principal(statement, account)
            and _named(statement, "Action", wanted, fold=True)
            and _named(statement, "Resource", resource, fold=False)
            and _conditions(statement.get("Condition", {}), account)
        ):
            continue
        if statement["Effect"] == "Deny":
            return "deny"
        verdict = "allow"
    return verdict


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _principal(statement: dict[str, Any], account: str) -> bool:
    principal = statement.get("Principal")
    if principal is None:
        return False
    names = ["*"] if principal == "*" else _list(principal.get("AWS", []))
    return any(name in ("*", account) or re.match(rf"arn:aws:(iam|sts)::{account}:", name) for name in names)


def _named(statement: dict[str, Any], element: str, value: str, *, fold: bool) -> bool:
    negated = f"Not{element}" in statement
    patterns = [str(item) for item in _list(statement.get(f"Not{element}" if negated else element, []))]
    if fold:
        value, patterns = value.lower(), [pattern.lower() for pattern in patterns]
    # Brackets have no meaning in IAM's patterns.
    return negated != any(fnmatchcase(value, pattern.replace("[", "[[]")) for pattern in patterns)


def _conditions(conditions: dict[str, dict[str, Any]], account: str) -> bool:
    known = {"aws:securetransport": "true", "aws:principalaccount": account}
    for operator, tests in conditions.items():
        for name, expected in tests.items():
            value = known.get(name.lower())
            if value is None or operator not in ("Bool", "StringEquals", "StringNotEquals"):
                return False
            matches = value in [str(item).lower() for item in _list(expected)]
            if matches == (operator == "StringNotEquals"):
                return False
    return True
