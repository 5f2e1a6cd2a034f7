# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest that the lab makes of a file is the one that a repository has of its blocks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from mayfly_agent.blocks import BLOCK_SIZE, BLOCKS_PER_GIB, FANOUT, VolumeDigest
from mayfly_lab.contents import digest

ZEROS = 3


@pytest.mark.parametrize(
    ("size_gib", "indexes"),
    [
        (1, []),
        (1, [0, ZEROS, FANOUT - 1, FANOUT, 2 * FANOUT - 1]),
        (512, [5, FANOUT**2 - 1]),
        (513, [5]),
        (513, [5, FANOUT**2 - 1, FANOUT**2]),
    ],
    ids=["empty", "two leaves", "two levels", "three levels", "two inner nodes"],
)
def test_a_file_has_the_digest_of_its_blocks(tmp_path: Path, size_gib: int, indexes: list[int]) -> None:
    path, expected = tmp_path / "volume", VolumeDigest(size_gib * BLOCKS_PER_GIB)
    with path.open("wb") as file:
        file.truncate(size_gib << 30)
        for index in indexes:
            block = bytes(BLOCK_SIZE) if index == ZEROS else os.urandom(BLOCK_SIZE)
            os.pwrite(file.fileno(), block, index * BLOCK_SIZE)
            expected.add(index, hashlib.sha256(block).digest())
    assert digest(path) == expected.hexdigest()
