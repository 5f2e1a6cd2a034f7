# SPDX-License-Identifier: GPL-3.0-or-later
"""What volumes and snapshots hold: one digest over their blocks, or their files. Run inside the lab.

The digest is the repository format's: SHA-256 over (index as 8 bytes, SHA-256 of the block) of all blocks of 512 KiB
that are not zeros, in ascending order. It is computed from the files alone, without the transfer agent's code.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mayfly_lab import paths
from mayfly_lab.blocks.files import BLOCK, clone, written_blocks
from mayfly_lab.blocks.store import BlockStore
from mayfly_lab.commands import run

_READ = 1024 * 1024


def digest(file: Path) -> str:
    """The digest of a sparse file's blocks; holes are known and not read."""
    zeros = bytes(BLOCK)
    total = hashlib.sha256()
    with file.open("rb") as opened:
        for index in written_blocks(opened.fileno(), os.fstat(opened.fileno()).st_size):
            block = os.pread(opened.fileno(), BLOCK, index * BLOCK)
            if block != zeros:
                total.update(index.to_bytes(8, "big") + hashlib.sha256(block).digest())
    return total.hexdigest()


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
