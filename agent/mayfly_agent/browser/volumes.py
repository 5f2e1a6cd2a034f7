# SPDX-License-Identifier: GPL-3.0-or-later
"""A mounted volume, and the one way into it: nothing is opened but beneath its root, and no link is followed.

Every path is opened by openat2 (Linux 5.6, https://man7.org/linux/man-pages/man2/openat2.2.html), which the kernel
resolves as a whole: no check comes before it that could be outrun.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from .names import Parts

# Not in Python's os; the number is the same on every architecture.
_OPENAT2 = 437
_RESOLVE_NO_XDEV = 0x01
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH
# Bytes of a path that one call takes, below Linux's PATH_MAX of 4096.
_LONGEST_CALL = 4000
# The kernel says EAGAIN when something was renamed meanwhile, which happens on no volume that is read-only.
_TRIES = 5
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
# A pipe is not waited for; what it is, is looked at before it is read.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_THING = os.O_PATH | os.O_NOFOLLOW

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Volume:
    """Raises OSError when its root is no folder, or the kernel has no openat2."""

    def __init__(self, identity: str, name: str, root: str) -> None:
        self.identity = identity
        self.name = name
        self._root = os.open(root, _FOLDER | os.O_CLOEXEC)
        with self.folder(()):
            pass

    @contextmanager
    def folder(self, parts: Parts) -> Iterator[int]:
        """A folder, open as long as the block; raises OSError."""
        opened = self._open(parts, _FOLDER)
        try:
            yield opened
        finally:
            os.close(opened)

    def file(self, parts: Parts) -> tuple[int, os.stat_result]:
        """A regular file, opened for reading, which the caller closes. Raises OSError, ENXIO for any other thing."""
        opened = self._open(parts, _FILE)
        try:
            status = os.fstat(opened)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        except BaseException:
            os.close(opened)
            raise
        return opened, status

    def status(self, parts: Parts) -> tuple[os.stat_result, bytes]:
        """What a thing is, and where it leads when it is a link; a link is not followed. Raises OSError."""
        opened = self._open(parts, _THING)
        try:
            status = os.fstat(opened)
            return status, os.readlink(b"", dir_fd=opened) if stat.S_ISLNK(status.st_mode) else b""
        finally:
            os.close(opened)

    def _open(self, parts: Parts, flags: int) -> int:
        """Open a path, in as many steps as its length takes; each is below the one before."""
        at = self._root
        rest = list(parts)
        while True:
            now = [rest.pop(0)] if rest else [b"."]
            while rest and sum(map(len, now)) + len(now) + len(rest[0]) < _LONGEST_CALL:
                now.append(rest.pop(0))
            try:
                opened = _openat2(at, b"/".join(now), flags if not rest else os.O_PATH | os.O_DIRECTORY)
            finally:
                if at != self._root:
                    os.close(at)
            if not rest:
                return opened
            at = opened


def kind(mode: int) -> str:
    """What a thing is, by its mode: folder, file, link, or other (a device, a pipe, a socket)."""
    names = ((stat.S_ISDIR, "folder"), (stat.S_ISREG, "file"), (stat.S_ISLNK, "link"))
    return next((name for asked, name in names if asked(mode)), "other")


def kind_of(entry: os.DirEntry[str]) -> str:
    """The same of what a folder has just listed, which most file systems tell without looking at the thing itself."""
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "other"


def listed(folder: int) -> Iterator[tuple[bytes, os.DirEntry[str]]]:
    """What is in an open folder, with its name as bytes; raises OSError."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield os.fsencode(entry.name), entry


def _openat2(folder: int, path: bytes, flags: int) -> int:
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE)
    for _ in range(_TRIES):
        opened = _libc.syscall(_OPENAT2, folder, ctypes.c_char_p(path), ctypes.byref(how), ctypes.sizeof(how))
        if opened >= 0:
            return int(opened)
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number))
