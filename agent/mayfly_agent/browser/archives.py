# SPDX-License-Identifier: GPL-3.0-or-later
"""Many files as one stream, a ZIP or a tar.zst, made while it is sent: nothing of it is ever kept.

A stream that has begun cannot say that something failed, so what could not be read stands in a file at its end. Links
go in as links; devices, pipes and sockets do not go in.
"""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import zstandard

from .names import Parts, portable, shown_path
from .volumes import Volume
from .walk import Found, walk

NOTES = "NOT-IN-THIS-ARCHIVE.txt"
# A ZIP's table of contents is kept until its end, some 700 bytes a file.
MOST_IN_ZIP = 1_000_000
CHUNK = 1 << 19
_MOST_NOTES = 10_000
# What shrinks by less than this at its beginning is packed already.
_WORTH = 0.95
_PROBE = 1 << 16
# Bytes after which something is sent, however little has become of them.
_FLUSH = 1 << 25
_BLOCK = 512
_ZIP64_FROM = 0x7FFF_FFFF - (1 << 26)
# Of the time in UTC: https://libzip.org/specifications/extrafld.txt, "extended timestamp"
_TIMESTAMP = 0x5455
_MEDIA = {"zip": "application/zip", "tar.zst": "application/zstd"}
FORMATS = tuple(_MEDIA)
# Bytes as they are made; closed, it closes what it reads.
Stream = Generator[bytes, None, None]


def media_type(form: str) -> str:
    """What an archive's Content-Type is."""
    return _MEDIA[form]


@dataclass
class Progress:
    """How far an archive is; sizes in bytes. The totals are None until they have been counted."""

    files: int = 0
    size: int = 0
    total_files: int | None = None
    total_size: int | None = None
    notes: list[str] = field(default_factory=list)
    missing: int = 0

    def lost(self, parts: Parts, error: OSError) -> None:
        """Something could not be read."""
        self.miss(parts, error.strerror or str(error))

    def miss(self, parts: Parts, why: str) -> None:
        """Something is not in the archive."""
        self.missing += 1
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(f"{shown_path(parts)}: {why}")

    def note(self) -> bytes:
        """The text of the file at the end."""
        more = self.missing - len(self.notes)
        lines = [*self.notes, *([f"and {more} more"] if more else [])]
        return "".join(f"{line}\n" for line in lines).encode()


class _Sink:
    """What zipfile writes to: it has no place in it to go back to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self, least: int = CHUNK) -> Iterator[bytes]:
        """All that was written, when it is as much."""
        if self._size >= max(least, 1):
            yield b"".join(self._parts)
            self._parts.clear()
            self._size = 0


def counted(volume: Volume, base: Parts, chosen: Sequence[Parts], stopped: Callable[[], bool]) -> tuple[int, int]:
    """Number and bytes of the files that an archive will have; less when it is stopped before."""
    files = size = 0
    for found in walk(volume, base, chosen, lambda _parts, _error: None):
        if stopped():
            break
        if found.kind == "file":
            files += 1
            size += found.status.st_size
    return files, size


def zip_stream(volume: Volume, base: Parts, chosen: Sequence[Parts], progress: Progress) -> Stream:
    """A ZIP of what was chosen below ``base``. Names are as names.portable makes them."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, found in enumerate(walk(volume, base, chosen, progress.lost)):
            if number == MOST_IN_ZIP:
                progress.miss((), f"A ZIP has no more than {MOST_IN_ZIP:,} entries; take a tar.zst.")
                break
            info = _zip_info(found)
            if found.kind in ("folder", "link"):
                archive.writestr(info, found.target)
            elif found.kind == "file":
                yield from _zip_file(archive, sink, info, _Reader(volume, base, found, progress))
            else:
                progress.miss(found.parts, "it is a device, a pipe or a socket")
            yield from sink.taken()
        if progress.missing:
            archive.writestr(NOTES, progress.note())
    yield from sink.taken(0)


def tar_stream(
    volume: Volume,
    base: Parts,
    chosen: Sequence[Parts],
    progress: Progress,
    *,
    name: Callable[[Parts], bytes] = b"/".join,
    attributes: Callable[[Found], dict[str, str]] = lambda _found: {},
) -> Iterator[bytes]:
    """A tar (POSIX, pax) of what was chosen below ``base``, not compressed; names are the very bytes.

    ``name`` chooses what a thing is called in it; ``attributes`` gives more headers of pax for it.
    """
    written = 0
    for found in walk(volume, base, chosen, progress.lost):
        if found.kind == "other":
            progress.miss(found.parts, "it is a device, a pipe or a socket")
            continue
        reader = _Reader(volume, base, found, progress)
        with reader:
            info = _tar_info(found, name(found.parts))
            if found.kind == "file" and reader.unreadable:
                continue
            info.pax_headers = attributes(found)
            head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
            written += len(head)
            yield head
            if found.kind == "file":
                for chunk in reader.chunks(exactly=info.size):
                    written += len(chunk)
                    yield chunk
                padding = -info.size % _BLOCK
                written += padding
                yield bytes(padding)
    if progress.missing:
        text = progress.note()
        info = tarfile.TarInfo(NOTES)
        info.size, info.mtime = len(text), int(time.time())
        end = info.tobuf() + text + bytes(-len(text) % _BLOCK)
        written += len(end)
        yield end
    yield bytes(2 * _BLOCK + -(written + 2 * _BLOCK) % tarfile.RECORDSIZE)


def compressed(stream: Iterator[bytes]) -> Stream:
    """The same as one frame of zstd, in chunks of some size; what shrinks to nothing is not waited for either."""
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True, threads=2).compressobj()
    sink = _Sink()
    taken = 0
    for data in stream:
        sink.write(compressor.compress(data))
        yield from sink.taken()
        taken += len(data)
        if taken >= _FLUSH:
            taken = 0
            sink.write(compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            yield from sink.taken(0)
    sink.write(compressor.flush())
    yield from sink.taken(0)


class _Reader:
    """Reads one file, and tells ``progress`` what could not be read of it."""

    def __init__(self, volume: Volume, base: Parts, found: Found, progress: Progress) -> None:
        self.found = found
        self.opened: int | None = None
        self.unreadable = False
        self._volume = volume
        self._base = base
        self._progress = progress

    def __enter__(self) -> _Reader:
        try:
            if self.found.kind == "file":
                self.opened, _ = self._volume.file(self._base + self.found.parts)
        except OSError as error:
            self.unreadable = True
            self._progress.lost(self.found.parts, error)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.opened is not None:
            os.close(self.opened)

    def chunks(self, exactly: int | None = None) -> Iterator[bytes]:
        """The file's content; with ``exactly``, cut or filled up to so many bytes. A failure ends it, and is told."""
        assert self.opened is not None
        given = 0
        why = "it is shorter than its folder says"
        try:
            while exactly is None or given < exactly:
                data = os.read(self.opened, CHUNK if exactly is None else min(CHUNK, exactly - given))
                if not data:
                    break
                given += len(data)
                self._progress.size += len(data)
                yield data
        except OSError as error:
            why = error.strerror or str(error)
        wanted = self.found.status.st_size if exactly is None else exactly
        if given < wanted:
            self._progress.miss(self.found.parts, f"of {wanted} bytes only {given} are in: {why}")
        else:
            self._progress.files += 1
        while exactly is not None and given < exactly:
            given += (more := min(CHUNK, exactly - given))
            yield bytes(more)


def _zip_file(archive: zipfile.ZipFile, sink: _Sink, info: zipfile.ZipInfo, reader: _Reader) -> Iterator[bytes]:
    with reader:
        if reader.unreadable:
            return
        chunks = reader.chunks()
        first = next(chunks, b"")
        info.compress_type = zipfile.ZIP_DEFLATED if _shrinks(first[:_PROBE]) else zipfile.ZIP_STORED
        info.file_size = reader.found.status.st_size
        with archive.open(info, "w", force_zip64=info.file_size > _ZIP64_FROM) as stream:
            stream.write(first)
            for chunk in chunks:
                stream.write(chunk)
                yield from sink.taken()


def _shrinks(data: bytes) -> bool:
    return len(zstandard.ZstdCompressor(level=1).compress(data)) < _WORTH * len(data)


def _zip_info(found: Found) -> zipfile.ZipInfo:
    modified = int(found.status.st_mtime)
    earliest, latest = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
    try:
        when = min(max(time.gmtime(modified)[:6], earliest), latest)
    except (OverflowError, ValueError, OSError):
        when = earliest
    name = portable(found.parts)
    info = zipfile.ZipInfo(f"{name}/" if found.kind == "folder" else name, when)
    info.create_system = 3  # Unix: the upper half of external_attr is a mode
    info.external_attr = (found.status.st_mode & 0xFFFF) << 16 | (0x10 if found.kind == "folder" else 0)
    if -(1 << 31) <= modified < 1 << 31:
        info.extra = struct.pack("<HHBl", _TIMESTAMP, 5, 1, modified)
    return info


def _tar_info(found: Found, name: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
    info.mode = stat.S_IMODE(found.status.st_mode)
    info.uid, info.gid, info.mtime = found.status.st_uid, found.status.st_gid, found.status.st_mtime
    if found.kind == "folder":
        info.type = tarfile.DIRTYPE
    elif found.kind == "link":
        info.type = tarfile.SYMTYPE
        info.linkname = found.target.decode("utf-8", "surrogateescape")
    else:
        info.size = found.status.st_size
    return info
