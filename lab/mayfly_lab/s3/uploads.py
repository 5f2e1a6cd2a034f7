# SPDX-License-Identifier: GPL-3.0-or-later
"""Multipart uploads that are not finished: when each began, and lists of them in pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.s3 import models
from moto.s3.exceptions import NoSuchUpload
from moto.s3.responses import S3Response

_MOST = 1000
_complete = models.S3Backend.complete_multipart_upload


def complete_multipart_upload(self: Any, bucket_name: str, multipart_id: str, body: Any) -> Any:
    """As moto does, but an upload that was aborted is unknown."""
    if multipart_id not in self.get_bucket(bucket_name).multiparts:
        raise NoSuchUpload(upload_id=multipart_id)
    return _complete(self, bucket_name, multipart_id, body)


class TimedMultipart(models.FakeMultipart):
    """An upload that knows when it began."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.initiated = datetime.now(UTC)


class UploadResponse(S3Response):
    """Answers about unfinished uploads."""

    def list_multipart_uploads(self) -> Any:
        """In the order of keys, then of time; with prefix, delimiter and markers."""
        asked = {name: values[0] for name, values in self.querystring.items()}
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = asked.get("key-marker", ""), asked.get("upload-id-marker", "")
        most = min(int(asked.get("max-uploads") or _MOST), _MOST)
        found: Any = self.backend.list_multipart_uploads(self.bucket_name).values()
        uploads = sorted(
            (each for each in found if each.key_name.startswith(prefix)),
            key=lambda each: (each.key_name, each.initiated, each.id),
        )
        rows: list[tuple[str, Any]] = []
        for upload in _following(uploads, *after):
            group = _group(upload.key_name, prefix, delimiter)
            if group is None:
                rows.append((upload.key_name, upload))
            elif (group, None) not in rows and group > after[0]:
                rows.append((group, None))
        page = rows[:most]
        last_name, last = page[-1] if page else ("", None)
        more = len(rows) > len(page)
        result = {
            "Bucket": self.bucket_name,
            "Prefix": prefix,
            "Delimiter": delimiter or None,
            "KeyMarker": after[0],
            "UploadIdMarker": after[1],
            "MaxUploads": most,
            "IsTruncated": more,
            "NextKeyMarker": last_name if more else None,
            "NextUploadIdMarker": last.id if more and last else None,
            "Uploads": [_shown(upload, self.current_account) for _, upload in page if upload is not None],
            "CommonPrefixes": [{"Prefix": name} for name, upload in page if upload is None],
        }
        self.data["Action"] = "ListMultipartUploads"
        return self.serialized(ActionResult(result))

    def upload_part(self) -> Any:
        """As moto does, but an upload that was finished or aborted takes no more parts."""
        upload_id = self._get_param("uploadId")
        if upload_id not in self.backend.get_bucket(self.bucket_name).multiparts:
            raise NoSuchUpload(upload_id=upload_id)
        return super().upload_part()


def _following(uploads: list[Any], key: str, upload_id: str) -> list[Any]:
    """What comes after the markers; an upload id counts only with its key."""
    if not key:
        return uploads
    place = next((n for n, each in enumerate(uploads) if each.key_name == key and each.id == upload_id), None)
    if upload_id and place is not None:
        return uploads[place + 1 :]
    return [each for each in uploads if each.key_name > key]


def _group(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that a key is shown as, None for one that is shown itself."""
    head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
    return prefix + head + found if found else None


def _shown(upload: Any, account: str) -> dict[str, Any]:
    owner = {"ID": account, "DisplayName": account}
    return {
        "Key": upload.key_name,
        "UploadId": upload.id,
        "Initiator": owner,
        "Owner": owner,
        "StorageClass": upload.storage or "STANDARD",
        "Initiated": upload.initiated,
        "ChecksumAlgorithm": upload.metadata.get("x-amz-checksum-algorithm"),
        "ChecksumType": upload.metadata.get("x-amz-checksum-type"),
    }
