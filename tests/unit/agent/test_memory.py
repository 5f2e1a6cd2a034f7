# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory depends on the requests in flight, not on the size of a volume: the bounds that the modules promise.

Measured with tracemalloc, so it is Python's own memory: no buffer of zstd or TLS is in it.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mayfly_agent.blocks import BLOCK_SIZE
from mayfly_agent.job import JobVolume
from mayfly_agent.objects import Lock
from mayfly_agent.repository.packs import TARGET_BYTES

from tests.unit.agent.memory import Condition, MemoryObjects
from tests.unit.agent.transfers import Snapshots, back_up, restore

MIB = 1024 * 1024
CONCURRENCY = 4
WINDOW = 2 * CONCURRENCY
# A pack's list and a tree's leaf in the making, threads, the status.
SLACK = 5 * MIB


def peak_of(call: Callable[[], Any]) -> int:
    """Bytes at the highest point above those at the beginning."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Forgetful(MemoryObjects):
    """Keeps what a reader needs to open it, and of all else the sizes alone."""

    def __init__(self, store: MemoryObjects) -> None:
        super().__init__()
        self.objects = dict(store.objects)
        self.bytes = 0
        self._counting = threading.Lock()

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        with self._counting:
            self.bytes += len(body)
            self.puts.append(key)
        return ""


class HugeVolume(Snapshots):
    """So many blocks that are made when they are asked for. ``widest``: how many listed ones were not yet read."""

    def __init__(self, count: int, content: Callable[[int], bytes]) -> None:
        super().__init__([])
        self._count = count
        self._content = content
        self._lock = threading.Lock()
        self._listed = self._read = self.widest = 0
        self._last = time.monotonic()

    def settle(self) -> None:
        """Until nothing was read for a while: whoever reads waits for somebody else."""
        while time.monotonic() - self._last < 1.5:
            time.sleep(0.05)

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        for index in range(self._count):
            with self._lock:
                self._listed += 1
                self.widest = max(self.widest, self._listed - self._read)
            yield index, "token"

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        block = self._content(index)
        with self._lock:
            self._read += 1
            self._last = time.monotonic()
        return block, hashlib.sha256(block).digest()


def back_up_volume(store: MemoryObjects, source: Snapshots, folder: Path, **parts: Any) -> dict[str, Any]:
    volumes = (JobVolume("vol-1", "snap-1", "/dev/xvdf", 16_384),)
    # Without notes, which one on a slow machine would make.
    return back_up(store, source, folder, volumes=volumes, concurrency=CONCURRENCY, notes_every=1e9, **parts)


def test_of_100_000_blocks_a_window_is_in_memory(store: MemoryObjects, tmp_path: Path) -> None:
    """Blocks of a few bytes, so that anything that is kept for each block would show."""
    forgetful = Forgetful(store)
    source = HugeVolume(100_000, lambda index: (index + 1).to_bytes(8, "big"))
    peak = peak_of(lambda: back_up_volume(forgetful, source, tmp_path))
    assert source.widest <= WINDOW + 1
    assert sum("/trees/" in key for key in forgetful.puts) == 100  # 98 leaves, and a node in each level above
    assert peak < SLACK  # measured: 2.2 MiB; 64 bytes kept for each block would be 6.1


def test_of_a_parent_six_leaves_are_in_memory(store: MemoryObjects, tmp_path: Path) -> None:
    """All of its 30 leaves would be 20 MiB."""
    source = HugeVolume(30_000, lambda index: (index + 1).to_bytes(8, "big"))
    parent = back_up_volume(store, source, tmp_path)["restore_point"]
    forgetful = Forgetful(store)
    peak = peak_of(lambda: back_up_volume(forgetful, source, tmp_path, run="next", parent=parent))
    assert not [key for key in forgetful.puts if "/packs/" in key]
    assert peak < SLACK + 6 * MIB


def test_a_backup_has_the_window_and_six_packs_in_memory(store: MemoryObjects, tmp_path: Path) -> None:
    """Blocks that cannot be compressed, and a store that takes nothing until the reader waits for it."""
    noise = random.Random(1).randbytes(BLOCK_SIZE)  # noqa: S311 - nothing secret
    source = HugeVolume(512, lambda index: (index + 1).to_bytes(8, "big") + noise[8:])

    class Slow(Forgetful):
        def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
            source.settle()
            return super().put(key, body, condition, lock)

    forgetful = Slow(store)
    peak = peak_of(lambda: back_up_volume(forgetful, source, tmp_path))
    assert forgetful.bytes > 15 * TARGET_BYTES
    assert source.widest <= WINDOW + 1
    assert 4 * TARGET_BYTES < peak < WINDOW * MIB + 6 * (TARGET_BYTES + MIB) + SLACK


def test_a_restore_has_five_ranges_and_the_window_in_memory(store: MemoryObjects, tmp_path: Path) -> None:
    """Blocks that compress to nothing: 32 of them to a range, 16 MiB when they are opened."""
    count = 800
    source = HugeVolume(count, lambda index: (index + 1).to_bytes(8, "big") + bytes(BLOCK_SIZE - 8))
    point = back_up_volume(store, source, tmp_path)["restore_point"]
    written = []

    class Sink(Snapshots):
        def put_block(self, snapshot_id: str, index: int, block: bytes, digest: bytes) -> None:
            written.append(index)

    peak = peak_of(lambda: restore(store, Sink([]), tmp_path, point, concurrency=CONCURRENCY))
    assert sorted(written) == list(range(count))
    assert peak < 5 * 16 * MIB + WINDOW * BLOCK_SIZE + SLACK
