# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a caller may do what it asks of S3, where IAM is enforced."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from moto.s3.models import FakeBucket, s3_backends

from mayfly_lab.faults import Request
from mayfly_lab.iam import s3
from mayfly_lab.iam.callers import Caller
from mayfly_lab.iam.checks import Check, Context, Place
from mayfly_lab.iam.guard import Guard, conditions
from mayfly_lab.refusals import Refusal
from mayfly_lab.s3.errors import S3Error


@dataclass(frozen=True)
class Subject:
    """One request: who asks what, of which bucket (none for a call without one)."""

    request: Request
    access_key_id: str
    asked: s3.Asked
    name: str  # of the bucket
    bucket: FakeBucket | None
    environ: Mapping[str, Any]


class Permission:
    """The decisions about requests to S3; ``lock`` is held while moto's state is read."""

    def __init__(self, guard: Guard, lock: threading.Lock) -> None:
        self._guard = guard
        self._lock = lock

    @property
    def enforced(self) -> bool:
        return self._guard.enforces

    def check(self, subject: Subject, origin: FakeBucket | None) -> None:
        """Raises S3Error (403) for a caller who may not do that; ``origin`` is the bucket that a copy is made from."""
        with self._lock:
            wanted = self._checks(subject, origin)
        self._refuse(subject, wanted)

    def _checks(self, subject: Subject, origin: FakeBucket | None) -> list[Check]:
        place = Place(subject.request.account, subject.request.region)
        keys = self._guard.identities.all()["keys"]
        if subject.asked.call == "DeleteObjects":  # each object is decided by itself
            return []
        bucket = _described(subject.bucket) if subject.bucket else s3.Bucket(subject.name, place.account)
        if subject.bucket is None and subject.asked.call not in ("CreateBucket", "ListBuckets"):
            return []  # it does not exist
        present = _present(subject.bucket, subject.asked) if subject.bucket else None
        wanted = list(s3.checks(subject.asked, bucket, present, place, keys))
        if origin is not None:
            key = source_of(subject.asked.headers["x-amz-copy-source"])[1]
            found = _present(origin, s3.Asked("GetObject", key))
            wanted += s3.source(key, _described(origin), found, place, keys)
        return wanted

    def check_seeing(self, subject: Subject) -> None:
        """Raises S3Error (403) for a caller whom S3 does not tell that an object is missing."""
        reads = subject.asked.call in ("GetObject", "HeadObject")
        if self.enforced and reads and subject.bucket is not None:
            self._refuse(subject, [s3.seeing(_described(subject.bucket))])

    def deletable(self, subject: Subject, keys: Sequence[tuple[str, str | None]]) -> list[str | None]:
        """For each (key, version) of a DeleteObjects: None, or why it may not be deleted."""
        assert subject.bucket
        bucket = _described(subject.bucket)
        lifts = s3.bypasses(subject.asked)
        wanted = [
            [s3.deletion(key, version, bucket), *([s3.bypass(key, bucket)] if lifts else [])] for key, version in keys
        ]
        caller = self._caller(subject)
        found = [self._guard.refusal("s3", "DeleteObjects", caller, each, _common(subject)) for each in wanted]
        return [refusal.message if refusal else None for refusal in found]

    def _refuse(self, subject: Subject, wanted: Sequence[Check]) -> None:
        caller = self._caller(subject)
        refusal = self._guard.refusal("s3", subject.asked.call, caller, wanted, _common(subject))
        if refusal:
            raise S3Error(refusal.status, refusal.code, refusal.message)

    def _caller(self, subject: Subject) -> Caller:
        found = self._guard.caller("s3", subject.access_key_id)
        if isinstance(found, Refusal):
            message = "The AWS Access Key Id you provided does not exist in our records."
            raise S3Error(403, "InvalidAccessKeyId", message, fields={"AWSAccessKeyId": subject.access_key_id})
        return found


def source_of(header: str) -> tuple[str, str]:
    """(bucket, key) of an x-amz-copy-source header."""
    name, _, key = unquote_to_bytes(header.partition("?")[0]).decode().lstrip("/").partition("/")
    return name, key


def _common(subject: Subject) -> Context:
    environ = subject.environ
    return conditions(subject.request.region, environ.get("REMOTE_ADDR", ""), environ.get("HTTP_USER_AGENT", ""))


def _described(bucket: FakeBucket) -> s3.Bucket:
    rule = (bucket.encryption or {}).get("Rule", {})
    default = rule.get("ApplyServerSideEncryptionByDefault", {})
    key = default.get("KMSMasterKeyID") if default.get("SSEAlgorithm") == "aws:kms" else None
    text = bucket.policy.decode() if isinstance(bucket.policy, bytes) else bucket.policy
    by_bucket = str(rule.get("BucketKeyEnabled", "false")).lower() == "true"
    return s3.Bucket(bucket.name, bucket.account_id, text or None, key, by_bucket)


def _present(bucket: FakeBucket, asked: s3.Asked) -> s3.Object | None:
    """The object, or the unfinished upload, that a request is about."""
    backend = s3_backends[bucket.account_id]["aws"]
    upload = bucket.multiparts.get(asked.query.get("uploadId", ""))
    if upload is not None:
        return s3.Object(kms_key=_kms_key(upload.sse_encryption, upload.kms_key_id) or _described(bucket).kms_key)
    found = backend.get_object(bucket.name, asked.key) if asked.key else None
    if found is None:
        return None
    tags = {tag["Key"]: tag["Value"] for tag in backend.get_object_tagging(found)["Tags"]}
    return s3.Object(tags, _kms_key(found.encryption, found.kms_key_id))


def _kms_key(encryption: str | None, key: str | None) -> str | None:
    return key if encryption == "aws:kms" else None
