# SPDX-License-Identifier: GPL-3.0-or-later
"""Loop devices that the kernel frees by itself when their holder dies."""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

# linux/loop.h
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_AUTOCLEAR = 4
_LO_FLAGS_PARTSCAN = 8  # partitions made by hand go with the device when it is freed
_CONFIG = struct.Struct("=II QQQQQ IIII 64s64s32s QQ 64x")


@dataclass
class Loop:
    """A loop device; it lives while ``fd`` is open or something has it mounted."""

    path: Path
    fd: int

    @property
    def number(self) -> int:
        return int(self.path.name.removeprefix("loop"))

    def device(self) -> tuple[int, int]:
        """(major, minor)."""
        rdev = os.fstat(self.fd).st_rdev
        return os.major(rdev), os.minor(rdev)

    def partitions(self) -> dict[int, tuple[int, int]]:
        """The partitions that the kernel knows of: number → (major, minor)."""
        found = {}
        for entry in Path(f"/sys/block/{self.path.name}").glob(f"{self.path.name}p*"):
            major, minor = (entry / "dev").read_text().split(":")
            found[int(entry.name.rpartition("p")[2])] = (int(major), int(minor))
        return found

    def close(self) -> None:
        os.close(self.fd)


def attach(file: Path) -> Loop:
    """A new loop device over ``file``; raises OSError."""
    backing = os.open(file, os.O_RDWR)
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        for _ in range(50):  # another process may take the number between the two calls
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            node = Path(f"/dev/loop{number}")
            if not node.exists():
                os.mknod(node, 0o60660, os.makedev(7, number))
            fd = os.open(node, os.O_RDWR)
            name = str(file).encode()[-63:]
            flags = _LO_FLAGS_AUTOCLEAR | _LO_FLAGS_PARTSCAN
            config = _CONFIG.pack(backing, 512, 0, 0, 0, 0, 0, 0, 0, 0, flags, name, b"", b"", 0, 0)
            try:
                fcntl.ioctl(fd, _LOOP_CONFIGURE, config)
            except OSError:
                os.close(fd)
                continue
            return Loop(node, fd)
    finally:
        os.close(control)
        os.close(backing)
    raise OSError(f"no loop device could be set up for {file}")
