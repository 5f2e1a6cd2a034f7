# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup: blocks of snapshots, verified, compressed, sealed in packs; the manifest last.

Memory: the blocks in flight (twice the concurrency, at most 1 MiB each) and 6 packs of 16 MiB.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import zstandard

from . import __version__
from .blocks import BLOCK_SIZE, BLOCKS_PER_GIB, ZERO_DIGEST, VolumeDigest
from .errors import AgentError
from .job import Job, JobVolume
from .objects import NotedObjects, ObjectStore
from .pipeline import Uploads, ordered, pools
from .repository import layout, repository
from .repository.manifest import Manifest, VolumeRecord
from .repository.packs import PackWriter
from .repository.trees import Entry, Place, TreeWriter
from .status import Status

_ZSTD_LEVEL = 3
_UPLOADS_AT_ONCE = 4


class Source(Protocol):
    """Where blocks come from: see ebs.DirectSnapshots."""

    def list_blocks(self, snapshot_id: str) -> Iterator[tuple[int, str]]:
        """(index, token) of every written block, ascending."""

    def get_block(self, snapshot_id: str, index: int, token: str) -> tuple[bytes, bytes]:
        """(block, SHA-256)."""


@dataclass(frozen=True)
class _Read:
    index: int
    digest: bytes
    compressed: bytes | None  # None for zeros


class Backup:
    """One run of it."""

    def __init__(self, job: Job, source: Source, store: ObjectStore, status: Status) -> None:
        self._job = job
        self._source = source
        self._store = store
        self._status = status
        self._local = threading.local()

    def run(self) -> dict[str, object]:
        """Do it; {restore_point, manifest_key, manifest_sha256, digests}.

        Raises AgentError; nothing is listed then, unless it was the answer to the last request that was lost.
        """
        job = self._job
        assert job.restore_point_time is not None
        repository.open_info(self._store)
        with pools(self._status.progress, read=job.concurrency, write=_UPLOADS_AT_ONCE) as (readers, writers):
            records = tuple(self._volume(volume, readers, writers) for volume in job.volumes)
        self._status.stage("Committing")
        if datetime.now(UTC) >= job.deadline:
            raise AgentError(
                "DeadlinePassed", "The run's deadline has passed: nothing is committed.", "See mayfly_deadline."
            )
        manifest = Manifest(
            id=layout.point_id(job.restore_point_time, job.run),
            time=job.restore_point_time.isoformat(),
            run=job.run,
            agent=__version__,
            resource=job.resource,
            settings=job.settings,
            volumes=records,
        )
        noted = NotedObjects(self._store)
        key = repository.commit(noted, manifest, job.resource_key)
        return {
            "restore_point": manifest.id,
            "manifest_key": key,
            "manifest_sha256": noted.sha256[key],
            "digests": {record.volume_id: record.digest for record in records},
        }

    def _volume(self, volume: JobVolume, readers: Executor, writers: Executor) -> VolumeRecord:
        job, status = self._job, self._status
        status.stage("Reading", volume.volume_id)
        uploads = Uploads(writers, _UPLOADS_AT_ONCE)

        def put(key: str, body: bytes) -> None:
            self._store.put(key, body)
            status.count(volume.volume_id, bytes_stored=len(body))

        tree = TreeWriter(
            Place(job.name, volume.volume_id),
            job.resource_key,
            volume.size_gib * BLOCKS_PER_GIB,
            lambda key, body: uploads.add(lambda: put(key, body)),
        )
        digest = VolumeDigest()
        pack = PackWriter(job.name, job.resource_key)
        read_block = functools.partial(self._read, volume.snapshot_id)
        for read in ordered(readers, read_block, self._listed(volume), 2 * job.concurrency):
            status.count(volume.volume_id, blocks_done=1, bytes_read=BLOCK_SIZE)
            if read.compressed is None:
                continue
            digest.add(read.index, read.digest)
            tree.add(
                Entry(read.index, read.digest, pack.add(volume.volume_id, read.index, read.digest, read.compressed))
            )
            if pack.full:
                key, body = pack.finish()
                uploads.add(lambda key=key, body=body: put(key, body))  # type: ignore[misc]
                pack = PackWriter(job.name, job.resource_key)
        if not pack.empty:
            key, body = pack.finish()
            uploads.add(lambda: put(key, body))
        root = tree.finish()
        uploads.finish()
        counters = status.volume(volume.volume_id)
        return VolumeRecord(
            volume_id=volume.volume_id,
            snapshot_id=volume.snapshot_id,
            device=volume.device,
            size_gib=volume.size_gib,
            root=root.id.hex() if root.id else None,
            levels=root.levels,
            blocks=root.blocks,
            digest=digest.hexdigest(),
            bytes_read=counters.bytes_read,
            bytes_stored=counters.bytes_stored,
            seconds=counters.seconds,
            attributes=volume.attributes,
        )

    def _listed(self, volume: JobVolume) -> Iterator[tuple[int, str]]:
        """The written blocks as pages of them come: a volume's list may be larger than the worker's memory."""
        for listed in self._source.list_blocks(volume.snapshot_id):
            self._status.count(volume.volume_id, blocks_total=1)
            yield listed

    def _read(self, snapshot_id: str, listed: tuple[int, str]) -> _Read:
        index, token = listed
        block, digest = self._source.get_block(snapshot_id, index, token)
        if digest == ZERO_DIGEST:
            return _Read(index, digest, None)
        if not hasattr(self._local, "compressor"):
            self._local.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        return _Read(index, digest, self._local.compressor.compress(block))
