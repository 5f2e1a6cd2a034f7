# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore: blocks of a restore point, opened, verified, and put into new snapshots.

Memory: 5 ranges of packs, being read or written (each 32 blocks and at most 8 MiB of a pack), the blocks in flight
(twice the concurrency), and 3 leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, TypeVar

from .blocks import BLOCK_SIZE, BLOCKS_PER_GIB, VolumeDigest
from .errors import AgentError
from .job import RestoreJob
from .objects import ObjectStore
from .pipeline import ordered, pools
from .repository import layout, repository
from .repository.manifest import Manifest, VolumeRecord
from .repository.packs import PackReader
from .repository.trees import Entry, TreeReader
from .status import Status

_RANGE_BYTES = 8 * 1024 * 1024
# What compresses well must not fill the memory when it is opened: 16 MiB of blocks a range.
_RANGE_BLOCKS = 32
_RANGES_AT_ONCE = 4
# One is read while the one before it is taken apart.
_NODES_AT_ONCE = 2
_COUNTERS = ("blocks_total", "blocks_done", "bytes_read", "bytes_stored")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Sink(Protocol):
    """Where blocks go to: see ebs.DirectSnapshots."""

    def start_snapshot(self, size_gib: int, client_token: str, description: str, **options: Any) -> str:
        """Begin a snapshot."""

    def put_block(self, snapshot_id: str, index: int, block: bytes, digest: bytes) -> None:
        """Write a block."""

    def complete_snapshot(self, snapshot_id: str, blocks: int, aggregate: bytes) -> None:
        """Seal the snapshot."""


@dataclass(frozen=True)
class Range:
    """Blocks that lie one behind the other in one pack."""

    entries: tuple[Entry, ...]

    @property
    def start(self) -> int:
        return self.entries[0].location.offset

    @property
    def length(self) -> int:
        last = self.entries[-1].location
        return last.offset + last.length - self.start


def ranges(entries: Iterator[Entry]) -> Iterator[Range]:
    """Join neighbours to ranges of at most 8 MiB."""
    held: list[Entry] = []
    for entry in entries:
        at = entry.location
        if held:
            last = held[-1].location
            follows = at.pack == last.pack and at.offset == last.offset + last.length
            if (
                not follows
                or len(held) == _RANGE_BLOCKS
                or at.offset + at.length - held[0].location.offset > _RANGE_BYTES
            ):
                yield Range(tuple(held))
                held = []
        held.append(entry)
    if held:
        yield Range(tuple(held))


class Restore:
    """One run of it."""

    def __init__(self, job: RestoreJob, sink: Sink, store: ObjectStore, status: Status) -> None:
        self._job = job
        self._sink = sink
        self._store = store
        self._status = status

    def run(self) -> dict[str, object]:
        """Do it; {snapshots: {volume: new snapshot}, digests}. Raises AgentError."""
        job = self._job
        points = repository.list_points(self._store, job.name)
        if job.restore_point not in points:
            message = f"The restore point {job.restore_point} of {job.name.path} is not in the repository."
            raise AgentError("RestorePointMissing", message, "See mayfly_restore_point.")
        manifest = repository.read_manifest(self._store, points[job.restore_point], job.resource_key)
        snapshots: dict[str, str] = {}
        digests: dict[str, str] = {}
        with pools(self._status.progress, read=_RANGES_AT_ONCE, write=job.concurrency) as (readers, writers):
            for volume in self._wanted(manifest):
                snapshots[volume.volume_id] = self._volume(manifest, volume, readers, writers)
                digests[volume.volume_id] = volume.digest
        return {"snapshots": snapshots, "digests": digests}

    def _wanted(self, manifest: Manifest) -> list[VolumeRecord]:
        """The volumes to restore; raises AgentError when one that was named is not there."""
        named = self._job.volumes or {each.volume_id for each in manifest.volumes}
        missing = named - {each.volume_id for each in manifest.volumes}
        if missing:
            message = f"The restore point {manifest.id} has no volume {', '.join(sorted(missing))}."
            raise AgentError("VolumeMissing", message, "Name volumes that it has.")
        return [each for each in manifest.volumes if each.volume_id in named]

    def _volume(self, manifest: Manifest, volume: VolumeRecord, readers: Executor, writers: Executor) -> str:
        job, status, name = self._job, self._status, volume.volume_id
        status.begin("Writing", name, _COUNTERS)
        status.count(name, blocks_total=volume.blocks)
        snapshot = self._start(manifest, volume)
        tree = TreeReader(manifest.place(volume), job.resource_key, volume.tree(), self._store)

        def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            return ordered(readers, function, items, _NODES_AT_ONCE)

        parts = ranges(tree.entries(ahead))
        read = ordered(readers, lambda each: self._read(manifest, volume, each), parts, _RANGES_AT_ONCE)
        digest, aggregate, written = VolumeDigest(volume.size_gib * BLOCKS_PER_GIB), hashlib.sha256(), 0

        def write(each: tuple[Entry, bytes]) -> Entry:
            entry, block = each
            self._sink.put_block(snapshot, entry.index, block, entry.digest)
            return entry

        for entry in ordered(writers, write, chain.from_iterable(read), 2 * job.concurrency):
            digest.add(entry.index, entry.digest)
            aggregate.update(entry.digest)
            written += 1
            status.count(name, blocks_done=1, bytes_stored=BLOCK_SIZE)
        if written != volume.blocks or digest.hexdigest() != volume.digest:
            message = f"{name} of {manifest.id}: its tree does not give what its manifest promises."
            raise AgentError("RestorePointDamaged", message, "Restore another restore point.")
        self._sink.complete_snapshot(snapshot, written, aggregate.digest())
        return snapshot

    def _start(self, manifest: Manifest, volume: VolumeRecord) -> str:
        """The new snapshot, told to the controller."""
        job, name = self._job, volume.volume_id
        options: dict[str, Any] = {"Tags": [{"Key": key, "Value": each} for key, each in job.target.tags.items()]}
        key = job.target.encryption.get(name)
        if key is not None:  # without a key's ARN, EBS takes the account's default key
            options |= {"Encrypted": True, **({"KmsKeyArn": key} if key else {})}
        token = hashlib.sha256(f"{job.run}/{job.name.path}/{name}/{job.attempt}".encode()).hexdigest()
        snapshot = self._sink.start_snapshot(volume.size_gib, token, f"{name} of {manifest.id}", **options)
        self._status.started(name, snapshot)
        return snapshot

    def _read(self, manifest: Manifest, volume: VolumeRecord, part: Range) -> list[tuple[Entry, bytes]]:
        """The blocks of a range, opened and verified."""
        first = part.entries[0].location
        key = layout.pack_key(self._job.name, first.pack)
        body = self._store.get_range(key, part.start, part.length)
        self._status.count(volume.volume_id, bytes_read=len(body))
        reader = PackReader(self._job.name, self._job.resource_key, first.pack)
        sealed_as = manifest.place(volume).volume_id
        opened: list[tuple[Entry, bytes]] = []
        for entry in part.entries:
            at = entry.location
            frame = body[at.offset - part.start : at.offset - part.start + at.length]
            opened.append((entry, reader.block(at, frame, sealed_as, entry.index, entry.digest)))
        return opened
