# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to moto's S3: objects hold content on disk, joins and copies move no bytes, nothing deleted is kept."""

from __future__ import annotations

import base64
import hashlib
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

from moto.core.common_models import BaseModel
from moto.iam.access_control import PermissionResult
from moto.s3 import models, responses
from moto.s3.exceptions import EntityTooSmall, InvalidPart, MalformedXML

from mayfly_lab.s3.content import Content
from mayfly_lab.s3.uploads import TimedMultipart, complete_multipart_upload

_SMALLEST_PART = 5 << 20


class TaggedContent(Content):
    """Content with its entity tag (MD5 in hexadecimal), known from reading it once."""

    def __init__(self, content: Content, entity_tag: str | None) -> None:
        super().__init__(content._pieces)
        self.entity_tag = entity_tag


@dataclass(frozen=True)
class Retrieval:
    """A copy of an archived object: from when it is there, and until when."""

    ready: datetime
    ends: datetime


class DiskKey(models.FakeKey):
    """An object whose value is Content."""

    _content = Content()
    retrieval: Retrieval | None = None

    def retrieve(self, ready: datetime, days: int, since: datetime | None = None) -> None:
        """Let a copy of the archived object be there from ``ready`` on, for so many days since then or ``since``."""
        self.retrieval = Retrieval(ready, (since or ready) + timedelta(days=days))

    @property
    def response_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = super().response_dict
        now, retrieval = datetime.now(UTC), self.retrieval
        if retrieval is not None and now < retrieval.ready:
            told["x-amz-restore"] = 'ongoing-request="true"'
        elif retrieval is not None and now < retrieval.ends:
            ends = format_datetime(retrieval.ends, usegmt=True)
            told["x-amz-restore"] = f'ongoing-request="false", expiry-date="{ends}"'
        return told

    @property
    def value(self) -> Any:
        return self._content

    @value.setter
    def value(self, new: Any) -> None:
        self._content = new if isinstance(new, Content) else Content.of(new)
        self.contentsize = len(self._content)
        if self._etag is None and isinstance(new, TaggedContent):
            # Under KMS the tag is no digest on AWS either.
            self._etag = new.entity_tag or secrets.token_hex(16)

    @property
    def etag(self) -> str:
        if self._etag is None:
            digest = hashlib.md5(usedforsecurity=False)
            for chunk in self._content.chunks():
                digest.update(chunk)
            self._etag = digest.hexdigest()
        return f'"{self._etag}"'

    def dispose(self, garbage: bool = False) -> None:  # noqa: ARG002  (moto's signature)
        self._content = Content()
        self.disposed = True


def _complete(
    self: models.FakeMultipart, body: Iterator[tuple[int, str]]
) -> tuple[Content, str, tuple[str, str, int] | None]:
    parts: list[models.FakeKey] = []
    for number, tag in body:
        part = self.parts.get(number)
        if part is None or part.etag.strip('"') != tag.strip('"'):
            raise InvalidPart
        parts.append(part)
    if not parts:
        raise MalformedXML
    if any(part.size < _SMALLEST_PART for part in parts[:-1]):
        raise EntityTooSmall
    digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
    tag = hashlib.md5(digests, usedforsecurity=False).hexdigest()
    contents = [cast(Content, part.value) for part in parts]
    algorithm = self.metadata.get("x-amz-checksum-algorithm")
    kind = self.metadata.get("x-amz-checksum-type")
    return Content.join(contents), f"{tag}-{len(parts)}", _checksum(contents, algorithm, kind)


def _checksum(parts: list[Content], algorithm: str | None, kind: str | None) -> tuple[str, str, int] | None:
    """(type, value, parts) of the checksum of a finished upload, None when the lab does not compute that one."""
    if algorithm == "CRC32" and kind == "FULL_OBJECT":
        crc = 0
        for chunk in Content.join(parts).chunks():
            crc = zlib.crc32(chunk, crc)
        return kind, base64.b64encode(crc.to_bytes(4, "big")).decode(), 1
    if algorithm not in ("CRC32", "SHA1", "SHA256") or kind == "FULL_OBJECT":
        return None
    builder = models.MultipartChecksumBuilder(algorithm, "COMPOSITE")
    for part in parts:
        builder.addPart(bytes(part))
    return builder.build()


def patch_moto() -> None:
    """Put the changes in place; once, before the first request."""
    # moto remembers every model it ever made, to reset itself between tests: that would keep deleted data.
    BaseModel.__new__ = staticmethod(lambda cls, *_args, **_kwargs: object.__new__(cls))  # type: ignore[method-assign]
    models.FakeKey = DiskKey  # type: ignore[misc]
    responses.FakeKey = DiskKey  # type: ignore[attr-defined]
    models.FakeMultipart.complete = _complete  # type: ignore[method-assign, assignment]
    models.FakeMultipart = TimedMultipart  # type: ignore[misc]
    models.S3Backend.complete_multipart_upload = complete_multipart_upload  # type: ignore[method-assign]
    # The policy of a bucket is judged before moto is asked, with its principals and conditions.
    models.FakeBucket.get_permission = lambda *_: PermissionResult.NEUTRAL  # type: ignore[method-assign]
