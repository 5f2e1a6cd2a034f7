# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs, and both sides of the EBS direct APIs in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mayfly_agent.attempts import EVERY_SECONDS
from mayfly_agent.backup import Backup
from mayfly_agent.blocks import BLOCK_SIZE
from mayfly_agent.ebs import NotComparable
from mayfly_agent.job import BackupJob, JobVolume, RepositoryPlace, RestoreJob, Target
from mayfly_agent.objects import ObjectStore
from mayfly_agent.progress import Progress
from mayfly_agent.restore import Restore
from mayfly_agent.status import Status

ZEROS = 5
RUN = "20261124T000000Z-abcdef"


class Snapshots:
    """Snapshots that are read, and that are written; ``options`` and ``client_tokens`` are those of each start."""

    def __init__(self, indexes: Iterator[int] | list[int] | None = None) -> None:
        wanted = [*range(40), *range(3000, 3010), 204_799] if indexes is None else list(indexes)
        self.blocks = {each: os.urandom(1000) + bytes(BLOCK_SIZE - 1000) for each in wanted}
        if indexes is None:
            self.blocks[ZEROS] = bytes(BLOCK_SIZE)
        self.written: dict[int, bytes] = {}
        self.completed: tuple[int, bytes] | None = None
        self.options: list[dict[str, Any]] = []
        self.client_tokens: list[str] = []

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        yield from ((index, "token") for index in sorted(self.blocks))

    def list_changed(self, first: str, second: str) -> Iterator[tuple[int, str | None]]:
        raise NotComparable(first, second, "it is gone")

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        return self.blocks[index], hashlib.sha256(self.blocks[index]).digest()

    def start_snapshot(self, size_gib: int, client_token: str, description: str, **options: Any) -> str:
        self.options.append(options)
        self.client_tokens.append(client_token)
        return f"snap-new-{len(self.options)}"

    def put_block(self, snapshot_id: str, index: int, block: bytes, digest: bytes) -> None:
        self.written[index] = block

    def complete_snapshot(self, snapshot_id: str, blocks: int, aggregate: bytes) -> None:
        self.completed = (blocks, aggregate)


def job(**parts: Any) -> dict[str, Any]:
    """The fields that every job has."""
    common: dict[str, Any] = {
        "run": RUN,
        "seconds_left": 3600.0,
        "resource": {"account": "444455556666", "region": "us-east-1", "kind": "ec2", "id": "i-1", "name": "web-1"},
        "repository": RepositoryPlace("bucket", "", "us-east-1"),
        "resource_key": b"k" * 32,
        "concurrency": 4,
    }
    return {**common, **parts}


def back_up(
    store: ObjectStore,
    source: Any,
    folder: Path,
    *,
    progress: Progress | None = None,
    notes_every: float = EVERY_SECONDS,
    **parts: Any,
) -> dict[str, Any]:
    """A backup of vol-1, of 100 GiB unless said otherwise."""
    volumes = (JobVolume("vol-1", "snap-1", "/dev/xvdf", 100),)
    common = {"volumes": volumes, "restore_point_time": datetime.now(UTC), "source_region": "us-east-1"}
    wanted = BackupJob(**job(**{**common, **parts}))
    with Status(folder / "status.json", progress) as status:
        return Backup(wanted, source, store, status, notes_every).run()


def restore(store: ObjectStore, sink: Any, folder: Path, point: str, **parts: Any) -> dict[str, Any]:
    """A restore of all volumes of a restore point."""
    wanted = RestoreJob(**job(**{"restore_point": point, "target": Target("us-east-1"), "attempt": 1, **parts}))
    with Status(folder / "status.json") as status:
        return Restore(wanted, sink, store, status).run()
