# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of objects: immutable files on disk that go when nothing refers to them any more."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from itertools import count
from pathlib import Path

INLINE = 16 << 10  # bytes up to which data is kept in memory: a file would cost more
_CHUNK = 1 << 20


class Blob:
    """One immutable run of bytes, in memory or in a file that is removed with the last reference."""

    def __init__(self, data: bytes, path: Path | None = None) -> None:
        self._data = data
        self._path = path
        if path is not None:
            weakref.finalize(self, path.unlink, missing_ok=True)

    def chunks(self, offset: int, length: int) -> Iterator[bytes]:
        """The bytes from ``offset`` on, in pieces of at most 1 MiB; raises EOFError when the file is short."""
        if self._path is None:
            yield self._data[offset : offset + length]
            return
        with self._path.open("rb", buffering=0) as stream:
            stream.seek(offset)
            left = length
            while left:
                piece = stream.read(min(left, _CHUNK))
                if not piece:
                    raise EOFError(f"{self._path} is {left} bytes short")
                left -= len(piece)
                yield piece


class Content:
    """What an object holds: pieces of blobs in a row. Slices and joins copy nothing."""

    def __init__(self, pieces: tuple[tuple[Blob, int, int], ...] = ()) -> None:
        self._pieces = pieces
        self._size = sum(length for _, _, length in pieces)

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Content kept in memory."""
        return cls(((Blob(data), 0, len(data)),))

    @classmethod
    def join(cls, parts: list[Content]) -> Content:
        """All parts in a row."""
        return cls(tuple(piece for part in parts for piece in part._pieces))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, wanted: slice) -> Content:
        begin, end, step = wanted.indices(self._size)
        if step != 1:
            raise ValueError("content is cut in one piece")
        pieces = []
        position = 0
        for blob, offset, length in self._pieces:
            low, high = max(begin, position), min(end, position + length)
            if low < high:
                pieces.append((blob, offset + low - position, high - low))
            position += length
        return Content(tuple(pieces))

    def __bytes__(self) -> bytes:
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The bytes, in pieces of at most 1 MiB."""
        for blob, offset, length in self._pieces:
            yield from blob.chunks(offset, length)


class Spool:
    """Where bodies of requests are written while they come in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.iterdir():
            left_over.unlink()

    def store(self, chunks: Iterator[bytes], size: int) -> Content:
        """Content made of ``chunks``; ``size`` (bytes) says whether a file is worth it."""
        if size <= INLINE:
            return Content.of(b"".join(chunks))
        path = self._folder / str(next(self._numbers))
        written = 0
        try:
            with path.open("wb", buffering=0) as stream:
                for chunk in chunks:
                    written += _write(stream.fileno(), chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Content(((Blob(b"", path), 0, written),))


def _write(handle: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
    return len(data)
