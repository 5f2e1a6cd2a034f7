# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of any size without data: ``python -m tests.benchmarks.repository.simulated NAME GIB BLOCKS``.

Prints {seconds, cpu_seconds, peak_mib, blocks} as its last line. What is not there costs nothing to read or to store:
these are the agent's own time and memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mayfly_agent import __version__
from mayfly_agent.backup import Backup
from mayfly_agent.blocks import BLOCK_SIZE, BLOCKS_PER_GIB
from mayfly_agent.job import BackupJob, JobVolume
from mayfly_agent.objects import Lock
from mayfly_agent.repository import keys, layout, repository, seal
from mayfly_agent.repository.layout import ResourceName
from mayfly_agent.repository.manifest import Manifest, VolumeRecord
from mayfly_agent.repository.packs import Location
from mayfly_agent.repository.trees import Entry, Place, TreeWriter
from mayfly_agent.status import Status

from tests.benchmarks.repository.agent import KEY, Job, peak_mib
from tests.unit.agent.memory import Condition, MemoryObjects

_ZEROS = bytes(BLOCK_SIZE)


class Nothing(MemoryObjects):
    """Keeps neither packs nor trees: nobody reads them again."""

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        return "" if "/packs/" in key or "/trees/" in key else super().put(key, body, condition, lock)


class Source:
    """A snapshot of ``blocks`` blocks, each unlike all others; none of them has changed since any other snapshot."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        return ((index, "token") for index in range(self._blocks))

    def list_changed(self, first: str, second: str) -> Iterator[tuple[int, str | None]]:
        return iter(())

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        return _ZEROS, index.to_bytes(32, "big")


def listed(gib: int, blocks: int) -> dict[str, Any]:
    """A first backup of a volume of so many GiB, of which the first ``blocks`` blocks are listed."""
    store = Nothing()
    _create(store)
    with _measured(blocks) as found:
        _back_up(store, Source(blocks), gib, "one", "")
    return found


def unchanged(gib: int, blocks: int) -> dict[str, Any]:
    """An incremental backup of such a volume in which nothing has changed."""
    store = MemoryObjects()
    _create(store)
    parent = _commit(store, gib, blocks)
    with _measured(blocks) as found:
        _back_up(store, Source(blocks), gib, "two", parent)
    return found


def _commit(store: MemoryObjects, gib: int, blocks: int) -> str:
    """A restore point of a volume of which nothing but the tree is there; its id."""
    common = Job("", "", "bucket", "one").common()
    name, pack, key = ResourceName.from_dict(common["resource"]), seal.new_id(), seal.key_id(KEY)
    tree = TreeWriter(Place(name, "vol-1"), KEY, gib * BLOCKS_PER_GIB, store.put)
    for index in range(blocks):
        tree.add(Entry(index, index.to_bytes(32, "big"), Location(pack, key, index % 32, index % 32 * 1000, 1000)))
    root = tree.finish()
    volume = VolumeRecord(
        volume_id="vol-1",
        snapshot_id="snap-one",
        device="/dev/xvdf",
        size_gib=gib,
        root=root.id,
        levels=root.levels,
        blocks=root.blocks,
        digest=root.digest,
        bytes_read=0,
        bytes_stored=0,
        seconds=0.0,
    )
    now = datetime.now(UTC) - timedelta(hours=1)
    manifest = Manifest(
        id=layout.point_id(now, common["run"]),
        time=now.isoformat(),
        run=common["run"],
        agent=__version__,
        resource=common["resource"],
        settings={},
        volumes=(volume,),
    )
    repository.commit(store, manifest, KEY)
    return manifest.id


def _create(store: MemoryObjects) -> None:
    repository.create(store, lambda identity: [keys.wrap_with_recovery_key(KEY, KEY, identity)])


def _back_up(store: MemoryObjects, source: Source, gib: int, run: str, parent: str) -> str:
    volumes = (JobVolume("vol-1", f"snap-{run}", "/dev/xvdf", gib, parent_snapshot_id="snap-one" if parent else ""),)
    more = {"volumes": volumes, "restore_point_time": datetime.now(UTC), "source_region": "us-east-1", "parent": parent}
    wanted = BackupJob(**Job("", "", "bucket", run).common(), **more)
    with tempfile.TemporaryDirectory() as folder, Status(Path(folder, "status.json")) as status:
        return str(Backup(wanted, source, store, status).run()["restore_point"])


@contextmanager
def _measured(blocks: int) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {"blocks": blocks}
    began, cpu = time.monotonic(), time.process_time()
    yield found
    found |= {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu, "peak_mib": peak_mib()}


PROGRAMS: dict[str, Callable[[int, int], dict[str, Any]]] = {"listed": listed, "unchanged": unchanged}

if __name__ == "__main__":
    size, count = int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(PROGRAMS[sys.argv[1]](size, count or size * BLOCKS_PER_GIB)))
