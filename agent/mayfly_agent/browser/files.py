# SPDX-License-Identifier: GPL-3.0-or-later
"""One file: sent as a whole or in part, or shown."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .names import Parts, attachment, shown
from .refusals import Refused
from .volumes import Volume

CHUNK = 1 << 19
PREVIEW_TEXT = 1 << 18  # bytes
PREVIEW_IMAGE = 32 << 20  # bytes
_HEAD = 64
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
# What browsers show and cannot run, by how it begins. SVG can hold scripts: it is text here.
_IMAGES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "image/avif"),
    (re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL), "image/bmp"),
    (re.compile(rb"\x00\x00\x01\x00[\x01-\x40]\x00"), "image/x-icon"),
)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Sending:
    """A part of a file that is to be sent: status, headers and content. Closes the file when all is read, or closed."""

    status: int
    headers: dict[str, str]
    content: Iterator[bytes]


def send(volume: Volume, parts: Parts, wanted: str, unless_changed: str) -> Sending:
    """A file to be saved; ``wanted`` and ``unless_changed`` are the request's Range and If-Range (RFC 9110).

    One range is served; of several, or of another file than it was, all of it. Raises OSError, and Refused (416) for a
    range behind the end.
    """
    file, status = volume.file(parts)
    size = status.st_size
    tag = f'"{status.st_ino:x}-{size:x}-{status.st_mtime_ns:x}"'
    headers = {
        "accept-ranges": "bytes",
        "etag": tag,
        "content-type": "application/octet-stream",
        "content-disposition": attachment(shown(parts[-1])),
    }
    try:
        part = _part(wanted, size) if unless_changed in ("", tag) else None
    except Refused:
        os.close(file)
        raise
    first, end = part or (0, size)
    headers["content-length"] = str(end - first)
    if part:
        headers["content-range"] = f"bytes {first}-{end - 1}/{size}"
    return Sending(206 if part else 200, headers, _content(file, first, end))


def image(volume: Volume, parts: Parts) -> Sending:
    """An image, to be shown; raises OSError, and Refused (415) for what is none or is too large."""
    file, status = volume.file(parts)
    try:
        found = _image(os.pread(file, _HEAD, 0))
        if not found or status.st_size > PREVIEW_IMAGE:
            raise Refused(415, "It is no image that can be shown.")
    except BaseException:
        os.close(file)
        raise
    headers = {"content-type": found, "content-length": str(status.st_size), "content-disposition": "inline"}
    return Sending(200, headers, _content(file, 0, status.st_size))


def preview(volume: Volume, parts: Parts) -> dict[str, object]:
    """What can be shown of a file: {kind: text, text, cut}, {kind: image} or {kind: none}. Raises OSError."""
    file, status = volume.file(parts)
    try:
        data = os.pread(file, PREVIEW_TEXT, 0)
    finally:
        os.close(file)
    about: dict[str, object] = {"size": status.st_size, "modified": status.st_mtime}
    if _image(data[:_HEAD]) and status.st_size <= PREVIEW_IMAGE:
        return {**about, "kind": "image"}
    text = _text(data, cut=status.st_size > len(data))
    if text is None:
        return {**about, "kind": "none"}
    return {**about, "kind": "text", "text": text, "cut": status.st_size > len(data)}


def _part(wanted: str, size: int) -> tuple[int, int] | None:
    """First byte, and the one behind the last; None for all of it."""
    found = _RANGE.fullmatch(wanted.strip())
    if not found or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
    if first and last and int(last) < int(first):
        return None
    if begin >= size or begin >= end:
        raise Refused(416, f"The file has {size} bytes.")
    return begin, end


def _content(file: int, first: int, end: int) -> Iterator[bytes]:
    try:
        while first < end:
            data = os.pread(file, min(CHUNK, end - first), first)
            if not data:
                raise OSError("the file is shorter than it was")
            first += len(data)
            yield data
    finally:
        os.close(file)


def _image(head: bytes) -> str:
    return next((media for pattern, media in _IMAGES if pattern.match(head)), "")


def _text(data: bytes, *, cut: bool) -> str | None:
    """Data as text, None when it is none: UTF-8, UTF-16 with its mark, or else a code of one byte, as old files are."""
    code = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    if code != "utf-16" and b"\0" in data:
        return None
    try:
        return codecs.getincrementaldecoder(code)("strict").decode(data, final=not cut)
    except UnicodeDecodeError:
        odd = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in data)
        return data.decode("windows-1252", "replace") if odd == 0 and code == "utf-8" else None
