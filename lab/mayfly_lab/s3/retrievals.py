# SPDX-License-Identifier: GPL-3.0-or-later
"""RestoreObject: copies of archived objects that are there after hours, or as soon as the lab is told, for some days.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreObject.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects-retrieval-options.html (how long it takes)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from mayfly_lab.s3.errors import S3Error
from mayfly_lab.s3.keys import DiskKey

_HOUR = 3600.0
# The longest that AWS typically takes, in seconds, by storage class and tier.
SECONDS = {
    "GLACIER": {"Expedited": 300.0, "Standard": 5 * _HOUR, "Bulk": 12 * _HOUR},
    "DEEP_ARCHIVE": {"Standard": 12 * _HOUR, "Bulk": 48 * _HOUR},
}
_LONGEST_DAYS = 36_500


def restore(key: DiskKey | None, body: bytes, seconds: float | None) -> int:
    """Begin a retrieval, or let its copy stay longer; the HTTP status. ``seconds`` that it takes, None for AWS's own.

    Raises S3Error.
    """
    if key is None:
        raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
    days, tier = _read(body)
    takes = SECONDS.get(key.storage_class or "")
    if takes is None:
        message = "Restore is not allowed for the object's current storage class"
        raise S3Error(403, "InvalidObjectState", message, fields={"StorageClass": str(key.storage_class)})
    now = datetime.now(UTC)
    retrieval = key.retrieval
    if retrieval is not None and now < retrieval.ready:
        raise S3Error(409, "RestoreAlreadyInProgress", "Object restore is already in progress")
    if tier not in takes:
        raise S3Error(400, "InvalidArgument", f"{tier} retrieval is not available for {key.storage_class}")
    if retrieval is not None and now < retrieval.ends:
        key.retrieve(retrieval.ready, days, since=now)
        return 200
    key.retrieve(now + timedelta(seconds=takes[tier] if seconds is None else seconds), days)
    return 202


def _read(body: bytes) -> tuple[int, str]:
    """(days, tier) of a request; raises S3Error."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  (the lab's own users)
        found = {each.tag.rpartition("}")[2]: (each.text or "").strip() for each in root.iter()}
        days = int(found["Days"])
        if not 1 <= days <= _LONGEST_DAYS:
            raise ValueError(days)
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        message = "The XML you provided was not well-formed or did not validate against our published schema"
        raise S3Error(400, "MalformedXML", message) from error
    return days, found.get("Tier") or "Standard"
