# SPDX-License-Identifier: GPL-3.0-or-later
"""The data: an image of an ext4 file system, filled with files of this machine, and what changes in it."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mayfly_agent.blocks import BLOCK_SIZE

from tests.benchmarks.repository.machine import environment
from tests.labs import ROOT

# Programs, libraries, texts, packages: what systems are made of.
_FOLDERS = ("/usr", "/opt", "/var/lib", str(ROOT))
_LARGEST_FILE = 256 << 20
# The rest is the file system's own: its inodes, its journal, and space that is free.
_FILLED = 0.85
_MAKE_SECONDS = 900
# Blocks that lie together in a change of the clustered kind, and bytes of each block in one of the scattered kind.
_CLUSTER = 32
_PAGE = 16 * 1024


def make(path: Path, size: int) -> None:
    """An image of ``size`` bytes at ``path``, most of it files; raises ValueError where the machine has less."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        left = int(size * _FILLED)
        for number, (file, length) in enumerate(_shuffled()):
            if length > left:
                continue
            target = Path(folder, f"{number % 256:02x}", f"{number}-{file.name}"[:250])
            target.parent.mkdir(exist_ok=True)
            try:
                shutil.copyfile(file, target)
            except OSError:  # gone meanwhile, or not for everybody
                continue
            left -= _on_disk(length)
            if left < 4096:
                break
        else:
            raise ValueError(f"{', '.join(_FOLDERS)} hold {left} bytes less than the image needs")
        path.unlink(missing_ok=True)
        command = ["mke2fs", "-q", "-t", "ext4", "-m", "0", "-i", "8192", "-d", folder, str(path), f"{size >> 10}k"]
        subprocess.run(command, check=True, timeout=_MAKE_SECONDS, stdout=subprocess.DEVNULL, env=environment())


def _shuffled() -> Iterator[tuple[Path, int]]:
    """(file, its length) of every file, by the digests of names: no folder or kind comes first."""
    found: list[tuple[bytes, str, int]] = []
    for folder in _FOLDERS:
        for parent, folders, names in os.walk(folder):
            folders[:] = [each for each in folders if not Path(parent, each).is_mount()]
            for name in names:
                path = f"{parent}/{name}"
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                if status.st_mode & 0o170000 == 0o100000 and 0 < status.st_size <= _LARGEST_FILE:
                    found.append((hashlib.sha256(path.encode()).digest(), path, status.st_size))
    found.sort()
    yield from ((Path(path), length) for _digest, path, length in found)


def _on_disk(length: int) -> int:
    return -(-length // 4096) * 4096


def change_clusters(path: Path, share: float, seed: int) -> int:
    """Overwrite ``share`` of the blocks, in runs of 32; how many were."""
    clusters = max(1, round(_blocks(path) * share / _CLUSTER))
    length = min(_CLUSTER, _blocks(path) // clusters)
    chosen = random.Random(seed).sample(range(_blocks(path) // length), clusters)  # noqa: S311 - nothing secret
    for each in chosen:
        for number in range(each * length, (each + 1) * length):
            _overwrite(path, number * BLOCK_SIZE, BLOCK_SIZE, seed)
    return clusters * length


def change_scattered(path: Path, share: float, seed: int) -> int:
    """Overwrite 16 KiB in ``share`` of the blocks, as a database does; how many were."""
    chosen = random.Random(seed).sample(range(_blocks(path)), max(1, round(_blocks(path) * share)))  # noqa: S311
    for each in chosen:
        _overwrite(path, each * BLOCK_SIZE + 5 * _PAGE, _PAGE, seed)
    return len(chosen)


def _blocks(path: Path) -> int:
    return path.stat().st_size // BLOCK_SIZE


def _overwrite(path: Path, at: int, length: int, seed: int) -> None:
    """Put there what is there with other bytes for the same ones: as compressible as before, and nowhere else."""
    table = bytearray(range(256))
    random.Random(seed * at + 1).shuffle(table)  # noqa: S311
    with path.open("r+b") as file:
        file.seek(at)
        there = file.read(length)
        file.seek(at)
        file.write((there if any(there) else random.Random(seed).randbytes(length)).translate(bytes(table)))  # noqa: S311
