# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of S3 that a transfer makes by the thousand, as plain signed requests.

*Measured* for bodies of packs and ranges: botocore's client takes more than twice the processor time of these for a put
and three times that for a read, and half a second to load (docs/performance.md).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import responses
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from botocore.exceptions import ClientError, FlexibleChecksumError

from .progress import Clock
from .signed import Answer, NoAnswer, SignedRequests
from .signing import CONTENT, UNSIGNED, Credentials, payload_hash

_CONNECTIONS = 32
# Of all calls; the bucket is the client's own.
_KNOWN = {"Bucket", "ExpectedBucketOwner"}
_CHECKSUM = "x-amz-checksum-crc32"


class QuickClient:
    """One bucket; its calls take, give and raise what those of botocore's client do.

    All that is not here is botocore's own, whose client ``others`` makes when it is first asked for something.
    """

    def __init__(
        self,
        credentials: Credentials,
        region: str,
        bucket: str,
        others: Callable[[], Any],
        *,
        clock: Clock,
        before: Callable[[], None] = lambda: None,
        url: str = "",
        checksums: bool = True,
    ) -> None:
        """``before`` as of SignedRequests. ``url``: of the store, "" for AWS's; buckets stand in the path there.

        ``checksums``: whether it verifies those that AWS does. All stores verify what is signed, so a body's SHA-256 is
        signed where they do not, which takes longer.
        """
        self._checksums = checksums
        host, self._path = (url, f"/{bucket}/") if url else at_home(region, bucket)
        self._http = SignedRequests(
            credentials, "s3", region, host, connections=_CONNECTIONS, clock=clock, before=before
        )
        self._others = others
        self._client: Any = None

    def __getattr__(self, call: str) -> Any:
        if self._client is None:
            self._client = self._others()
        return getattr(self._client, call)

    def get_object(self, *, Key: str, Range: str = "", **about: str) -> dict[str, Any]:
        """{Body, ETag, LastModified, ResponseMetadata}; Body gives all at the first read."""
        headers = {"range": Range} if Range else {"x-amz-checksum-mode": "ENABLED"}
        answer = self._ask("GetObject", "GET", about, key=Key, headers=headers)
        checksum = answer.headers.get(_CHECKSUM, "")
        if answer.status == HTTPStatus.OK and checksum and "-" not in checksum and checksum != _crc32(answer.body):
            raise FlexibleChecksumError(error_msg=f"{Key} does not have the checksum {checksum}")
        found = {"Body": _Body(answer.body), "ResponseMetadata": _metadata(answer)}
        if "etag" in answer.headers:
            found["ETag"] = answer.headers["etag"]
        if "last-modified" in answer.headers:
            found["LastModified"] = parsedate_to_datetime(answer.headers["last-modified"])
        return found

    def put_object(
        self,
        *,
        Key: str,
        Body: bytes,
        IfNoneMatch: str = "",
        IfMatch: str = "",
        StorageClass: str = "",
        ObjectLockMode: str = "",
        ObjectLockRetainUntilDate: datetime | None = None,
        **about: str,
    ) -> dict[str, Any]:
        """{ETag, ResponseMetadata}."""
        said = {
            "if-none-match": IfNoneMatch,
            "if-match": IfMatch,
            "x-amz-storage-class": StorageClass,
            "x-amz-object-lock-mode": ObjectLockMode,
        }
        if ObjectLockRetainUntilDate:
            until = ObjectLockRetainUntilDate.astimezone(UTC)
            said["x-amz-object-lock-retain-until-date"] = f"{until:%Y-%m-%dT%H:%M:%SZ}"
        headers = {name: value for name, value in said.items() if value}
        headers |= {CONTENT: UNSIGNED, _CHECKSUM: _crc32(Body)} if self._checksums else {CONTENT: payload_hash(Body)}
        if ObjectLockMode:  # S3 takes a lock only of what comes with a checksum
            headers[_CHECKSUM] = _crc32(Body)
        answer = self._ask("PutObject", "PUT", about, key=Key, headers=headers, body=Body)
        return {"ETag": answer.headers.get("etag", ""), "ResponseMetadata": _metadata(answer)}

    def list_objects_v2(
        self,
        *,
        Prefix: str,
        Delimiter: str = "",
        ContinuationToken: str = "",
        **about: str,
    ) -> dict[str, Any]:
        """{Contents, CommonPrefixes, IsTruncated, NextContinuationToken, ResponseMetadata}."""
        query = {"prefix": Prefix, "delimiter": Delimiter, "continuation-token": ContinuationToken}
        query = {name: value for name, value in query.items() if value or name == "prefix"}
        asked = {"list-type": "2", "encoding-type": "url", **query}
        answer = self._ask("ListObjectsV2", "GET", about, query=asked)
        try:
            page = _page(ET.fromstring(answer.body))  # noqa: S314 - expat expands no entities that grow without bounds
        except (ET.ParseError, KeyError, ValueError) as error:
            raise NoAnswer(f"the list is none: {error!r}") from error
        return {**page, "ResponseMetadata": _metadata(answer)}

    def _ask(
        self,
        operation: str,
        method: str,
        about: Mapping[str, str],
        *,
        key: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Raises ClientError when S3 refuses, NoAnswer when no whole answer came."""
        if unknown := about.keys() - _KNOWN:  # rather than leave it out
            raise TypeError(f"{operation} does not know {', '.join(sorted(unknown))}")
        owner = about.get("ExpectedBucketOwner")
        more = {"x-amz-expected-bucket-owner": owner} if owner else {}
        common = {CONTENT: payload_hash(b""), **more}
        answer = self._http.once(method, self._path + key, query or {}, body, {**common, **(headers or {})})
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        refusal: Any = {"Error": _error(answer), "ResponseMetadata": _metadata(answer)}
        raise ClientError(refusal, operation)


class _Body:
    """A body that is here already."""

    def __init__(self, whole: bytes) -> None:
        self._whole = whole

    def read(self, _most: int) -> bytes:
        """All of it, and then nothing."""
        whole, self._whole = self._whole, b""
        return whole

    def close(self) -> None:
        """Nothing is left to read."""


def at_home(region: str, bucket: str) -> tuple[str, str]:
    """(AWS's URL, the path that keys follow): its certificate is not for names with a dot in the bucket's."""
    host = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    return (f"https://{host}", f"/{bucket}/") if "." in bucket else (f"https://{bucket}.{host}", "/")


def _metadata(answer: Answer) -> dict[str, Any]:
    return {"HTTPStatusCode": answer.status, "HTTPHeaders": answer.headers}


def _error(answer: Answer) -> dict[str, str]:
    """{Code, Message}; of an answer that is not S3's, as of a machine before it, its status."""
    try:
        found = {each.tag: each.text or "" for each in ET.fromstring(answer.body)}  # noqa: S314 - see above
    except ET.ParseError:
        found = {}
    said = responses.get(answer.status, "")
    return {"Code": found.get("Code") or str(answer.status), "Message": found.get("Message") or said}


def _page(root: ET.Element) -> dict[str, Any]:
    for each in root.iter():
        each.tag = each.tag.rpartition("}")[2]
    told = {each.tag: each.text or "" for each in root}
    page: dict[str, Any] = {
        "IsTruncated": told.get("IsTruncated") == "true",
        "Contents": [_content(each) for each in root.iterfind("Contents")],
        "CommonPrefixes": [{"Prefix": unquote(each.text or "")} for each in root.iterfind("CommonPrefixes/Prefix")],
    }
    return page | {name: told[name] for name in ("NextContinuationToken",) if name in told}


def _content(element: ET.Element) -> dict[str, Any]:
    told = {each.tag: each.text or "" for each in element}
    return {
        "Key": unquote(told["Key"]),
        "Size": int(told["Size"]),
        "LastModified": datetime.fromisoformat(told["LastModified"]),
        "ETag": told.get("ETag", ""),
        "StorageClass": told.get("StorageClass", ""),
    }


def _crc32(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
