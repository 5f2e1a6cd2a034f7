# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the body of a PUT: plain or aws-chunked, checked against every checksum the client sent.

Verified: Content-MD5, x-amz-content-sha256, and the checksums CRC32, SHA1 and SHA256 (header or trailer). CRC32C and
CRC64NVME are recorded as they came: Python's own library has neither.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from mayfly_lab.s3.content import Content, Spool
from mayfly_lab.s3.errors import S3Error

_CHUNK = 1 << 20
_LINE = 8192
_TRAILERS = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")
Headers = dict[str, str]


class Stream(Protocol):
    """What a WSGI server gives as wsgi.input."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self, size: int, /) -> bytes: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


_ALGORITHMS: dict[str, Callable[[], _Hash]] = {"crc32": _Crc32, "sha1": hashlib.sha1, "sha256": hashlib.sha256}


class Upload:
    """One body: its content, MD5 (hexadecimal, when asked for), and checksum headers to keep."""

    def __init__(self, headers: Headers, *, md5: bool) -> None:
        """``headers``: names in lower case. ``md5``: whether an entity tag is wanted."""
        self._headers = headers
        self._sums: dict[str, _Hash] = {}
        self.checksums: Headers = {}
        declared = [name for name in headers if name.startswith("x-amz-checksum-")]
        trailers = headers.get("x-amz-trailer", "").lower().split(",")
        names = [name.strip().removeprefix("x-amz-checksum-") for name in [*declared, *trailers]]
        for name in names:
            if name in _ALGORITHMS:
                self._sums[name] = _ALGORITHMS[name]()
        self._payload_hash = headers.get("x-amz-content-sha256", "")
        if _SHA256.fullmatch(self._payload_hash):
            self._sums["payload"] = hashlib.sha256()
        if md5 or "content-md5" in headers:
            self._sums["md5"] = hashlib.md5(usedforsecurity=False)

    def receive(self, stream: Stream, spool: Spool) -> Content:
        """Read the whole body; raises S3Error when it is not what the client says it is."""
        if self._payload_hash.startswith("STREAMING-"):
            size = _number(self._headers, "x-amz-decoded-content-length")
            content = spool.store(self._summed(self._decoded(stream)), size)
        else:
            size = _number(self._headers, "content-length")
            content = spool.store(self._summed(_plain(stream, size)), size)
        if len(content) != size:
            raise S3Error(400, "IncompleteBody", f"{size} bytes were announced, {len(content)} came.")
        self._check()
        return content

    @property
    def entity_tag(self) -> str | None:
        """MD5 of the content in hexadecimal, None when it was not asked for."""
        return self._sums["md5"].digest().hex() if "md5" in self._sums else None

    def _summed(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            for each in self._sums.values():
                each.update(chunk)
            yield chunk

    def _decoded(self, stream: Stream) -> Iterator[bytes]:
        while True:
            try:
                left = int(stream.readline(_LINE).split(b";")[0].strip(), 16)
            except ValueError:
                raise S3Error(400, "IncompleteBody", "A chunk of the body has no length.") from None
            if not left:
                break
            yield from _plain(stream, left)
            stream.readline(_LINE)
        for _ in range(_TRAILERS):
            line = stream.readline(_LINE).decode("latin-1").strip()
            if not line:
                return
            name, _, value = line.partition(":")
            if name.lower().startswith("x-amz-checksum-"):
                self._headers[name.lower()] = value.strip()

    def _check(self) -> None:
        if "payload" in self._sums and self._sums["payload"].digest().hex() != self._payload_hash:
            raise S3Error(400, "XAmzContentSHA256Mismatch", "The body has another SHA-256 than the request says.")
        expected = self._headers.get("content-md5")
        if expected and base64.b64encode(self._sums["md5"].digest()).decode() != expected:
            raise S3Error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
        for header in [name for name in self._headers if name.startswith("x-amz-checksum-")]:
            name, value = header.removeprefix("x-amz-checksum-"), self._headers[header]
            computed = self._sums.get(name)
            if computed and base64.b64encode(computed.digest()).decode() != value:
                raise S3Error(400, "BadDigest", f"The {name.upper()} you specified is not that of the body.")
            if name not in ("algorithm", "type"):
                self.checksums[header] = value


def _plain(stream: Stream, size: int) -> Iterator[bytes]:
    left = size
    while left:
        chunk = stream.read(min(left, _CHUNK))
        if not chunk:
            return
        left -= len(chunk)
        yield chunk


def _number(headers: Headers, name: str) -> int:
    try:
        return int(headers[name])
    except (KeyError, ValueError):
        raise S3Error(411, "MissingContentLength", f"You must provide the {name} HTTP header.") from None
