# SPDX-License-Identifier: GPL-3.0-or-later
"""The block store: volumes, snapshots and what is known of them."""

from __future__ import annotations

import dataclasses
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mayfly_lab.blocks.files import BLOCK
from mayfly_lab.blocks.store import GIB, BlockStore, SnapshotNotFound, SnapshotRecord


@pytest.fixture
def store(tmp_path: Path) -> BlockStore:
    for name in ("volumes", "snapshots"):
        (tmp_path / name).mkdir()
    return BlockStore(tmp_path)


def record(name: str = "snap-1", **parts: Any) -> SnapshotRecord:
    common = {
        "owner": "111122223333",
        "region": "us-east-1",
        "volume_id": "vol-1",
        "volume_size_gib": 1,
        "state": "completed",
        "progress": "100%",
        "start_time": "2026-11-24T00:00:00+00:00",
        "description": "",
    }
    return SnapshotRecord(name, **{**common, **parts})


def write(path: Path, index: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        os.pwrite(stream.fileno(), data, index * BLOCK)


def test_a_snapshot_keeps_what_the_volume_held(store: BlockStore) -> None:
    store.create_volume("vol-1", 1)
    write(store.volume_path("vol-1"), 3, b"old")
    store.snapshot_volume(record(), "vol-1")
    write(store.volume_path("vol-1"), 3, b"new")
    write(store.volume_path("vol-1"), 4, b"more")
    assert store.written_blocks("snap-1") == [3]
    assert store.read_block("snap-1", 3) == b"old" + bytes(BLOCK - 3)
    assert store.read_block("snap-1", 4) == bytes(BLOCK)


def test_a_volume_from_a_snapshot_may_be_larger_and_is_its_own(store: BlockStore) -> None:
    store.create_volume("vol-1", 1)
    write(store.volume_path("vol-1"), 0, b"data")
    store.snapshot_volume(record(), "vol-1")
    store.create_volume("vol-2", 3, "snap-1")
    assert store.volume_path("vol-2").stat().st_size == 3 * GIB
    write(store.volume_path("vol-2"), 0, b"other")
    assert store.read_block("snap-1", 0)[:5] == b"data\0"
    store.resize_volume("vol-2", 4)
    assert store.volume_path("vol-2").stat().st_size == 4 * GIB
    with store.volume_path("vol-2").open("rb") as stream:
        assert stream.read(5) == b"other"


def test_a_volume_is_made_once_and_from_what_exists(store: BlockStore) -> None:
    store.create_volume("vol-1", 1)
    with pytest.raises(FileExistsError):
        store.create_volume("vol-1", 1)
    with pytest.raises(SnapshotNotFound):
        store.create_volume("vol-2", 1, "snap-1")
    assert not store.volume_path("vol-2").exists()


def test_what_is_deleted_twice_is_gone(store: BlockStore) -> None:
    store.create_volume("vol-1", 1)
    store.snapshot_volume(record(), "vol-1")
    store.snapshot_volume(record("snap-10"), "vol-1")
    with store.locked("snap-1"):
        pass
    store.snapshot_path("snap-1").with_suffix(".sums").touch()
    for _ in range(2):
        store.delete_volume("vol-1")
        store.delete("snap-1")
    left = sorted(path.name for path in store.snapshot_path("snap-1").parent.iterdir())
    assert left == ["snap-10.img", "snap-10.json"]
    assert not store.volume_path("vol-1").exists()


def test_a_record_is_kept_whole(store: BlockStore) -> None:
    kept = record(
        tags={"Name": "ü"},
        encrypted=True,
        kms_key_id="key",
        shared_with=["444455556666"],
        client_token="token",
        parent_snapshot_id="snap-0",
        from_direct=True,
        root_snapshot_id="snap-0",
    )
    store.save(kept)
    assert store.get("snap-1") == kept
    store.save(dataclasses.replace(kept, state="error"))
    assert store.get("snap-1").state == "error"
    with pytest.raises(SnapshotNotFound):
        store.get("snap-2")


@pytest.mark.parametrize(
    ("root", "lineage"), [(None, "vol-1"), ("snap-0", "snap-0")], ids=["of a volume", "of no volume"]
)
def test_lineage(root: str | None, lineage: str) -> None:
    assert record(root_snapshot_id=root).lineage == lineage


def test_records_by_owner_and_region(store: BlockStore) -> None:
    for number, (owner, region) in enumerate([("1", "us-east-1"), ("1", "eu-central-1"), ("2", "us-east-1")]):
        store.save(record(f"snap-{number}", owner=owner, region=region))

    def ids(**which: str) -> list[str]:
        return [each.snapshot_id for each in store.records(**which)]

    assert ids() == ["snap-0", "snap-1", "snap-2"]
    assert ids(owner="1") == ["snap-0", "snap-1"]
    assert ids(region="us-east-1") == ["snap-0", "snap-2"]
    assert ids(owner="1", region="us-east-1") == ["snap-0"]


def test_a_base_image_is_kept_once(store: BlockStore, tmp_path: Path) -> None:
    image = tmp_path / "debian.img"
    image.write_bytes(b"image")
    store.put_base_image(image, record("snap-1"))
    image.unlink()
    store.put_base_image(image, record("snap-2"))
    assert store.snapshot_path("snap-2").read_bytes() == b"image"
    assert [each.snapshot_id for each in store.records()] == ["snap-1", "snap-2"]


def test_many_threads_may_save_one_record(store: BlockStore) -> None:
    def save(number: int) -> None:
        for _ in range(50):
            store.save(record(description=str(number)))
            store.get("snap-1")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(8)))
    assert [path.name for path in store.snapshot_path("snap-1").parent.iterdir()] == ["snap-1.json"]


def test_one_at_a_time_holds_a_snapshots_lock(store: BlockStore) -> None:
    store.save(record(progress="0"))

    def add() -> None:
        for _ in range(20):
            with store.locked("snap-1") as found:
                store.save(dataclasses.replace(found, progress=str(int(found.progress) + 1)))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("snap-1").progress == "80"


def test_a_record_that_was_just_written_is_not_remembered(store: BlockStore) -> None:
    store.save(record())
    store.get("snap-1")
    path = store.snapshot_path("snap-1").with_suffix(".json")
    found = path.stat()
    path.write_text(path.read_text().replace("completed", "error"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))  # as when it is replaced within one tick of the clock
    assert store.get("snap-1").state == "error"


def test_a_remembered_record_is_read_again_once_it_was_replaced(store: BlockStore) -> None:
    store.save(record())
    path = store.snapshot_path("snap-1").with_suffix(".json")
    os.utime(path, (0, 0))
    store.get("snap-1")
    store.save(record(state="error"))
    assert store.get("snap-1").state == "error"
    store.delete("snap-1")
    with pytest.raises(SnapshotNotFound):
        store.get("snap-1")
