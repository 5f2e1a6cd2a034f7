# SPDX-License-Identifier: GPL-3.0-or-later
"""The block store: volumes and snapshots of the lab, shared by the processes that serve them.

``volumes/<id>.img`` and ``snapshots/<id>.img`` are sparse files, ``snapshots/<id>.json`` is what is known of a
snapshot. The files are the truth: every call reads them, and a record is replaced as a whole.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mayfly_lab.blocks.files import BLOCK, clone, written_blocks

GIB = 1 << 30
Version = tuple[int, int]  # of a file: its inode, and when it was changed, in ns
_SETTLED_SECONDS = 1.0


class SnapshotNotFound(KeyError):
    """There is no snapshot of that id."""


@dataclass(frozen=True)
class SnapshotRecord:
    """What is known of a snapshot; sizes in GiB, times as ISO 8601."""

    snapshot_id: str
    owner: str
    region: str
    volume_id: str
    volume_size_gib: int
    state: str  # pending, completed, error
    progress: str
    start_time: str
    description: str
    tags: dict[str, str] = field(default_factory=dict)
    encrypted: bool = False
    kms_key_id: str | None = None
    shared_with: list[str] = field(default_factory=list)
    client_token: str | None = None
    parent_snapshot_id: str | None = None
    from_direct: bool = False
    root_snapshot_id: str | None = None  # where a chain of snapshots began that came from no volume

    @property
    def lineage(self) -> str:
        """What snapshots must have in common to be compared: the volume, or the beginning of the chain."""
        return self.root_snapshot_id or self.volume_id


class BlockStore:
    """The store below one folder."""

    def __init__(self, root: Path) -> None:
        self._volumes = root / "volumes"
        self._snapshots = root / "snapshots"
        self._known: dict[str, tuple[Version, SnapshotRecord]] = {}

    def volume_path(self, volume_id: str) -> Path:
        """Where the data of a volume lies."""
        return self._volumes / f"{volume_id}.img"

    def snapshot_path(self, snapshot_id: str) -> Path:
        """Where the data of a snapshot lies."""
        return self._snapshots / f"{snapshot_id}.img"

    def create_volume(self, volume_id: str, size_gib: int, snapshot_id: str | None = None) -> None:
        """Make a volume, empty or with the data of a snapshot; raises SnapshotNotFound, FileExistsError."""
        path = self.volume_path(volume_id)
        if snapshot_id is None:
            path.touch(exist_ok=False)
        else:
            self.get(snapshot_id)
            clone(self.snapshot_path(snapshot_id), path)
        os.truncate(path, size_gib * GIB)

    def resize_volume(self, volume_id: str, size_gib: int) -> None:
        """Make a volume larger."""
        os.truncate(self.volume_path(volume_id), size_gib * GIB)

    def delete_volume(self, volume_id: str) -> None:
        """Remove a volume's data; nothing when it is gone."""
        self.volume_path(volume_id).unlink(missing_ok=True)

    def snapshot_volume(self, record: SnapshotRecord, volume_id: str) -> None:
        """Keep what a volume holds now; the record is written when the data is safe."""
        clone(self.volume_path(volume_id), self.snapshot_path(record.snapshot_id))
        self.save(record)

    def put_base_image(self, image: Path, record: SnapshotRecord) -> None:
        """Keep a disk image as a snapshot; from the second one on, by reference to the first."""
        first = self._snapshots / f"{image.stem}.img"
        if not first.exists():
            clone(image, first)
        clone(first, self.snapshot_path(record.snapshot_id))
        self.save(record)

    def get(self, snapshot_id: str) -> SnapshotRecord:
        """What is known of a snapshot; raises SnapshotNotFound."""
        path = f"{self._snapshots}/{snapshot_id}.json"
        try:
            found = os.stat(path)  # noqa: PTH116 - asked for every block, and a Path costs more than the call
            state = (found.st_ino, found.st_mtime_ns)
            known = self._known.get(snapshot_id)
            if known and known[0] == state:
                return known[1]
            record = SnapshotRecord(**json.loads(Path(path).read_text()))
        except FileNotFoundError:
            self._known.pop(snapshot_id, None)
            raise SnapshotNotFound(snapshot_id) from None
        # A young file may be replaced within the same tick of the file system's clock, and look the same.
        if time.time() - found.st_mtime > _SETTLED_SECONDS:
            self._known[snapshot_id] = (state, record)
        return record

    def records(self, owner: str | None = None, region: str | None = None) -> list[SnapshotRecord]:
        """Every snapshot of an owner and Region (None: of all)."""
        found = []
        for path in sorted(self._snapshots.glob("*.json")):
            try:
                record = self.get(path.stem)
            except SnapshotNotFound:  # deleted between the listing and the reading
                continue
            if owner in (None, record.owner) and region in (None, record.region):
                found.append(record)
        return found

    def save(self, record: SnapshotRecord) -> None:
        """Replace what is known of a snapshot."""
        path = self._record_path(record.snapshot_id)
        unfinished = path.with_suffix(f".new{os.getpid()}-{threading.get_ident()}")
        unfinished.write_text(json.dumps(asdict(record)))
        unfinished.replace(path)

    @contextmanager
    def locked(self, snapshot_id: str) -> Iterator[SnapshotRecord]:
        """The record of a snapshot that no other process changes meanwhile; raises SnapshotNotFound."""
        with (self._snapshots / f"{snapshot_id}.lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield self.get(snapshot_id)

    def delete(self, snapshot_id: str) -> None:
        """Remove a snapshot and all that lies beside it; nothing when it is gone."""
        self._record_path(snapshot_id).unlink(missing_ok=True)
        for path in self._snapshots.glob(f"{snapshot_id}.*"):
            path.unlink(missing_ok=True)

    def written_blocks(self, snapshot_id: str) -> list[int]:
        """Indexes of the 512 KiB blocks that were ever written, ascending."""
        with self.snapshot_path(snapshot_id).open("rb") as stream:
            return list(written_blocks(stream.fileno(), os.fstat(stream.fileno()).st_size))

    def read_block(self, snapshot_id: str, index: int) -> bytes:
        """The 512 KiB of a block."""
        return self.read_version(snapshot_id, index)[0]

    def read_version(self, snapshot_id: str, index: int) -> tuple[bytes, Version | None]:
        """The 512 KiB of a block, and which version of the snapshot's file they are of.

        None while the file is young: it could change within the same tick of the file system's clock.
        """
        opened = os.open(f"{self._snapshots}/{snapshot_id}.img", os.O_RDONLY)
        try:
            block = os.pread(opened, BLOCK, index * BLOCK)
            found = os.fstat(opened)  # after the data: a change that is in it has set the time before
        finally:
            os.close(opened)
        settled = time.time() - found.st_mtime > _SETTLED_SECONDS
        return block, (found.st_ino, found.st_mtime_ns) if settled else None

    def _record_path(self, snapshot_id: str) -> Path:
        return self._snapshots / f"{snapshot_id}.json"
