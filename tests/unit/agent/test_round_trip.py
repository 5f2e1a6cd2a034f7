# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup reads, a restore writes: block for block, and damage is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.job import JobVolume, Target
from mayfly_agent.objects import Lock

from tests.unit.agent.memory import Condition, MemoryObjects
from tests.unit.agent.transfers import ZEROS, Snapshots, back_up, restore

AGAIN = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
ARN = "arn:aws:kms:us-east-1:444455556666:key/1"


class Unread(Snapshots):
    """Snapshots that nobody may read."""

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        raise AssertionError


def test_a_restore_writes_what_the_backup_read(store: MemoryObjects, tmp_path: Path) -> None:
    snapshots = Snapshots()
    made = back_up(store, snapshots, tmp_path)
    restored = restore(store, snapshots, tmp_path, made["restore_point"])
    expected = {index: block for index, block in snapshots.blocks.items() if index != ZEROS}
    assert snapshots.written == expected
    assert restored["digests"] == made["digests"]
    assert made["methods"] == {"vol-1": {"method": "full", "reason": ""}}
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
    with pytest.raises(AgentError, match="no key that opens"):
        restore(store, snapshots, tmp_path, made["restore_point"], resource_key=b"o" * 32)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"run": "no run"}, "BadJob"),
        ({"settings": {"a": float("nan")}}, "BadJob"),
        ({"settings": {"a": "x" * (1 << 24)}}, "BadJob"),
        ({"volumes": (JobVolume("vol-1", "snap-1", "/dev/xvdf", 0),)}, "BadJob"),
        ({"volumes": (JobVolume("vol/1", "snap-1", "/dev/xvdf", 1),)}, "BadJob"),
        ({"volumes": (JobVolume("vol-1", "snap-1", None, 1),)}, "BadJob"),
        ({"volumes": (JobVolume("vol-1", "snap-1", "/dev/xvdf", 1),) * 2}, "BadJob"),
        (
            {"restore_point_time": AGAIN, "volumes": (JobVolume("vol-1", "snap-2", "/dev/xvdf", 100),)},
            "ObjectExists",
        ),
    ],
    ids=["id", "not a number", "too long", "size", "volume", "device", "twice", "again"],
)
def test_what_cannot_be_committed_is_told_before_anything_is_read(
    store: MemoryObjects, tmp_path: Path, parts: dict[str, Any], code: str
) -> None:
    back_up(store, Snapshots([1]), tmp_path, restore_point_time=AGAIN)
    puts = list(store.puts)
    with pytest.raises(AgentError) as raised:
        back_up(store, Unread(), tmp_path, **parts)
    assert raised.value.code == code
    assert store.puts == puts


def test_a_backup_that_was_committed_by_a_worker_before_is_told_and_not_made_again(
    store: MemoryObjects, tmp_path: Path
) -> None:
    first = back_up(store, Snapshots([1]), tmp_path, restore_point_time=AGAIN)
    puts = list(store.puts)
    assert back_up(store, Unread(), tmp_path, restore_point_time=AGAIN) == first
    assert store.puts == puts


def test_chosen_volumes_of_a_restore_point_are_restored_alone(store: MemoryObjects, tmp_path: Path) -> None:
    snapshots = Snapshots([1])
    volumes = tuple(JobVolume(f"vol-{number}", "snap-1", f"/dev/xvd{number}", 1) for number in range(3))
    made = back_up(store, snapshots, tmp_path, volumes=volumes)
    done = restore(store, snapshots, tmp_path, made["restore_point"], volumes=frozenset({"vol-1"}))
    assert done["snapshots"] == {"vol-1": "snap-new-1"}
    assert list(done["digests"]) == ["vol-1"]
    assert len(restore(store, snapshots, tmp_path, made["restore_point"])["snapshots"]) == 3
    with pytest.raises(AgentError, match="has no volume vol-9") as raised:
        restore(store, snapshots, tmp_path, made["restore_point"], volumes=frozenset({"vol-1", "vol-9"}))
    assert raised.value.code == "VolumeMissing"
    assert len(snapshots.client_tokens) == 4


def test_each_attempt_of_a_restore_makes_snapshots_of_its_own(store: MemoryObjects, tmp_path: Path) -> None:
    """Those of a worker that was lost are half written, or sealed."""
    snapshots = Snapshots()
    made = back_up(store, snapshots, tmp_path)
    for attempt in (1, 1, 2):
        restore(store, snapshots, tmp_path, made["restore_point"], attempt=attempt)
    first, again, second = snapshots.client_tokens
    assert first == again != second


def test_a_store_that_fails_leaves_no_restore_point(store: MemoryObjects, tmp_path: Path) -> None:
    def fail(key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        raise AgentError("SlowDown", "S3 is away")

    store.put = fail  # type: ignore[method-assign]
    with pytest.raises(AgentError, match="S3 is away"):
        back_up(store, Snapshots(), tmp_path)
    assert not [key for key in store.objects if "/points/" in key]


def test_the_manifests_digest_is_that_of_the_object(store: MemoryObjects, tmp_path: Path) -> None:
    made = back_up(store, Snapshots(), tmp_path)
    assert made["manifest_sha256"] == hashlib.sha256(store.objects[made["manifest_key"]]).hexdigest()


@pytest.mark.parametrize(
    ("encryption", "expected"),
    [
        ({}, [{}, {}]),
        ({"vol-1": ARN}, [{"Encrypted": True, "KmsKeyArn": ARN}, {}]),
        ({"vol-2": ""}, [{}, {"Encrypted": True}]),
    ],
    ids=["none", "a key", "the account's key"],
)
def test_a_volume_is_encrypted_as_the_target_says(
    store: MemoryObjects, tmp_path: Path, encryption: dict[str, str], expected: list[dict[str, object]]
) -> None:
    volumes = tuple(JobVolume(f"vol-{number}", "snap-1", "/dev/xvdf", 100) for number in (1, 2))
    made = back_up(store, Snapshots(), tmp_path, volumes=volumes)
    snapshots = Snapshots([])
    target = Target("us-east-1", {"a": "b"}, encryption)
    restored = restore(store, snapshots, tmp_path, made["restore_point"], target=target)
    tags = [{"Key": "a", "Value": "b"}]
    assert snapshots.options == [{"Tags": tags, **each} for each in expected]
    assert restored["snapshots"] == {"vol-1": "snap-new-1", "vol-2": "snap-new-2"}


def test_a_snapshot_is_told_before_anything_is_written_to_it(store: MemoryObjects, tmp_path: Path) -> None:
    """The controller must know what there is to remove, whatever becomes of the agent."""
    made = back_up(store, Snapshots(), tmp_path)
    told = []

    class Watched(Snapshots):
        def put_block(self, snapshot_id: str, index: int, block: bytes, digest: bytes) -> None:
            if not told:
                told.append(json.loads((tmp_path / "status.json").read_text()))
            super().put_block(snapshot_id, index, block, digest)

    restore(store, Watched([]), tmp_path, made["restore_point"])
    assert (told[0]["state"], told[0]["snapshots"]) == ("running", {"vol-1": "snap-new-1"})
