# SPDX-License-Identifier: GPL-3.0-or-later
"""A digest that was kept is that of the data that goes out with it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from mayfly_lab.blocks.files import BLOCK
from mayfly_lab.blocks.store import BlockStore
from mayfly_lab.ebs import digests
from mayfly_lab.ebs.digests import Digests

from tests.unit.lab.ebs.calls import block

SNAPSHOT = "snap-1"


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    """A store with a snapshot of two blocks, which was made long ago."""
    (tmp_path / "snapshots").mkdir()
    made = BlockStore(tmp_path)
    made.snapshot_path(SNAPSHOT).write_bytes(block(1) + block(2))
    age(made, 100)
    return made


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was hashed."""
    found: list[Any] = []
    monkeypatch.setattr(digests, "sha256", lambda data: (found.append(data), hashlib.sha256(data))[1])
    return found


def age(store: BlockStore, seconds: float) -> None:
    """Let the snapshot's file be as old as that."""
    path = store.snapshot_path(SNAPSHOT)
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


def pair(data: bytes) -> tuple[bytes, bytes]:
    return data, hashlib.sha256(data).digest()


def test_each_block_is_hashed_once(store, hashed):
    kept = Digests(store)
    for _ in range(3):
        assert [kept.read(SNAPSHOT, index) for index in (0, 1)] == [pair(block(1)), pair(block(2))]
    assert len(hashed) == 2


def test_a_file_that_was_changed_is_hashed_anew(store, hashed):
    kept = Digests(store)
    assert kept.read(SNAPSHOT, 1) == pair(block(2))
    with store.snapshot_path(SNAPSHOT).open("r+b") as stream:
        os.pwrite(stream.fileno(), block(3), BLOCK)
    assert kept.read(SNAPSHOT, 1) == pair(block(3))
    age(store, 50)  # settled, but not the version that is known
    assert kept.read(SNAPSHOT, 1) == pair(block(3))
    assert len(hashed) == 3


def test_another_file_of_the_same_time_is_hashed_anew(store, hashed):
    kept, path = Digests(store), store.snapshot_path(SNAPSHOT)
    kept.read(SNAPSHOT, 0)
    then = path.stat()
    other = path.with_suffix(".other")
    other.write_bytes(block(4))
    os.utime(other, ns=(then.st_mtime_ns, then.st_mtime_ns))
    other.replace(path)
    assert kept.read(SNAPSHOT, 0) == pair(block(4))


def test_a_young_file_is_hashed_each_time(store, hashed):
    kept = Digests(store)
    os.utime(store.snapshot_path(SNAPSHOT))
    for _ in range(2):
        assert kept.read(SNAPSHOT, 0) == pair(block(1))
    assert len(hashed) == 2


def test_no_more_are_kept_than_there_is_room_for(store, hashed, monkeypatch):
    monkeypatch.setattr(digests, "_KEPT", 1)
    kept = Digests(store)
    for _ in range(2):
        assert [kept.read(SNAPSHOT, index) for index in (0, 1)] == [pair(block(1)), pair(block(2))]
    assert len(hashed) == 4
