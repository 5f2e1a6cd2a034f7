# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives: a restore point is copied into a set that stands by itself, and a set back (docs/repository-format.md, 21).

Every block is opened, verified, and sealed anew in packs of the copy's own, as compaction does it. So a set refers to
nothing outside, and a point that was brought back to nothing that a sweep may have condemned.

Memory: as many ranges of packs (at most 8 MiB each) as the concurrency says, 6 packs of 16 MiB, and 3 leaves.
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
from .blocks import BLOCKS_PER_GIB
from .errors import AgentError
from .job import Archived, ArchiveJob
from .objects import ObjectExists, ObjectStore
from .pipeline import ordered, pools
from .repository import layout, repository
from .repository.manifest import Manifest, VolumeRecord
from .repository.marks import write_mark
from .repository.packs import PackReader
from .repository.trees import Entry, Place, TreeReader
from .restore import Range, ranges
from .status import Status
from .volumes import UPLOADS_AT_ONCE, VolumeWriter

_NODES_AT_ONCE = 2
#: Of the status: all copies together.
UNIT = "archive"
_COUNTERS = ("points_total", "points_done", "blocks_total", "blocks_done", "bytes_read", "bytes_stored")
# What is wrong with one restore point; the others may be well.
_OF_ONE = ("InvalidObjectState", "ObjectDamaged", "ObjectNotFound", "RepositoryFormat", "RestorePointDamaged")

Sets = Callable[[str], ObjectStore]
"""Opens a set by its folder: an ObjectStore whose keys are those of the repository."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Copy:
    """From where to where; ``made`` is the name of what is made, ``identity`` the id of the restore point in it."""

    source: ObjectStore
    target: ObjectStore
    manifest: Manifest
    identity: str
    made: str


class Archiving:
    """One run of it; ``back`` is from sets to the repository."""

    def __init__(self, job: ArchiveJob, store: ObjectStore, sets: Sets, status: Status, *, back: bool = False) -> None:
        self._job = job
        self._store = store
        self._sets = sets
        self._status = status
        self._back = back

    def run(self) -> dict[str, object]:
        """Do it; {archive: {points: [{resource, from, made, blocks, bytes_stored, error}], failed, bytes_stored}}.

        ``from`` is a restore point and ``made`` a set, or the other way round. What is wrong with one leaves the others
        alone; raises AgentError for what is about all of them.
        """
        job, status = self._job, self._status
        repository.open_info(self._store)
        status.begin("Copying", UNIT, _COUNTERS)
        status.count(UNIT, points_total=len(job.points))
        told = []
        with pools(status.progress, read=job.concurrency, write=UPLOADS_AT_ONCE) as (readers, writers):
            for wanted in job.points:
                told.append(self._one(wanted, readers, writers))
                status.count(UNIT, points_done=1)
        failed = sum(each["error"] is not None for each in told)
        stored = int(status.unit(UNIT)["bytes_stored"])
        return {"archive": {"points": told, "failed": failed, "bytes_stored": stored}}

    def _one(self, wanted: Archived, readers: Executor, writers: Executor) -> dict[str, Any]:
        """What became of one."""
        self._status.stage(f"Copying {wanted.name} of {wanted.resource.path}")
        told: dict[str, Any] = {"resource": wanted.resource.path, "from": wanted.name, "made": None, "error": None}
        try:
            copy = self._to_repository(wanted) if self._back else self._to_set(wanted)
            records = tuple(self._volume(copy, wanted.key, each, readers, writers) for each in copy.manifest.volumes)
            self._commit(copy, wanted, records)
        except AgentError as error:
            if error.code not in _OF_ONE:
                raise
            return {**told, "error": error.as_dict()}
        sums = {name: sum(getattr(each, name) for each in records) for name in ("blocks", "bytes_stored")}
        return {**told, "made": copy.made, **sums}

    def _to_set(self, wanted: Archived) -> _Copy:
        points = repository.list_points(self._store, wanted.resource)
        if wanted.name not in points:
            raise AgentError("ObjectNotFound", f"There is no restore point {wanted.name} of {wanted.resource.path}.")
        manifest = repository.read_manifest(self._store, points[wanted.name], wanted.key)
        made = layout.archive_name(wanted.name, secrets.token_hex(4))
        target = self._sets(layout.archive_folder(wanted.resource, made))
        return _Copy(self._store, target, manifest, wanted.name, made)

    def _to_repository(self, wanted: Archived) -> _Copy:
        source = self._sets(layout.archive_folder(wanted.resource, wanted.name))
        identity = layout.parse_archive(wanted.name) or ""
        manifest = repository.read_manifest(source, layout.point_key(wanted.resource, identity), wanted.key)
        # A sweep may still be about to delete what had the old id.
        made = layout.point_id(layout.point_time(identity), self._job.run)
        return _Copy(source, self._store, manifest, made, made)

    def _volume(
        self, copy: _Copy, key: bytes, volume: VolumeRecord, readers: Executor, writers: Executor
    ) -> VolumeRecord:
        status, place = self._status, copy.manifest.place(volume)
        status.count(UNIT, blocks_total=volume.blocks)
        before = status.unit(UNIT)["bytes_stored"]

        def put(name: str, body: bytes) -> None:
            copy.target.put(name, body)
            status.count(UNIT, bytes_stored=len(body))

        def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            return ordered(readers, function, items, _NODES_AT_ONCE)

        def read(part: Range) -> list[tuple[Entry, bytes]]:
            return self._frames(copy.source, place, key, part)

        own = Place(place.resource, volume.volume_id)
        writer = VolumeWriter(own, key, volume.size_gib * BLOCKS_PER_GIB, put, writers)
        entries = TreeReader(place, key, volume.tree(), copy.source).entries(ahead)
        for frames in ordered(readers, read, ranges(entries), self._job.concurrency):
            for entry, compressed in frames:
                writer.add(writer.store(entry.index, entry.digest, compressed))
            status.count(UNIT, blocks_done=len(frames))
        root = writer.finish()
        if (root.blocks, root.digest) != (volume.blocks, volume.digest):
            message = f"{volume.volume_id} of {copy.manifest.id}: its tree does not give what its manifest promises."
            raise AgentError("RestorePointDamaged", message, "Take another restore point.")
        return replace(
            volume,
            root=root.id,
            sealed_as=None,
            method="full",
            reason="",
            blocks_stored=writer.blocks_stored,
            bytes_stored=int(status.unit(UNIT)["bytes_stored"] - before),
        )

    def _frames(self, source: ObjectStore, place: Place, key: bytes, part: Range) -> list[tuple[Entry, bytes]]:
        """The blocks of a range, compressed as they were, and verified."""
        pack = part.entries[0].location.pack
        body = source.get_range(layout.pack_key(place.resource, pack), part.start, part.length)
        self._status.count(UNIT, bytes_read=len(body))
        reader = PackReader(place.resource, key, pack)
        opened = []
        for entry in part.entries:
            at = entry.location
            frame = body[at.offset - part.start : at.offset - part.start + at.length]
            opened.append((entry, reader.frame(at, frame, place.volume_id, entry.index, entry.digest)[0]))
        return opened

    def _commit(self, copy: _Copy, wanted: Archived, records: tuple[VolumeRecord, ...]) -> None:
        """Write the manifest, last. What comes back is kept until somebody says otherwise: it is old already."""
        made = replace(
            copy.manifest,
            id=copy.identity,
            run=self._job.run,
            agent=__version__,
            volumes=records,
            parent=None,
            locked_until=None,
            lock_mode=None,
            objects_locked_until=None,
        )
        if self._back:
            said = {
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "by": self._job.run,
                "reason": f"brought back from {wanted.name}",
            }
            with suppress(ObjectExists):  # of a worker of this run that was lost
                write_mark(self._store, wanted.key, layout.keep_key(wanted.resource, copy.identity), said)
        repository.commit(copy.target, made, wanted.key)
