# SPDX-License-Identifier: GPL-3.0-or-later
"""Object Lock: what may be locked, unlocked and deleted, which moto keeps but does not judge.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, s3_backends

from mayfly_lab.s3.deletions import Named
from mayfly_lab.s3.errors import S3Error, access_denied

MODES = ("GOVERNANCE", "COMPLIANCE")
_PROTECTED = "Access Denied because object protected by object lock."


def check_put(headers: Mapping[str, str]) -> None:
    """Raises the S3Error of a new object that is to be locked in no way that there is."""
    mode, until = headers.get("x-amz-object-lock-mode"), headers.get("x-amz-object-lock-retain-until-date")
    if mode is None and until is None:
        return
    if mode is None or until is None:
        message = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied"
        raise S3Error(400, "InvalidArgument", message)
    _check(mode, until)


def check_retention(bucket: FakeBucket, key: str, version: str | None, body: bytes, *, bypass: bool) -> None:
    """Raises the S3Error of a PutObjectRetention: a lock is made longer, and shorter by who may bypass it alone."""
    found = find(bucket, key, version)
    if found is None:
        code = "NoSuchVersion" if version else "NoSuchKey"
        raise S3Error(404, code, "The specified object does not exist.", fields={"Key": key})
    mode, until = _asked(body)
    wanted = _check(mode, until)
    current = end_of(found)
    if current is None or current <= datetime.now(UTC):
        return
    weaker = wanted < current or mode != found.lock_mode
    if weaker and (found.lock_mode == "COMPLIANCE" or not bypass):
        raise access_denied(_PROTECTED)


def refusals(bucket: FakeBucket, objects: Sequence[Named], *, bypass: bool) -> list[str | None]:
    """For each (key, version) to delete: None, or why its lock forbids it. Without a version, only a marker is made."""
    return [
        _PROTECTED if version and (found := find(bucket, key, version)) and is_locked(found, bypass=bypass) else None
        for key, version in objects
    ]


def is_locked(found: Any, *, bypass: bool) -> bool:
    """Whether a version cannot be deleted now."""
    if found.lock_legal_status == "ON":
        return True
    until = end_of(found)
    lifted = bypass and found.lock_mode == "GOVERNANCE"
    return until is not None and until > datetime.now(UTC) and not lifted


def find(bucket: FakeBucket, key: str, version: str | None) -> Any:
    """The object or the version of it, None for none and for a delete marker."""
    found = s3_backends[bucket.account_id]["aws"].get_object(bucket.name, key, version_id=version)
    return found if isinstance(found, FakeKey) and not isinstance(found, FakeDeleteMarker) else None


def end_of(found: Any) -> datetime | None:
    """When a version's retention ends."""
    return datetime.fromisoformat(found.lock_until) if found.lock_mode in MODES and found.lock_until else None


def _asked(body: bytes) -> tuple[str, str]:
    try:
        fields = {each.tag.rpartition("}")[2]: each.text or "" for each in ElementTree.fromstring(body)}  # noqa: S314
    except ElementTree.ParseError as error:
        raise S3Error(400, "MalformedXML", "The XML you provided was not well-formed.") from error
    return fields.get("Mode", ""), fields.get("RetainUntilDate", "")


def _check(mode: str, until: str) -> datetime:
    try:
        wanted = datetime.fromisoformat(until)
    except ValueError as error:
        raise S3Error(400, "InvalidArgument", "The retain until date must be a date in ISO 8601 format.") from error
    if mode not in MODES:
        raise S3Error(400, "MalformedXML", "The XML you provided was not well-formed.")
    if wanted <= datetime.now(UTC):
        raise S3Error(400, "InvalidArgument", "The retain until date must be in the future!")
    return wanted
