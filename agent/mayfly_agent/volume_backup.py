# SPDX-License-Identifier: GPL-3.0-or-later
"""One volume of a backup: which of its blocks are read, and which of these are stored.

Of a volume that the parent has too, only what EBS names as changed is read, or, where EBS cannot say it or the parent
is damaged, all of it; and only what differs from the parent, or is damaged in it, is stored. Nor is what an earlier
attempt has stored that died.

Memory: the blocks in flight (twice the concurrency, at most 1 MiB each), 6 packs of 16 MiB, and of a parent and of an
earlier attempt 6 leaves each.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Protocol

import zstandard

from .attempts import Earlier
from .blocks import BLOCK_SIZE, BLOCKS_PER_GIB, FANOUT, ZERO_DIGEST
from .ebs import NotComparable
from .job import BackupJob, JobVolume
from .objects import ObjectStore
from .parents import END, Leaf, Parent, ParentDamaged, ParentPoint, record_for, why_not_changes
from .pipeline import ordered
from .repository.damaged import Damage
from .repository.manifest import VolumeRecord
from .repository.trees import Entry, Place, Root
from .status import Status
from .volumes import VolumeWriter
from .writing import Writing

_ZSTD_LEVEL = 1
_LEAVES_AHEAD = 4
_COUNTERS = (
    "blocks_total",
    "blocks_done",
    "blocks_read",
    "blocks_stored",
    "blocks_resumed",
    "bytes_read",
    "bytes_stored",
)

Listed = Iterator[tuple[int, str | None]]


class Source(Protocol):
    """Where blocks come from: see ebs.DirectSnapshots."""

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        """(index, token) of every written block, ascending."""

    def list_changed(self, first: str, second: str) -> Iterator[tuple[int, str | None]]:
        """(index, token) of every block that may differ, ascending; raises NotComparable, the list itself too."""

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        """(block, SHA-256)."""


@dataclass(frozen=True)
class _Asked:
    """A block to look at; ``token`` is None for one that is not there any more."""

    leaf: Leaf
    index: int
    token: str | None


@dataclass(frozen=True)
class _Read:
    """A block that was looked at: neither ``entry`` nor ``compressed`` for a hole.

    ``entry`` is where it is stored already, by the parent or (``resumed``) by an earlier attempt.
    """

    leaf: Leaf
    index: int
    from_source: bool = True
    entry: Entry | None = None
    resumed: bool = False
    digest: bytes = b""
    compressed: bytes | None = None


@dataclass(frozen=True)
class Way:
    """How a volume is backed up; see VolumeRecord."""

    method: str
    reason: str = ""
    parent: Parent | None = None


class VolumeBackup:
    """All volumes of a backup, one after the other."""

    def __init__(
        self,
        job: BackupJob,
        source: Source,
        store: ObjectStore,
        status: Status,
        *,
        readers: Executor,
        writers: Executor,
    ) -> None:
        self._job = job
        self._source = source
        self._store = store
        self._status = status
        self._readers, self._writers = readers, writers
        self._local = threading.local()

    def run(self, volume: JobVolume, parent: ParentPoint | None, why: str, writing: Writing) -> VolumeRecord:
        """The volume as it stands in the manifest; ``why`` there is no parent. Raises AgentError."""
        status = self._status
        status.begin("Reading", volume.volume_id, _COUNTERS)
        way, listed = self._way(volume, parent, why)
        while True:  # once for each way at most; what was put for one that was given up, nothing will refer to
            try:
                return self._written(volume, way, listed, writing)
            except NotComparable as error:
                way = Way("compared", error.message, way.parent)
            except ParentDamaged as error:
                way = Way("full", str(error))
            listed = self._source.list_blocks(volume.snapshot_id)

    def _way(self, volume: JobVolume, point: ParentPoint | None, why: str) -> tuple[Way, Listed]:
        """How to back up a volume, and the blocks to look at."""
        record = None
        manifest, damage = point or (None, Damage())
        if manifest is not None:
            record = record_for(volume, manifest, {each.volume_id for each in self._job.volumes})
            why = "" if record else "the parent does not have it"
        if manifest is None or record is None:
            return Way("full", why), self._source.list_blocks(volume.snapshot_id)
        damaged = damage.of(record.volume_id)
        parent = Parent(self._job.name, record, self._job.resource_key, self._store, damaged)
        why = why_not_changes(volume, record, damaged)
        if not why:
            try:
                listed = self._source.list_changed(volume.parent_snapshot_id, volume.snapshot_id)
                return Way("changed", "", parent), listed
            except NotComparable as error:
                why = error.message
        return Way("compared", why, parent), self._source.list_blocks(volume.snapshot_id)

    def _written(self, volume: JobVolume, way: Way, listed: Listed, writing: Writing) -> VolumeRecord:
        """The volume as it stands in the manifest then; raises ParentDamaged, and NotComparable."""
        job, status, name, parent = self._job, self._status, volume.volume_id, way.parent
        status.stage(f"Reading {name} ({way.method})")
        place = parent.place if parent else Place(job.name, name)

        def put(key: str, body: bytes) -> None:
            writing.put(key, body)
            status.count(name, bytes_stored=len(body))

        writer = VolumeWriter(place, job.resource_key, volume.size_gib * BLOCKS_PER_GIB, put, self._writers)
        full = way.method == "full"
        earlier = writing.earlier(volume.volume_id, place.volume_id, volume.snapshot_id, full=full)
        resumed = 0

        def record(root: Root) -> VolumeRecord:
            return record_of(volume, way, root, status.unit(name), stored=writer.blocks_stored, resumed=resumed)

        # What EBS does not name as changed is the parent's.
        keeps = parent if way.method == "changed" else None
        read_until = 0
        asked = self._asked(name, listed, parent, earlier)
        done = ordered(self._readers, lambda each: self._read(volume.snapshot_id, each), asked, 2 * job.concurrency)
        for leaf, reads in groupby(done, attrgetter("leaf")):
            entries = dict(leaf.entries) if keeps else {}
            for read in reads:
                self._count(name, read)
                resumed += int(read.resumed)
                if read.entry is not None:
                    entries[read.index] = read.entry
                elif read.compressed is not None:
                    entries[read.index] = writer.store(read.index, read.digest, read.compressed)
                else:
                    entries.pop(read.index, None)
            if keeps:
                _share(keeps, read_until, leaf.position, writer)
                read_until = leaf.position + 1
            if _add(leaf, entries, writer) or resumed:
                writing.resumed = True
            writing.note(lambda: record(writer.so_far()), leaf.position + 1)
        if keeps:
            _share(keeps, read_until, END, writer)
        return record(writer.finish())

    def _count(self, name: str, read: _Read) -> None:
        taken = int(read.from_source)
        self._status.count(
            name,
            blocks_done=1,
            blocks_read=taken,
            bytes_read=BLOCK_SIZE * taken,
            blocks_stored=int(read.compressed is not None),
            blocks_resumed=int(read.resumed),
        )

    def _asked(self, name: str, listed: Listed, parent: Parent | None, earlier: Earlier | None) -> Iterator[_Asked]:
        """The blocks as pages of them come: a volume's list may be larger than the worker's memory."""
        leaves = groupby(listed, lambda each: each[0] // FANOUT)
        if parent is None and earlier is None:
            for position, blocks in leaves:
                leaf = Leaf(position)
                for index, token in blocks:
                    self._status.count(name, blocks_total=1)
                    yield _Asked(leaf, index, token)
            return

        def look(found: tuple[int, list[tuple[int, str | None]]]) -> tuple[Leaf, list[tuple[int, str | None]]]:
            leaf = parent.leaf(found[0]) if parent else Leaf(found[0])
            return earlier.beside(leaf) if earlier else leaf, found[1]

        whole = ((position, list(blocks)) for position, blocks in leaves)
        for leaf, found in ordered(self._readers, look, whole, _LEAVES_AHEAD):
            self._status.count(name, blocks_total=len(found))
            yield from (_Asked(leaf, index, token) for index, token in found)

    def _read(self, snapshot_id: str, asked: _Asked) -> _Read:
        leaf, index = asked.leaf, asked.index
        if asked.token is None:
            return _Read(leaf, index, from_source=False)
        before, found = leaf.entries.get(index), leaf.earlier.entries.get(index) if leaf.earlier else None
        if leaf.was_read:  # the token serves nothing then, and what is not found there is zeros
            return _Read(leaf, index, from_source=False, entry=found, resumed=found not in (None, before))
        block, digest = self._source.get_block(snapshot_id, index, asked.token)
        if digest == ZERO_DIGEST:
            return _Read(leaf, index)
        for entry in (before, found):
            if entry is not None and entry.digest == digest:
                return _Read(leaf, index, entry=entry, resumed=entry is not before)
        if not hasattr(self._local, "compressor"):
            self._local.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        return _Read(leaf, index, digest=digest, compressed=self._local.compressor.compress(block))


def record_of(
    volume: JobVolume,
    way: Way,
    root: Root,
    counters: Mapping[str, float] | None = None,
    *,
    stored: int = 0,
    resumed: int = 0,
) -> VolumeRecord:
    """A volume as it stands in a manifest; ``counters`` are those of its status."""
    counted = counters or dict.fromkeys((*_COUNTERS, "seconds"), 0)
    place = way.parent.place.volume_id if way.parent else volume.volume_id
    return VolumeRecord(
        volume_id=volume.volume_id,
        snapshot_id=volume.snapshot_id,
        device=volume.device,
        size_gib=volume.size_gib,
        root=root.id,
        levels=root.levels,
        blocks=root.blocks,
        digest=root.digest,
        bytes_read=int(counted["bytes_read"]),
        bytes_stored=int(counted["bytes_stored"]),
        seconds=counted["seconds"],
        attributes=volume.attributes,
        sealed_as=None if place == volume.volume_id else place,
        method=way.method,
        reason=way.reason,
        blocks_stored=stored,
        blocks_resumed=resumed,
    )


def _share(parent: Parent, first: int, end: int, writer: VolumeWriter) -> None:
    """The parent's leaves from ``first`` to ``end`` - 1, none of which has changed."""
    for level, position, node in parent.between(first, end):
        writer.share(level, position, node)


def _add(leaf: Leaf, entries: dict[int, Entry], writer: VolumeWriter) -> bool:
    """A leaf of the new tree: the parent's own, or an earlier attempt's (True), when nothing in it is another."""
    for known in (leaf, leaf.earlier):
        if known is not None and known.node is not None and entries == known.entries:
            writer.share(0, leaf.position, known.node)
            return known is not leaf
    for index in sorted(entries):
        writer.add(entries[index])
    return False
