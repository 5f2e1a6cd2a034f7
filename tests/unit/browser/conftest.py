# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume with all that can be on one, and a page that shows it."""

from __future__ import annotations

import os
import socket
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.browser.site import Site, served

# Names that were chosen to do harm, or are only odd.
HOSTILE = (
    b"<img src=x onerror=alert(1)>.txt",
    b"line\nbreak\r.txt",
    b"latin-\xe9.txt",
    b"n" * 251 + b".txt",
    "turned-\u202etxt.exe".encode(),
    b"back\\..\\slash.txt",
    b"%2e%2e%2fpercent.txt",
    b"quote\"'`;$(id).txt",
    b"  spaces and dots . ",
    "résumé 履歴書 📄.txt".encode(),
    b"-rf",
)


def png(width: int, height: int) -> bytes:
    """A picture, of one colour a line."""
    lines = b"".join(b"\0" + bytes([40, 60 + 180 * y // height, 140]) * width for y in range(height))

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(lines)) + part(b"IEND", b"")


def fill(root: Path) -> Path:
    """What is on the volume, and beside it what no way may lead to."""
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("of the worker")
    (root / "etc/nginx").mkdir(parents=True)
    (root / "etc/nginx/nginx.conf").write_text("worker_processes auto;\nevents {}\n" * 40)
    (root / "etc/hostname").write_text("web-1\n")
    (root / "srv/photos").mkdir(parents=True)
    (root / "srv/photos/sunset.png").write_bytes(png(640, 400))
    (root / "srv/report.txt").write_text("Quarterly figures\n" + "".join(f"line {n}\n" for n in range(2000)))
    (root / "srv/random.bin").write_bytes(os.urandom(3_000_000))
    (root / "srv/empty").touch()
    (root / "srv/report.txt").chmod(0o640)
    os.utime(root / "srv/report.txt", (1_700_000_000, 1_700_000_000.25))
    odd = root / "odd"
    odd.mkdir()
    for name in HOSTILE:
        (odd / os.fsdecode(name)).write_bytes(b"content of " + name)
    links = root / "links"
    links.mkdir()
    (links / "inside").symlink_to("../srv/report.txt")
    (links / "outside").symlink_to(outside / "secret.txt")
    (links / "up").symlink_to("../../outside")
    (links / "folder").symlink_to("../srv")
    (links / "process").symlink_to("/proc/self/root")
    os.mkfifo(links / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(links)
        made.bind("socket")
        os.chdir("/")
    os.mknod(links / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    return root


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it is mounted, so to speak."""
    root = tmp_path_factory.mktemp("volumes") / "v1"
    root.mkdir()
    return fill(root)


@pytest.fixture(scope="session")
def huge(volume: Path) -> Path:
    """A folder of 100,000 files, and one of 50,000 below it."""
    folder = volume / "huge"
    (folder / "many").mkdir(parents=True)
    for number in range(99_999):
        os.close(os.open(folder / f"file-{number}", os.O_CREAT | os.O_WRONLY))
    for number in range(50_000):
        (folder / "many" / f"{number:05}.txt").write_bytes(b"%d" % number)
    return folder


@pytest.fixture(scope="module")
def site(volume: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page, with a session that was opened."""
    with served(volume, tmp_path_factory.mktemp("site"), put_back=["keep", "overwrite"]) as running:
        assert running.enter().status == 200
        yield running
