# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse files: cloned by reference where the file system can, walked by their data where not."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

BLOCK = 512 * 1024  # bytes; a block of the EBS direct APIs
_FICLONE = 0x40049409  # linux/fs.h
_COPY = 8 * 1024 * 1024


def clone(source: Path, target: Path) -> None:
    """Make ``target`` (which must not exist) hold what ``source`` holds: by reference, else by a copy of its data."""
    with source.open("rb") as reading, target.open("xb") as writing:
        try:
            fcntl.ioctl(writing, _FICLONE, reading.fileno())
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY):
                raise
            _copy(reading.fileno(), writing.fileno())


def data_ranges(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of every stretch of a file that holds data, in bytes."""
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end
        position = end


def written_blocks(fd: int, size: int) -> Iterator[int]:
    """Indexes of the 512 KiB blocks that hold data, ascending, each once."""
    last = -1
    for start, end in data_ranges(fd, size):
        for index in range(max(start // BLOCK, last + 1), (end - 1) // BLOCK + 1):
            yield index
            last = index


def _copy(source: int, target: int) -> None:
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    for start, end in data_ranges(source, size):
        position = start
        while position < end:
            data = os.pread(source, min(_COPY, end - position), position)
            os.pwrite(target, data, position)
            position += len(data)
