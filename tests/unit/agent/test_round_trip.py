# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup reads, a restore writes: block for block, and damage is told."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.backup import Backup
from mayfly_agent.blocks import BLOCK_SIZE
from mayfly_agent.errors import AgentError
from mayfly_agent.job import Job, JobVolume, RepositoryPlace, Target
from mayfly_agent.objects import ObjectExists, ObjectNotFound
from mayfly_agent.repository import keys, repository
from mayfly_agent.restore import Restore
from mayfly_agent.status import Status

ZEROS = 5
RUN = "20261124T000000Z-abcdef"


class MemoryObjects:
    """An object store in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectNotFound(key)
        return self.objects[key]

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.get(key)[offset : offset + length]

    def put(self, key: str, body: bytes, *, create_only: bool = False) -> None:
        if create_only and key in self.objects:
            raise ObjectExists(key)
        self.objects[key] = body

    def list(self, prefix: str, *, folders: bool = False) -> Iterator[str]:
        assert not folders
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


class Snapshots:
    """Both sides of the EBS direct APIs, in memory."""

    def __init__(self) -> None:
        indexes = [*range(40), *range(3000, 3010), 204_799]
        self.blocks = {each: os.urandom(1000) + bytes(BLOCK_SIZE - 1000) for each in indexes}
        self.blocks[ZEROS] = bytes(BLOCK_SIZE)
        self.written: dict[int, bytes] = {}
        self.completed: tuple[int, bytes] | None = None

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        yield from ((index, "token") for index in sorted(self.blocks))

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        return self.blocks[index], hashlib.sha256(self.blocks[index]).digest()

    def start_snapshot(self, size_gib: int, client_token: str, description: str, **options: Any) -> str:
        return "snap-new"

    def put_block(self, snapshot_id: str, index: int, block: bytes, digest: bytes) -> None:
        self.written[index] = block

    def complete_snapshot(self, snapshot_id: str, blocks: int, aggregate: bytes) -> None:
        self.completed = (blocks, aggregate)


@pytest.fixture
def store() -> MemoryObjects:
    made = MemoryObjects()
    repository.create(made, lambda identity: [keys.wrap_with_recovery_key(b"m" * 32, b"r" * 32, identity)])
    return made


def job(**parts: Any) -> Job:
    common: dict[str, Any] = {
        "run": RUN,
        "deadline": datetime.now(UTC) + timedelta(hours=1),
        "resource": {"account": "444455556666", "region": "us-east-1", "kind": "ec2", "id": "i-1", "name": "web-1"},
        "repository": RepositoryPlace("bucket", "", "us-east-1"),
        "resource_key": b"k" * 32,
        "concurrency": 4,
        "source_region": "us-east-1",
    }
    return Job(**{**common, **parts})


def back_up(store: MemoryObjects, source: Snapshots, folder: Path, **parts: Any) -> dict[str, Any]:
    volumes = (JobVolume("vol-1", "snap-1", "/dev/xvdf", 100),)
    wanted = job(operation="backup", restore_point_time=datetime.now(UTC), volumes=volumes, **parts)
    with Status(folder / "status.json") as status:
        return Backup(wanted, source, store, status).run()


def restore(store: MemoryObjects, sink: Snapshots, folder: Path, point: str, **parts: Any) -> dict[str, Any]:
    wanted = job(operation="restore", restore_point=point, target=Target("us-east-1"), **parts)
    with Status(folder / "status.json") as status:
        return Restore(wanted, sink, store, status).run()


def test_a_restore_writes_what_the_backup_read(store: MemoryObjects, tmp_path: Path) -> None:
    snapshots = Snapshots()
    made = back_up(store, snapshots, tmp_path)
    restored = restore(store, snapshots, tmp_path, made["restore_point"])
    expected = {index: block for index, block in snapshots.blocks.items() if index != ZEROS}
    assert snapshots.written == expected
    assert restored["digests"] == made["digests"]
    sums = b"".join(hashlib.sha256(expected[index]).digest() for index in sorted(expected))
    assert snapshots.completed == (len(expected), hashlib.sha256(sums).digest())


@pytest.mark.parametrize("kind", ["packs", "trees", "points"])
def test_a_changed_object_is_told_and_no_snapshot_is_completed(store: MemoryObjects, tmp_path: Path, kind: str) -> None:
    snapshots = Snapshots()
    made = back_up(store, snapshots, tmp_path)
    key = next(each for each in store.objects if f"/{kind}/" in each)
    body = store.objects[key]
    store.objects[key] = body[:60] + bytes([body[60] ^ 1]) + body[61:]
    with pytest.raises(AgentError) as raised:
        restore(store, snapshots, tmp_path, made["restore_point"])
    assert raised.value.code in ("ObjectDamaged", "RestorePointDamaged")
    assert snapshots.completed is None


def test_another_resources_key_opens_nothing(store: MemoryObjects, tmp_path: Path) -> None:
    snapshots = Snapshots()
    made = back_up(store, snapshots, tmp_path)
    with pytest.raises(AgentError, match="damaged"):
        restore(store, snapshots, tmp_path, made["restore_point"], resource_key=b"o" * 32)


def test_nothing_is_committed_past_the_deadline(store: MemoryObjects, tmp_path: Path) -> None:
    with pytest.raises(AgentError) as raised:
        back_up(store, Snapshots(), tmp_path, deadline=datetime.now(UTC))
    assert raised.value.code == "DeadlinePassed"
    assert not [key for key in store.objects if "/points/" in key]


def test_a_store_that_fails_leaves_no_restore_point(store: MemoryObjects, tmp_path: Path) -> None:
    def fail(key: str, body: bytes, *, create_only: bool = False) -> None:
        raise AgentError("SlowDown", "S3 is away")

    store.put = fail  # type: ignore[method-assign]
    with pytest.raises(AgentError, match="S3 is away"):
        back_up(store, Snapshots(), tmp_path)
    assert not [key for key in store.objects if "/points/" in key]
