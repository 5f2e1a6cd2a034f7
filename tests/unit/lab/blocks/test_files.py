# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse files: which blocks hold data, and clones that hold the same."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mayfly_lab.blocks import files
from mayfly_lab.blocks.files import BLOCK, clone, data_ranges, written_blocks

SIZE = 16 * BLOCK
# Writes of one byte and of up to three blocks, at the borders of blocks and anywhere.
OFFSETS = st.one_of(
    st.integers(0, 15).map(lambda index: index * BLOCK),
    st.integers(1, 16).map(lambda index: index * BLOCK - 1),
    st.integers(0, SIZE - 1),
)
LENGTHS = st.one_of(st.just(1), st.integers(1, 3 * BLOCK))
WRITES = st.lists(st.tuples(OFFSETS, LENGTHS), max_size=6)


def sparse(path: Path, writes: list[tuple[int, int]]) -> set[int]:
    """A file of 16 blocks with these writes; the blocks that they touch."""
    touched = set()
    with path.open("wb") as stream:
        stream.truncate(SIZE)
        for offset, length in writes:
            data = b"\xa5" * min(length, SIZE - offset)
            os.pwrite(stream.fileno(), data, offset)
            touched |= set(range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1))
    return touched


def blocks_of(path: Path) -> list[int]:
    with path.open("rb") as stream:
        return list(written_blocks(stream.fileno(), path.stat().st_size))


@given(writes=WRITES)
def test_the_blocks_that_were_written_are_found_and_a_clone_has_the_same(writes: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        touched = sparse(source, writes)
        assert blocks_of(source) == sorted(touched)
        clone(source, target)
        assert blocks_of(target) == sorted(touched)
        assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("tail", [1, 4096, BLOCK])
def test_a_file_that_ends_within_a_block(tmp_path: Path, tail: int) -> None:
    path = tmp_path / "file"
    with path.open("wb") as stream:
        stream.truncate(5 * BLOCK)
        os.pwrite(stream.fileno(), b"x" * tail, 5 * BLOCK)
    assert blocks_of(path) == [5]
    clone(path, tmp_path / "clone")
    assert (tmp_path / "clone").stat().st_size == 5 * BLOCK + tail


def test_ranges_end_with_the_size_that_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "file"
    sparse(path, [(0, 3 * BLOCK)])
    with path.open("rb") as stream:
        assert list(data_ranges(stream.fileno(), 2 * BLOCK)) == [(0, 2 * BLOCK)]


def test_a_large_hole_costs_nothing(tmp_path: Path) -> None:
    path, terabyte = tmp_path / "file", 1 << 40
    with path.open("wb") as stream:
        stream.truncate(terabyte)
        os.pwrite(stream.fileno(), b"x", terabyte - 1)
    assert blocks_of(path) == [terabyte // BLOCK - 1]
    clone(path, tmp_path / "clone")
    assert (tmp_path / "clone").stat().st_blocks == path.stat().st_blocks


def test_a_clone_does_not_change_with_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    sparse(source, [(0, BLOCK)])
    clone(source, target)
    with source.open("r+b") as stream:
        stream.write(b"changed")
    assert target.read_bytes()[:7] == b"\xa5" * 7


def test_a_clone_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"source")
    (tmp_path / "target").write_bytes(b"target")
    with pytest.raises(FileExistsError):
        clone(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"target"


def test_a_file_system_that_is_full_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fcntl, "ioctl", full)
    (tmp_path / "source").write_bytes(b"source")
    with pytest.raises(OSError, match="No space left"):
        clone(tmp_path / "source", tmp_path / "target")


def test_a_clone_is_by_reference_where_the_file_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(fcntl, "ioctl", lambda target, request, source: asked.append((request, source)))
    monkeypatch.setattr(files, "_copy", lambda *_: pytest.fail("it was copied"))
    (tmp_path / "source").write_bytes(b"source")
    clone(tmp_path / "source", tmp_path / "target")
    assert [request for request, _ in asked] == [0x40049409]
