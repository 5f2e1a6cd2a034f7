# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that change from snapshot to snapshot, as EBS gives their blocks and names their changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mayfly_agent.ebs import NotComparable
from mayfly_agent.health import UNIT, HealthCheck
from mayfly_agent.job import JobVolume
from mayfly_agent.repository import layout, repository
from mayfly_agent.repository.layout import ResourceName
from mayfly_agent.repository.manifest import Manifest
from mayfly_agent.repository.trees import TreeReader
from mayfly_agent.repository_jobs import Checked, HealthCheckJob
from mayfly_agent.status import Status

from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository.points import block, digest
from tests.unit.agent.transfers import RUN, Snapshots, back_up, job, restore

KEY = b"k" * 32
NAME = ResourceName("444455556666", "us-east-1", "ec2", "i-1")
BEGAN = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
Content = Mapping[int, int]
"""Of a snapshot, the number that fills each block; 0 is a block of zeros."""


class Line:
    """Snapshots by id. ``more``: indexes that are named as changed although they are not; ``read``: what was read.

    ``ends_after``: how many changes EBS names before it names no more, None for all.
    """

    def __init__(self, snapshots: Mapping[str, Content]) -> None:
        self.snapshots = dict(snapshots)
        self.gone: set[str] = set()
        self.more: set[int] = set()
        self.ends_after: int | None = None
        self.read: list[int] = []
        self.compared: list[tuple[str, str]] = []

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        yield from ((index, f"{snapshot_id} {index}") for index in sorted(self.snapshots[snapshot_id]))

    def list_changed(self, first: str, second: str) -> Iterator[tuple[int, str | None]]:
        if first in self.gone:
            raise NotComparable(first, second, "it is gone")
        self.compared.append((first, second))
        before, now = self.snapshots[first], self.snapshots[second]
        differ = {index for index in before.keys() | now.keys() if before.get(index) != now.get(index)}
        named = sorted(differ | (self.more & now.keys()))
        return self._named(first, second, named)

    def _named(self, first: str, second: str, indexes: list[int]) -> Iterator[tuple[int, str | None]]:
        for count, index in enumerate(indexes):
            if count == self.ends_after:
                raise NotComparable(first, second, "it is gone by now")
            yield index, f"{second} {index}" if index in self.snapshots[second] else None

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        assert token == f"{snapshot_id} {index}"
        self.read.append(index)
        number = self.snapshots[snapshot_id][index]
        return block(number), digest(number)


class Points:
    """Restore points of one resource, an hour apart, with its ``key``."""

    def __init__(self, store: MemoryObjects, folder: Path, key: bytes = KEY) -> None:
        self.key = key
        self.store = store
        self.folder = folder
        self.hours = 0

    def make(self, line: Line, *volumes: JobVolume, **parts: Any) -> Manifest:
        """Back these up."""
        time = BEGAN + timedelta(hours=self.hours)
        self.hours += 1
        common = {"volumes": volumes, "restore_point_time": time, "resource_key": self.key}
        made = back_up(self.store, line, self.folder, **common, **parts)
        return self.manifest(made["restore_point"])

    def next_id(self, run: str = RUN) -> str:
        """The id of the next point."""
        return layout.point_id(BEGAN + timedelta(hours=self.hours), run)

    def manifest(self, point: str) -> Manifest:
        return repository.read_manifest(self.store, layout.point_key(NAME, point), self.key)

    def restored(self, point: str) -> dict[int, bytes]:
        """The blocks of a point with one volume."""
        sink = Snapshots([])
        restore(self.store, sink, self.folder, point, resource_key=self.key)
        return sink.written

    def check(self, mode: str = "full", **parts: Any) -> dict[str, Any]:
        """A health check of the resource: its result, and what was counted."""
        resource = {"account": "444455556666", "region": "us-east-1", "kind": "repository", "id": "bucket"}
        common = job(resource=resource, **{"resources": (Checked(NAME, self.key),), "mode": mode, **parts})
        del common["resource_key"]
        with Status(self.folder / "status.json") as status:
            made: dict[str, Any] = HealthCheck(HealthCheckJob(**common), self.store, status).run()
            counted = {name: status.unit(UNIT)[name] for name in ("blocks_done", "bytes_read", "nodes_done")}
            return {**made["health_check"], "warnings": made["warnings"], **counted}

    def referenced(self, point: str) -> set[str]:
        """Keys of the nodes and packs that a point stands on."""
        manifest, found = self.manifest(point), set()
        for volume in manifest.volumes:
            for opened in TreeReader(manifest.place(volume), self.key, volume.tree(), self.store).walk(set()):
                found.add(layout.node_key(NAME, opened.node.id))
                found |= {layout.pack_key(NAME, entry.location.pack) for entry in opened.entries}
        return found


def volume(snapshot: str, before: str = "", **parts: Any) -> JobVolume:
    """vol-1 of 4 GiB, eight leaves, as it is in a snapshot; the parent was made from ``before``."""
    common = {"volume_id": "vol-1", "device": "/dev/xvdf", "size_gib": 4}
    return JobVolume(**{**common, "snapshot_id": snapshot, "parent_snapshot_id": before, **parts})


def blocks(content: Content) -> dict[int, bytes]:
    """What a restore writes of a snapshot."""
    return {index: block(number) for index, number in content.items() if number}


def flipped(body: bytes, at: int) -> bytes:
    """With another byte at an offset."""
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
