# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer that is killed at any put: whoever reads sees the restore points as before, or the new one whole."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from mayfly_agent.backup import Backup
from mayfly_agent.ebs import NotComparable
from mayfly_agent.errors import AgentError
from mayfly_agent.job import BackupJob, JobVolume, RepositoryPlace
from mayfly_agent.objects import Lock
from mayfly_agent.repository import keys, repository
from mayfly_agent.status import Status

from tests.unit.agent.memory import Condition, DyingObjects, Killed, MemoryObjects
from tests.unit.agent.repository.points import (
    KEY,
    MASTER,
    RESOURCE,
    RUN,
    Volumes,
    block,
    expected,
    manifest,
    read_point,
    write_point,
)

OLD: Volumes = {"vol-1": {0: 1, 1030: 2}}
NEW: Volumes = {"vol-1": {0: 1, 1: 3, 1030: 4, 2047: 5}, "vol-2": {}, "vol-3": {7: 6}}
# packs (blocks two at a time), leaves, roots: 2 + 2 + 1 of vol-1, none of vol-2, 1 + 1 + 1 of vol-3; the manifest
PUTS = 9


def repository_with_one_point() -> MemoryObjects:
    store = MemoryObjects()
    repository.create(store, lambda identity: [keys.wrap_with_recovery_key(MASTER, b"r" * 32, identity)])
    write_point(store, RESOURCE, OLD)
    return store


def check(objects: dict[str, bytes], new: Volumes) -> list[str]:
    """The restore points that are listed, each of which has been read whole."""
    store = MemoryObjects()
    store.objects = objects
    listed = repository.list_points(store, RESOURCE)
    contents = [read_point(store, RESOURCE, key) for key in listed.values()]
    assert contents == [expected(OLD), *[expected(new)] * (len(contents) - 1)]
    return list(listed)


@pytest.mark.parametrize("puts", range(PUTS + 1))
def test_killed_at_any_put(puts: int) -> None:
    store = repository_with_one_point()
    before = check(store.objects, NEW)
    dying = DyingObjects(store.objects, puts)
    if puts < PUTS:
        with pytest.raises(Killed):
            write_point(dying, RESOURCE, NEW, hours=1)
        assert check(store.objects, NEW) == before
    else:
        write_point(dying, RESOURCE, NEW, hours=1)
    assert len(dying.puts) == puts
    assert (manifest(hours=1).id in check(store.objects, NEW)) == (puts == PUTS)
    # What it left is in nobody's way.
    write_point(store, RESOURCE, NEW, hours=2)
    assert check(store.objects, NEW)[-1] == manifest(hours=2).id


class Snapshots:
    """What the agent reads from."""

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        yield from ((index, "token") for index in sorted(NEW[snapshot_id]))

    def list_changed(self, first: str, second: str) -> Iterator[tuple[int, str | None]]:
        raise NotComparable(first, second, "no")

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        content = block(NEW[snapshot_id][index])
        return content, hashlib.sha256(content).digest()


class FailingObjects(MemoryObjects):
    """Lets a number of puts through, whichever threads send them; then every one fails, as when the network is cut."""

    def __init__(self, objects: dict[str, bytes], puts: int) -> None:
        super().__init__()
        self.objects = objects
        self._left = puts
        self._lock = threading.Lock()

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        with self._lock:
            if self._left <= 0:
                raise AgentError("S3Unreachable", "S3 could not be reached")
            self._left -= 1
            return super().put(key, body, condition, lock)


# As PUTS, but a pack holds all blocks of a volume: 1 + 2 + 1, 1 + 1 + 1, 1
AGENTS_PUTS = 8


@pytest.mark.parametrize("puts", range(AGENTS_PUTS + 1))
def test_the_agents_backup_cut_off_at_any_put(puts: int, tmp_path: Path) -> None:
    """With all its threads: the manifest is sent when everything else has arrived, and not before."""
    store = repository_with_one_point()
    before = check(store.objects, NEW)
    failing = FailingObjects(store.objects, puts)
    job = BackupJob(
        run=RUN,
        seconds_left=3600.0,
        resource=dict(manifest().resource),
        repository=RepositoryPlace("bucket", "", "us-east-1"),
        resource_key=KEY,
        concurrency=4,
        source_region="us-east-1",
        restore_point_time=datetime.fromisoformat(manifest(hours=1).time),
        volumes=tuple(JobVolume(each, each, "/dev/xvdf", 1) for each in NEW),
    )
    with Status(tmp_path / "status.json") as status:
        backup = Backup(job, Snapshots(), failing, status)
        if puts < AGENTS_PUTS:
            with pytest.raises(AgentError, match="could not be reached"):
                backup.run()
            assert check(store.objects, NEW) == before
        else:
            assert backup.run()["restore_point"] == manifest(hours=1).id
            assert check(store.objects, NEW) == [*before, manifest(hours=1).id]
            assert "/points/" in failing.puts[-1]
    assert len(failing.puts) == puts
