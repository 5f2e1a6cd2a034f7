# SPDX-License-Identifier: GPL-3.0-or-later
"""What volumes and snapshots hold: one digest over their blocks, or their files. Run inside the lab.

The digest is the repository format's: that of the root of a tree whose leaves cover 1,024 blocks of 512 KiB and whose
other nodes cover 1,024 nodes, each SHA-256 over its level and the positions and digests of what it covers, holes and
zeros left out. It is computed from the files alone, without the transfer agent's code.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from mayfly_lab import paths
from mayfly_lab.blocks.files import BLOCK, clone, written_blocks
from mayfly_lab.blocks.store import BlockStore
from mayfly_lab.commands import run

_FANOUT = 1024


def digest(file: Path) -> str:
    """The digest of a sparse file's blocks; holes are known and not read."""
    zeros = bytes(BLOCK)
    found: list[tuple[int, bytes]] = []
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        for index in written_blocks(opened.fileno(), size):
            block = os.pread(opened.fileno(), BLOCK, index * BLOCK)
            if block != zeros:
                found.append((index, hashlib.sha256(block).digest()))
    level, covered = 0, _FANOUT
    while covered * BLOCK < size:
        nodes = groupby(found, lambda each: each[0] // _FANOUT)
        found = [(position, _node(level, below)) for position, below in nodes]
        level, covered = level + 1, covered * _FANOUT
    return _node(level, found).hex()


def _node(level: int, below: Iterable[tuple[int, bytes]]) -> bytes:
    parts = (position.to_bytes(8, "big") + each for position, each in below)
    return hashlib.sha256(level.to_bytes(1, "big") + b"".join(parts)).digest()


def files(image: Path, folder: Path) -> Iterator[str]:
    """A line for each file of a file system: kind and mode, owner, size, SHA-256 or target, path.

    The image is mounted as a clone, so that a journal can be replayed without a change to it.
    """
    copy, mounted = folder / "copy", folder / "mounted"
    clone(image, copy)
    mounted.mkdir()
    kind = run("blkid", "-o", "value", "-s", "TYPE", copy).strip()
    options = "loop,nouuid" if kind == "xfs" else "loop"  # the same file system may be mounted on its own host
    run("mount", "-t", kind, "-o", options, copy, mounted)
    try:
        run("mount", "-o", "remount,ro", mounted)
        yield from (_line(path, mounted) for path in sorted(mounted.rglob("*")))
    finally:
        run("umount", mounted)


def _line(path: Path, top: Path) -> str:
    found = path.lstat()
    content = "-"
    if path.is_symlink():
        content = str(path.readlink())
    elif stat.S_ISREG(found.st_mode):
        with path.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
    size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    owner = f"{found.st_uid}:{found.st_gid}"
    return f"{stat.filemode(found.st_mode)} {owner} {size} {content} {path.relative_to(top)}"


def _image(store: BlockStore, identity: str) -> Path:
    path = store.snapshot_path(identity) if identity.startswith("snap-") else store.volume_path(identity)
    if not path.exists():
        sys.exit(f"lab: there is no {identity}")
    return path


def main(what: str, identities: list[str]) -> int:
    """Print the digests or the files of volumes and snapshots."""
    where = paths.current()
    store = BlockStore(where.store)
    for identity in identities:
        image = _image(store, identity)
        if what == "digest":
            print(f"{identity} {digest(image)}")
            continue
        with tempfile.TemporaryDirectory(dir=where.store, prefix="look-") as folder:
            for line in files(image, Path(folder)):
                print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
