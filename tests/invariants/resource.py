# SPDX-License-Identifier: GPL-3.0-or-later
"""A resource in a bucket, and what is done with it: each by a process of its own, with the agent's own code."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mayfly_agent.backup import Backup
from mayfly_agent.compaction import Compaction
from mayfly_agent.errors import AgentError
from mayfly_agent.health import HealthCheck
from mayfly_agent.job import BackupJob, JobVolume, LockJob, RestoreJob, Target
from mayfly_agent.pipeline import pools
from mayfly_agent.progress import Progress
from mayfly_agent.repository import layout, repository
from mayfly_agent.repository.manifest import VolumeRecord
from mayfly_agent.repository.marks import read_marks
from mayfly_agent.repository.packs import PackReader
from mayfly_agent.repository.seal import ResourceKey
from mayfly_agent.repository.trees import Place, TreeReader
from mayfly_agent.repository_jobs import Checked, Chosen, HealthCheckJob
from mayfly_agent.restore import Restore
from mayfly_agent.s3 import S3Objects
from mayfly_agent.sweep import Sweep

from tests.invariants.bucket import Bucket
from tests.invariants.inline import Untold, threads
from tests.invariants.wire import Wire
from tests.unit.agent.lines import NAME, Content, Line
from tests.unit.agent.repository.points import digest
from tests.unit.agent.transfers import Snapshots, job

SHARE = 0.6
# What was opened and verified before: most of a bucket is the same from step to step.
_OPENED: dict[tuple[object, ...], bytes] = {}


@dataclass(frozen=True)
class Run:
    """A backup, whoever carries it out: ``began`` and its deadline ``until`` are by S3's clock."""

    number: int
    volume: JobVolume
    time: datetime
    parent: str
    began: datetime
    until: datetime
    lock: LockJob | None
    key: bytes

    @property
    def name(self) -> str:
        return f"run-{self.number}"

    @property
    def point(self) -> str:
        return layout.point_id(self.time, self.name)


class _Sink(Snapshots):
    """What a restore writes: of each block its SHA-256."""

    def __init__(self) -> None:
        super().__init__([])
        self.digests: dict[int, bytes] = {}

    def put_block(self, snapshot_id: str, index: int, block: bytes, digest: bytes) -> None:
        self.digests[index] = digest  # which the restore has compared the block with


class Resource:
    """``line``: what its volume's snapshots hold."""

    def __init__(self, folder: Path, *, versioned: bool = False) -> None:
        self.bucket = Bucket(versioned=versioned)
        self.line = Line({})
        self._folder = folder

    def back_up(self, run: Run, wire: Wire, notes_every: float) -> str:
        """The point's id; raises AgentError and Killed."""
        progress = wire.progress(run.until - self.bucket.now)
        common = {"run": run.name, "restore_point_time": run.time, "parent": run.parent, "volumes": (run.volume,)}
        common |= {"lock": run.lock, "resource_key": run.key}
        wanted = BackupJob(**job(**common, source_region="us-east-1"))
        with self._process(wire, progress) as status:
            store = S3Objects(wire, "bucket", "", None, progress)
            return str(Backup(wanted, self.line, store, status, notes_every).run()["restore_point"])

    def sweep(self, remove: Collection[str], wire: Wire, left: timedelta) -> None:
        """With compaction; raises AgentError and Killed."""
        progress = wire.progress(left)
        store = S3Objects(wire, "bucket", "", None, progress)
        chosen = Chosen(NAME, self.bucket.key, frozenset(remove))
        with self._process(wire, progress), pools(progress, read=2, write=2) as (readers, writers):
            sparse = Sweep(store, chosen, "sweep", progress, live_share=SHARE).run()
            Compaction(store, chosen, sparse, readers, writers).run()

    def check(self, wire: Wire, left: timedelta) -> None:
        """A full one, which marks what is damaged; raises AgentError and Killed."""
        progress = wire.progress(left)
        common = job(run="check", resources=(Checked(NAME, self.bucket.key),), mode="full")
        del common["resource_key"]
        with self._process(wire, progress) as status:
            HealthCheck(HealthCheckJob(**common), S3Objects(wire, "bucket", "", None, progress), status).run()

    def restore(self, point: str, wire: Wire, left: timedelta) -> dict[int, bytes]:
        """SHA-256 of each block; raises AgentError and Killed."""
        progress, sink = wire.progress(left), _Sink()
        common = {"restore_point": point, "target": Target("us-east-1"), "resource_key": self.bucket.key}
        wanted = RestoreJob(**job(**common, attempt=1))
        with self._process(wire, progress) as status:
            Restore(wanted, sink, S3Objects(wire, "bucket", "", None, progress), status).run()
        return sink.digests

    def rotate(self) -> None:
        """Another key for what is written from now on."""
        before = self.bucket.key
        number = len(getattr(before, "before", ())) + 1
        self.bucket.key = ResourceKey(bytes([number]) * 32, (*getattr(before, "before", ()), bytes(before)))

    def points(self) -> list[str]:
        """Ids of those that are listed, oldest first."""
        return list(repository.list_points(self.bucket, NAME))

    def marked(self) -> frozenset[str]:
        """Those that a health check has found damaged."""
        return read_marks(self.bucket, NAME).damaged

    def held(self) -> dict[str, dict[int, bytes] | str]:
        """Of each listed point the SHA-256 of its blocks, all of them opened, or the error of what cannot be."""
        found: dict[str, dict[int, bytes] | str] = {}
        for identity, key in repository.list_points(self.bucket, NAME).items():
            try:
                manifest = repository.read_manifest(self.bucket, key, self.bucket.key)
                (record,) = manifest.volumes
                found[identity] = self._blocks(record)
            except AgentError as error:
                found[identity] = error.message
        return found

    def needed(self) -> set[str]:
        """Keys of all that listed points stand on, and of the repository itself."""
        found = {key for key in self.bucket.objects if "/" not in key or key.startswith("keys/")}
        for key in repository.list_points(self.bucket, NAME).values():
            found |= {key, *self.bucket.refers[key]}
        return found

    @contextmanager
    def _process(self, wire: Wire, progress: Progress) -> Iterator[Untold]:
        with threads(wire.luck.threads):
            yield Untold(self._folder, progress)

    def _blocks(self, record: VolumeRecord) -> dict[int, bytes]:
        place, blocks, key = record.sealed_as or record.volume_id, dict[int, bytes](), self.bucket.key
        for entry in TreeReader(Place(NAME, place), key, record.tree(), self.bucket).entries():
            at = entry.location
            frame = self.bucket.get_range(layout.pack_key(NAME, at.pack), at.offset, at.length)
            seen = (at, place, entry.index, entry.digest)
            if _OPENED.get(seen) != frame:
                PackReader(NAME, key, at.pack).block(at, frame, place, entry.index, entry.digest)
                _OPENED[seen] = frame
            blocks[entry.index] = entry.digest
        return blocks


def digests(content: Content) -> dict[int, bytes]:
    """What held gives for it."""
    return {index: digest(number) for index, number in content.items() if number}
