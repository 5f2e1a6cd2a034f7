# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives: a restore point is copied into a set that stands by itself, and a set back (docs/repository-format.md, 21).

Every block is opened, verified, and sealed anew in packs of the copy's own: see volume_copy. So a set refers to nothing
outside, and a point that was brought back to nothing that a sweep may have condemned.

It is a writer like a backup: it goes on from notes of one that died, in the set or under the id that this one had
begun, and locks by the same rules.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from . import __version__
from .attempts import EVERY_SECONDS, Window
from .errors import AgentError
from .objects import ObjectExists, ObjectStore
from .pipeline import ordered, pools
from .repository import layout, repository
from .repository.manifest import Manifest, VolumeRecord
from .repository.marks import write_mark
from .repository.trees import Place
from .repository_jobs import Archived, ArchiveJob
from .status import Status
from .volume_copy import Side, VolumeCopy
from .volumes import UPLOADS_AT_ONCE
from .writing import Means, NotShareable, Where, Writing

#: Of the status: all copies together.
UNIT = "archive"
_COUNTERS = ("points_total", "points_done", "blocks_total", "blocks_done", "bytes_read", "bytes_stored")
# What is wrong with one restore point; the others may be well.
_OF_ONE = (
    "InvalidObjectState",
    "ObjectDamaged",
    "ObjectExists",
    "ObjectNotFound",
    "RepositoryFormat",
    "RestorePointDamaged",
)
# Sets of one point that were begun, and ids of one that was being brought back.
_BEGUN_LOOKED_AT = 10

Sets = Callable[[str], ObjectStore]
"""Opens a set by its folder: an ObjectStore whose keys are those of the repository."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Copy:
    """From where to where; ``made`` is the name of what is made."""

    source: ObjectStore
    target: ObjectStore
    manifest: Manifest
    made: str
    writing: Writing


class Archiving:
    """One run of it; ``back`` is from sets to the repository."""

    def __init__(
        self,
        job: ArchiveJob,
        store: ObjectStore,
        sets: Sets,
        status: Status,
        *,
        back: bool = False,
        notes_every: float = EVERY_SECONDS,
    ) -> None:
        """``notes_every``: seconds after which is noted down what was done."""
        self._job = job
        self._store = store
        self._sets = sets
        self._status = status
        self._back = back
        self._notes_every = notes_every

    def run(self) -> dict[str, object]:
        """Do it; {archive: {points: [{resource, from, made, blocks, blocks_resumed,
        bytes_stored, error}], failed, bytes_stored}}.

        ``from`` is a restore point and ``made`` a set, or the other way round. What is wrong with one leaves the others
        alone; raises AgentError for what is about all of them.
        """
        job, status = self._job, self._status
        repository.open_info(self._store)
        clock = status.progress.clock
        means = Means(Window.of(self._store, status.progress), clock, job.lock, self._notes_every)
        status.begin("Copying", UNIT, _COUNTERS)
        status.count(UNIT, points_total=len(job.points))
        told = []
        with pools(status.progress, read=job.concurrency, write=UPLOADS_AT_ONCE) as (readers, writers):
            for wanted in job.points:
                told.append(self._one(wanted, means, readers, writers))
                status.count(UNIT, points_done=1)
        failed = sum(each["error"] is not None for each in told)
        stored = int(status.unit(UNIT)["bytes_stored"])
        return {"archive": {"points": told, "failed": failed, "bytes_stored": stored}}

    def _one(self, wanted: Archived, means: Means, readers: Executor, writers: Executor) -> dict[str, Any]:
        """What became of one."""
        self._status.stage(f"Copying {wanted.name} of {wanted.resource.path}")
        told: dict[str, Any] = {"resource": wanted.resource.path, "from": wanted.name, "made": None, "error": None}
        try:
            copy = (self._to_repository if self._back else self._to_set)(wanted, means, readers)
            try:
                records = self._copied(copy, wanted, readers, writers)
            except NotShareable:
                copy.writing.begin_anew(resume=False)
                records = self._copied(copy, wanted, readers, writers)
        except AgentError as error:
            if error.code not in _OF_ONE:
                raise
            return {**told, "error": error.as_dict()}
        names = ("blocks", "blocks_resumed", "bytes_stored")
        return {**told, "made": copy.made, **{name: sum(getattr(each, name) for each in records) for name in names}}

    def _copied(self, copy: _Copy, wanted: Archived, readers: Executor, writers: Executor) -> tuple[VolumeRecord, ...]:
        """All volumes, and the manifest; raises NotShareable, before that."""
        records = tuple(self._volume(copy, wanted.key, each, readers, writers) for each in copy.manifest.volumes)
        self._commit(copy, wanted, records, readers)
        return records

    def _to_set(self, wanted: Archived, means: Means, readers: Executor) -> _Copy:
        """Into a new set, or one that was begun."""
        points = repository.list_points(self._store, wanted.resource)
        if wanted.name not in points:
            raise AgentError("ObjectNotFound", f"There is no restore point {wanted.name} of {wanted.resource.path}.")
        manifest = repository.read_manifest(self._store, points[wanted.name], wanted.key)
        new = layout.archive_name(wanted.name, secrets.token_hex(4))
        for made in (*self._begun(wanted), new):
            target = self._sets(layout.archive_folder(wanted.resource, made))
            if made != new and repository.list_points(target, wanted.resource):
                continue  # it is whole
            writing = Writing(Where(target, wanted.resource, wanted.key), wanted.name, means, readers)
            if writing.attempt or made == new:
                break
        return _Copy(self._store, target, manifest, made, writing)

    def _begun(self, wanted: Archived) -> list[str]:
        """Names of the sets of a restore point, whole or not."""
        prefix = layout.archives_prefix(wanted.resource)
        folders = self._store.folders(prefix + layout.archive_name(wanted.name, ""))
        names = (each.removeprefix(prefix).removesuffix("/") for each in folders)
        return [each for each in names if layout.parse_archive(each) == wanted.name][-_BEGUN_LOOKED_AT:]

    def _to_repository(self, wanted: Archived, means: Means, readers: Executor) -> _Copy:
        source = self._sets(layout.archive_folder(wanted.resource, wanted.name))
        identity = layout.parse_archive(wanted.name) or ""
        manifest = repository.read_manifest(source, layout.point_key(wanted.resource, identity), wanted.key)
        points = repository.list_points(self._store, wanted.resource)
        where = Where(self._store, wanted.resource, wanted.key)
        new = layout.point_id(layout.point_time(identity), self._job.run)
        for made in (*self._ids_begun(wanted, identity, points), new):
            writing = Writing(where, made, means, readers, points=points)
            if writing.attempt:
                break
        return _Copy(source, self._store, manifest, made, writing)

    def _ids_begun(self, wanted: Archived, identity: str, points: Iterable[str]) -> list[str]:
        """Ids under which it was being brought back by some that died.

        Never the old id: a sweep may still be about to delete what had that.
        """
        prefix, over = layout.attempts_prefix(wanted.resource), {identity, *points}
        parsed = (layout.parse_attempt(each.key.removeprefix(prefix)) for each in self._store.list(prefix))
        ids = {each[0] for each in parsed if each is not None} - over
        time = layout.point_time(identity)
        return sorted(each for each in ids if layout.point_time(each) == time)[-_BEGUN_LOOKED_AT:]

    def _volume(
        self, copy: _Copy, key: bytes, volume: VolumeRecord, readers: Executor, writers: Executor
    ) -> VolumeRecord:
        self._status.count(UNIT, blocks_total=volume.blocks)
        place = copy.manifest.place(volume)
        made = VolumeCopy(
            Side(copy.source, key, place),
            Side(copy.target, key, Place(place.resource, volume.volume_id)),
            copy.writing,
            self._status,
            UNIT,
            readers=readers,
            writers=writers,
            at_once=self._job.concurrency,
        ).run(replace(volume, reason=""))
        copy.writing.end(made.record)
        return made.record

    def _commit(self, copy: _Copy, wanted: Archived, records: tuple[VolumeRecord, ...], readers: Executor) -> None:
        """Write the manifest, last. What comes back is kept until somebody says otherwise: it is old already."""
        lock = copy.writing.lock
        locks = lock.said if lock else dict.fromkeys(("locked_until", "lock_mode", "objects_locked_until"))
        made = replace(
            copy.manifest,
            id=copy.made if self._back else wanted.name,
            run=self._job.run,
            agent=__version__,
            volumes=records,
            parent=None,
            **locks,
        )

        def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            return ordered(readers, function, items, 2 * self._job.concurrency)

        copy.writing.lock_shared(made, each, with_parent=False)
        if self._back:
            said = {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "by": self._job.run,
                "reason": f"brought back from {wanted.name}",
            }
            with suppress(ObjectExists):  # of a worker of this run that was lost, or of what this one goes on from
                write_mark(self._store, wanted.key, layout.keep_key(wanted.resource, copy.made), said)
        repository.commit(copy.target, made, wanted.key, lock.point if lock else None)
