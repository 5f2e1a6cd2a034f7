# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup: blocks of snapshots, verified, compressed, sealed in packs; the manifest last.

Of a volume that the parent has too, only what EBS names as changed is read, or, where EBS cannot say it or the parent
is damaged, all of it; and only what differs from the parent, or is damaged in it, is stored. Nor is what an earlier
attempt has stored that died.

Memory: the blocks in flight (twice the concurrency, at most 1 MiB each), 6 packs of 16 MiB, and of a parent and of an
earlier attempt 6 leaves each.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from typing import Protocol, TypeVar

import zstandard

from . import __version__
from .attempts import EVERY_SECONDS, Attempt, Attempts, Earlier, Notes, Part, Window
from .blocks import BLOCK_SIZE, BLOCKS_PER_GIB, FANOUT, ZERO_DIGEST
from .ebs import NotComparable
from .errors import AgentError
from .job import BackupJob, JobVolume
from .locking import PointLock, extend_locks, lock_of, why_not_shared
from .objects import LockedOtherwise, ObjectExists, ObjectStore
from .parents import END, Leaf, Parent, ParentDamaged, ParentPoint, read_parent, record_for, why_not_changes
from .pipeline import ordered, pools
from .repository import layout, repository
from .repository.damaged import Damage
from .repository.manifest import Manifest, VolumeRecord, seal_manifest
from .repository.trees import Each, Entry, Place, Root
from .status import Status
from .volumes import UPLOADS_AT_ONCE, VolumeWriter

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
Item = TypeVar("Item")
Result = TypeVar("Result")


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
class _Way:
    """How a volume is backed up; see VolumeRecord."""

    method: str
    reason: str = ""
    parent: Parent | None = None


@dataclass(frozen=True)
class _Means:
    """What all volumes are backed up with, those that are ``done``, and those that share what ``attempt`` has put."""

    readers: Executor
    writers: Executor
    notes: Notes
    attempt: Attempt | None
    done: list[Part] = field(default_factory=list)
    resumed: set[str] = field(default_factory=set)


class Backup:
    """One run of it."""

    def __init__(
        self, job: BackupJob, source: Source, store: ObjectStore, status: Status, notes_every: float = EVERY_SECONDS
    ) -> None:
        """``notes_every``: seconds after which is noted down what was done."""
        self._job = job
        self._source = source
        self._store = store
        self._status = status
        self._notes_every = notes_every
        self._local = threading.local()
        self._lock: PointLock | None = None

    def run(self) -> dict[str, object]:
        """Do it; {restore_point, manifest_key, manifest_sha256, locked_until, digests, methods: {volume: {method,
        reason}}}.

        Raises AgentError; nothing is listed then, unless it was the answer to the last request that was lost.
        """
        job = self._job
        repository.open_info(self._store)
        window = Window.of(self._store, self._status.progress)
        points = repository.list_points(self._store, job.name)
        made = self._check(points)
        if made is not None:
            return made
        self._status.stage("Reading the parent")
        parent, why = read_parent(self._store, job.name, points, job.parent, job.resource_key)
        if parent and (other := why_not_shared(job.lock, parent[0])):
            parent, why = None, other
        if job.lock:
            self._lock = lock_of(job.lock, window.began, parent[0] if parent else None)
        with pools(self._status.progress, read=job.concurrency, write=UPLOADS_AT_ONCE) as (readers, writers):
            point = layout.point_id(job.restore_point_time, job.run)
            found = Attempts(self._store, job.name, job.resource_key, readers).newest(points, point, window.ends)
            if found and job.lock and found.lock_mode != job.lock.mode:
                found = None
            notes = Notes(
                self._store,
                job.name,
                job.resource_key,
                point,
                found.began if found else window.began,
                clock=self._status.progress.clock,
                every=self._notes_every,
                lock=self._lock.objects if self._lock else None,
            )
            try:
                manifest = self._backed_up(parent, why, _Means(readers, writers, notes, found))
            except LockedOtherwise as error:
                why = f"what it would share is locked in mode {error.mode}"
                # What was backed up in full has put all that it stands on.
                manifest = self._backed_up(None, why, _Means(readers, writers, notes, found if parent else None))
        self._status.stage("Committing")
        key, digest = repository.commit(
            self._store, manifest, job.resource_key, self._lock.point if self._lock else None
        )
        return _result(manifest, key, digest)

    def _backed_up(self, parent: ParentPoint | None, why: str, means: _Means) -> Manifest:
        """What is to be committed, when all that it refers to is locked as it must be; raises LockedOtherwise."""
        job = self._job
        for volume in job.volumes:
            means.done.append(Part(self._volume(volume, parent, why, means), END))
        manifest = self._manifest(tuple(each.record for each in means.done))
        # What an earlier attempt has put was locked for less.
        if self._lock and ((parent and self._lock.extends) or means.resumed):
            self._status.stage("Extending locks")
            extend_locks(self._store, manifest, job.resource_key, self._lock.objects, self._at_once(means.readers))
        return manifest

    def _check(self, points: Mapping[str, str]) -> dict[str, object] | None:
        """What would fail at the end fails before anything is read: a manifest of empty volumes is sealed.

        The result when this very backup has been made already: by a worker of the run that was lost before it told so.
        """
        job = self._job
        try:
            empty = (
                self._record(each, _Way("full"), Root(None, each.size_gib * BLOCKS_PER_GIB)) for each in job.volumes
            )
            manifest = self._manifest(tuple(empty))
            key = layout.point_key(job.name, manifest.id)
            seal_manifest(manifest, job.resource_key, key)
        except (TypeError, ValueError) as error:
            raise AgentError("BadJob", f"No restore point can be made of this job: {error}") from error
        if manifest.id not in points:
            return None
        key = points[manifest.id]
        known = repository.read_manifest(self._store, key, job.resource_key)
        if {each.snapshot_id for each in known.volumes} != {each.snapshot_id for each in job.volumes}:
            raise ObjectExists(key)
        return _result(known, key, sha256(self._store.get(key).body).hexdigest())

    def _manifest(self, records: tuple[VolumeRecord, ...]) -> Manifest:
        job = self._job
        return Manifest(
            id=layout.point_id(job.restore_point_time, job.run),
            time=job.restore_point_time.isoformat(),
            run=job.run,
            agent=__version__,
            resource=job.resource,
            settings=job.settings,
            volumes=records,
            parent=job.parent if any(record.method != "full" for record in records) else None,
            **(self._lock.said if self._lock else {}),
        )

    def _at_once(self, readers: Executor) -> Each:
        def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            return ordered(readers, function, items, 2 * self._job.concurrency)

        return each

    def _volume(self, volume: JobVolume, parent: ParentPoint | None, why: str, means: _Means) -> VolumeRecord:
        status = self._status
        status.begin("Reading", volume.volume_id, _COUNTERS)
        way, listed = self._way(volume, parent, why)
        while True:  # once for each way at most; what was put for one that was given up, nothing will refer to
            try:
                return self._written(volume, way, listed, means)
            except NotComparable as error:
                way = _Way("compared", error.message, way.parent)
            except ParentDamaged as error:
                way = _Way("full", str(error))
            listed = self._source.list_blocks(volume.snapshot_id)

    def _way(self, volume: JobVolume, point: ParentPoint | None, why: str) -> tuple[_Way, Listed]:
        """How to back up a volume, and the blocks to look at."""
        record = None
        manifest, damage = point or (None, Damage())
        if manifest is not None:
            record = record_for(volume, manifest, {each.volume_id for each in self._job.volumes})
            why = "" if record else "the parent does not have it"
        if manifest is None or record is None:
            return _Way("full", why), self._source.list_blocks(volume.snapshot_id)
        damaged = damage.of(record.volume_id)
        parent = Parent(self._job.name, record, self._job.resource_key, self._store, damaged)
        why = why_not_changes(volume, record, damaged)
        if not why:
            try:
                listed = self._source.list_changed(volume.parent_snapshot_id, volume.snapshot_id)
                return _Way("changed", "", parent), listed
            except NotComparable as error:
                why = error.message
        return _Way("compared", why, parent), self._source.list_blocks(volume.snapshot_id)

    def _written(self, volume: JobVolume, way: _Way, listed: Listed, means: _Means) -> VolumeRecord:
        """The volume as it stands in the manifest then; raises ParentDamaged, and NotComparable."""
        job, status, name, parent = self._job, self._status, volume.volume_id, way.parent
        status.stage(f"Reading {name} ({way.method})")
        place = parent.place if parent else Place(job.name, name)

        def put(key: str, body: bytes) -> None:
            means.notes.put(key, body)
            status.count(name, bytes_stored=len(body))

        writer = VolumeWriter(place, job.resource_key, volume.size_gib * BLOCKS_PER_GIB, put, means.writers)
        part = means.attempt.part(volume, way.method, place.volume_id) if means.attempt else None
        earlier = Earlier(part, volume.snapshot_id, job.name, job.resource_key, self._store) if part else None
        resumed = 0

        def record(root: Root) -> VolumeRecord:
            return self._record(volume, way, root, status.unit(name), stored=writer.blocks_stored, resumed=resumed)

        # What EBS does not name as changed is the parent's.
        keeps = parent if way.method == "changed" else None
        read_until = 0
        asked = self._asked(name, listed, parent, earlier, means.readers)
        done = ordered(means.readers, lambda each: self._read(volume.snapshot_id, each), asked, 2 * job.concurrency)
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
                means.resumed.add(name)
            if means.notes.due:
                means.notes.write([*means.done, Part(record(writer.so_far()), leaf.position + 1)])
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

    def _asked(
        self, name: str, listed: Listed, parent: Parent | None, earlier: Earlier | None, readers: Executor
    ) -> Iterator[_Asked]:
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
        for leaf, found in ordered(readers, look, whole, _LEAVES_AHEAD):
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

    def _record(
        self,
        volume: JobVolume,
        way: _Way,
        root: Root,
        counters: Mapping[str, float] | None = None,
        *,
        stored: int = 0,
        resumed: int = 0,
    ) -> VolumeRecord:
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


def _result(manifest: Manifest, key: str, digest: str) -> dict[str, object]:
    records = manifest.volumes
    return {
        "restore_point": manifest.id,
        "manifest_key": key,
        "manifest_sha256": digest,
        "locked_until": manifest.locked_until,
        "digests": {record.volume_id: record.digest for record in records},
        "methods": {record.volume_id: {"method": record.method, "reason": record.reason} for record in records},
    }


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
