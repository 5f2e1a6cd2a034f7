# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup: blocks of snapshots, verified, compressed, sealed in packs; the manifest last. What of them is read and
stored: volume_backup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from hashlib import sha256
from typing import TypeVar

from . import __version__
from .attempts import EVERY_SECONDS, Window
from .blocks import BLOCKS_PER_GIB
from .errors import AgentError
from .job import BackupJob
from .locking import PointLock, why_not_shared
from .objects import ObjectExists, ObjectStore
from .parents import ParentPoint, read_parent
from .pipeline import ordered, pools
from .repository import layout, repository
from .repository.manifest import Manifest, VolumeRecord, seal_manifest
from .repository.trees import Each, Root
from .status import Status
from .volume_backup import Source, VolumeBackup, Way, record_of
from .volumes import UPLOADS_AT_ONCE
from .writing import Means, NotShareable, Where, Writing

Item = TypeVar("Item")
Result = TypeVar("Result")


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

    def run(self) -> dict[str, object]:
        """Do it; {restore_point, manifest_key, manifest_sha256, locked_until, digests, methods: {volume: {method,
        reason}}}.

        Raises AgentError; nothing is listed then, unless it was the answer to the last request that was lost.
        """
        job, status, store = self._job, self._status, self._store
        repository.open_info(store)
        means = Means(Window.of(store, status.progress), status.progress.clock, job.lock, self._notes_every)
        points = repository.list_points(store, job.name)
        made = self._check(points)
        if made is not None:
            return made
        status.stage("Reading the parent")
        parent, why = read_parent(store, job.name, points, job.parent, job.resource_key)
        if parent and (other := why_not_shared(job.lock, parent[0])):
            parent, why = None, other
        point = layout.point_id(job.restore_point_time, job.run)
        with pools(status.progress, read=job.concurrency, write=UPLOADS_AT_ONCE) as (readers, writers):
            volumes = VolumeBackup(job, self._source, store, status, readers=readers, writers=writers)
            shared = parent[0] if parent else None
            where = Where(store, job.name, job.resource_key)
            writing = Writing(where, point, means, readers, points=points, parent=shared)
            try:
                manifest = self._backed_up(parent, why, volumes, writing, readers)
            except NotShareable as error:
                writing.begin_anew(resume=error.resume)
                manifest = self._backed_up(None, error.message, volumes, writing, readers)
        status.stage("Committing")
        lock = writing.lock.point if writing.lock else None
        key, digest = repository.commit(store, manifest, job.resource_key, lock)
        return _result(manifest, key, digest)

    def _backed_up(
        self, parent: ParentPoint | None, why: str, volumes: VolumeBackup, writing: Writing, readers: Executor
    ) -> Manifest:
        """What is to be committed, when all that it refers to is locked as it must be; raises NotShareable."""
        records = []
        for volume in self._job.volumes:
            records.append(volumes.run(volume, parent, why, writing))
            writing.end(records[-1])
        manifest = self._manifest(tuple(records), writing.lock)
        self._status.stage("Locking")
        writing.lock_shared(manifest, self._at_once(readers), with_parent=parent is not None)
        return manifest

    def _check(self, points: Mapping[str, str]) -> dict[str, object] | None:
        """What would fail at the end fails before anything is read: a manifest of empty volumes is sealed.

        The result when this very backup has been made already: by a worker of the run that was lost before it told so.
        """
        job = self._job
        try:
            empty = (record_of(each, Way("full"), Root(None, each.size_gib * BLOCKS_PER_GIB)) for each in job.volumes)
            manifest = self._manifest(tuple(empty), None)
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

    def _manifest(self, records: tuple[VolumeRecord, ...], lock: PointLock | None) -> Manifest:
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
            **(lock.said if lock else {}),
        )

    def _at_once(self, readers: Executor) -> Each:
        def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            return ordered(readers, function, items, 2 * self._job.concurrency)

        return each


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
