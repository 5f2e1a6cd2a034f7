# SPDX-License-Identifier: GPL-3.0-or-later
"""A health check: what restore points refer to is looked for, read and verified; what is damaged is marked.

Each node and each block is looked at once, however many restore points share it. Lists at the ends of packs are not
read: no restore needs them.

Memory: 8 ranges of packs (at most 8 MiB each), 3 leaves, about 0.3 KiB for each pack and 0.1 KiB for each node of one
resource, whose packs hold 16 MiB and whose leaves stand for 512 MiB, and the damage of one restore point.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import asdict, dataclass

from .blocks import BLOCK_SIZE, BLOCKS_PER_GIB, FANOUT
from .errors import DAMAGED, OF_ALL, AgentError
from .objects import ObjectNotFound, ObjectStore
from .pipeline import ordered, pools
from .repository import layout, repository, seal
from .repository.damaged import BlockRange, Damage, joined, mark_damaged, unreadable_marks
from .repository.manifest import Manifest, VolumeRecord
from .repository.packs import Location, PackReader
from .repository.trees import Entry, Node, Opened, TreeReader
from .repository_jobs import Checked, HealthCheckJob
from .restore import Range, ranges
from .status import Status

_RANGES_AT_ONCE = 8
_NODES_AT_ONCE = 2
# Looked for of a restore point that is written anew meanwhile, each time the newest.
_GENERATIONS = 3
# Of a result, which the controller keeps in memory; marks name all.
_LISTED = 1000
_WARNINGS = 100
#: Of the status: all resources together, since there may be very many.
UNIT = "restore points"
_KEY_MISSING = "RepositoryKeyMissing"
_COUNTERS = ("points_total", "points_done", "nodes_done", "blocks_total", "blocks_done", "bytes_read")


@dataclass
class _Pack:
    """Of a pack: its size in bytes, and bits for frames that were chosen and of these for those that are damaged."""

    size: int
    chosen: int = 0
    damaged: int = 0


class HealthCheck:
    """One run of it."""

    def __init__(self, job: HealthCheckJob, store: ObjectStore, status: Status) -> None:
        self._job = job
        self._store = store
        self._status = status
        self._listed: list[dict[str, object]] = []
        self._damaged_points = 0
        self._new_points = 0
        self._ranges = 0
        self._marks = 0
        self._unreadable = 0
        self._warnings: list[dict[str, str]] = []
        self._failed = 0
        self._errors: dict[str, dict[str, str]] = {}

    def run(self) -> dict[str, object]:
        """Do it. Damage is no failure, and what keeps it from being looked for in one resource leaves the others alone.
        Raises AgentError for what is about all of them.

        {health_check: {mode, percent, seed, resources, points, blocks, bytes_read, damaged_points, new_damaged_points,
        damaged_ranges, marks, unreadable_marks, damage: [{resource, restore_point, objects, blocks: [{volume_id, first,
        last, offset, length}]}], failed, errors: {path: error}}, warnings}: of damage and errors at most so much as a
        result may hold. ``points`` are those that were checked, ``failed`` resources that could not be. New are points
        of which something is damaged that no mark had told before. ``offset`` and ``length`` are bytes of the volume.
        """
        job, status = self._job, self._status
        repository.open_info(self._store)
        status.begin("Checking", UNIT, _COUNTERS)
        with pools(status.progress, read=_RANGES_AT_ONCE) as (readers,):
            for each in job.resources:
                try:
                    self._resource(each, readers)
                except AgentError as error:
                    if error.code in OF_ALL:
                        raise
                    self._failed += 1
                    if len(self._errors) < _LISTED:
                        self._errors[each.name.path] = error.as_dict()
        counted = status.unit(UNIT)
        result = {
            "mode": job.mode,
            "percent": job.percent if job.mode == "sample" else {"quick": 0.0, "full": 100.0}[job.mode],
            "seed": job.seed,
            "resources": len(job.resources),
            "points": int(counted["points_done"]),
            "blocks": int(counted["blocks_done"]),
            "bytes_read": int(counted["bytes_read"]),
            "damaged_points": self._damaged_points,
            "new_damaged_points": self._new_points,
            "damaged_ranges": self._ranges,
            "marks": self._marks,
            "unreadable_marks": self._unreadable,
            "damage": self._listed,
            "failed": self._failed,
            "errors": self._errors,
        }
        return {"health_check": result, "warnings": self._warnings}

    def _resource(self, checked: Checked, readers: Executor) -> None:
        self._status.stage(f"Checking {checked.name.path}")
        points = repository.list_points(self._store, checked.name)
        self._status.count(UNIT, points_total=len(points))
        # After the points: what these refer to is older than the list of it.
        looked = _Looked(self._job, checked, self._store, self._status, readers, not_checked=self._not_checked)
        for point, key in points.items():
            damage = self._point(checked, looked, point, key)
            if damage is None:
                self._status.count(UNIT, points_total=-1)
                continue
            self._status.count(UNIT, points_done=1)
            if damage:
                self._report(checked, point, damage)
        self._look_at_marks(checked)

    def _look_at_marks(self, checked: Checked) -> None:
        """Those that cannot be read: what they say of their points is not known."""
        unreadable = list(unreadable_marks(self._store, checked.name, checked.key))
        self._unreadable += len(unreadable)
        if unreadable:
            message = (
                f"{checked.name.path}: {len(unreadable)} marks of damage cannot be read, as {unreadable[0]}. What they "
                "say of their restore points is not known."
            )
            remedy = "A backup that goes on from such a point copies everything anew."
            self._warn(AgentError("MarkUnreadable", message, remedy))

    def _warn(self, error: AgentError) -> None:
        if len(self._warnings) < _WARNINGS:
            self._warnings.append(error.as_dict())

    def _not_checked(self, key: str, error: AgentError) -> None:
        """Nothing is known of an object: it is no damage, and a restore point is not marked for it."""
        remedy = error.remedy
        if error.code == _KEY_MISSING:  # keys are those of when the run began
            remedy = "If the key was rotated meanwhile, check again; else put back what is missing in keys/."
        self._warn(AgentError(error.code, f"{key} was not checked: {error.message}", remedy))

    def _point(
        self, checked: Checked, looked: _Looked, point: str, key: str, tries: int = _GENERATIONS
    ) -> Damage | None:
        """What is damaged of a restore point, None when it was not checked."""
        try:
            manifest = repository.read_manifest(self._store, key, checked.key)
        except ObjectNotFound:  # retention has taken it meanwhile, or written it anew
            now = repository.list_points(self._store, checked.name).get(point)
            if now is None:
                return None
            if tries == 1:
                raise
            looked.list_packs()
            return self._point(checked, looked, point, now, tries - 1)
        except AgentError as error:
            # A newer version has written it, or a run that has a newer key, and can check it.
            if error.code in ("RepositoryFormat", _KEY_MISSING):
                self._not_checked(key, error)
                return None
            if error.code != "RestorePointDamaged":
                raise
            return Damage(objects=(key,))
        found = [looked.volume(manifest, each) for each in manifest.volumes]
        objects = dict.fromkeys(key for each in found for key in each.objects)
        return Damage(tuple(objects), tuple(block for each in found for block in each.blocks))

    def _report(self, checked: Checked, point: str, damage: Damage) -> None:
        written = mark_damaged(self._store, checked.name, checked.key, point, damage=damage, run=self._job.run)
        self._marks += written
        self._damaged_points += 1
        self._new_points += bool(written)
        room = max(0, _LISTED - self._ranges)
        self._ranges += max(1, len(damage.blocks))
        if room:
            blocks = [{**asdict(each), **_in_bytes(each)} for each in damage.blocks[:room]]
            entry = {"resource": checked.name.path, "restore_point": point, "blocks": blocks}
            self._listed.append({**entry, "objects": list(damage.objects[:room])})


def _in_bytes(blocks: BlockRange) -> dict[str, int]:
    return {"offset": blocks.first * BLOCK_SIZE, "length": (blocks.last + 1 - blocks.first) * BLOCK_SIZE}


class _Looked:
    """What was looked at of one resource."""

    def __init__(
        self,
        job: HealthCheckJob,
        checked: Checked,
        store: ObjectStore,
        status: Status,
        readers: Executor,
        *,
        not_checked: Callable[[str, AgentError], None],
    ) -> None:
        """``not_checked`` is told the key of each object that cannot be checked, and why."""
        self._job = job
        self._name, self._key = checked.name, checked.key
        self._keys = tuple(map(seal.key_id, seal.every(checked.key)))
        self._not_checked = not_checked
        self._store = store
        self._status = status
        self._readers = readers
        self._packs: dict[str, _Pack] = {}
        self.list_packs()
        self._seen: set[bytes] = set()
        #: Packs whose key is missing.
        self._sealed: set[bytes] = set()
        #: Nodes that are gone or were changed, and those that hold damage: of leaves, bits for their slots.
        self._lost: set[bytes] = set()
        self._bad: dict[bytes, int] = {}

    def list_packs(self) -> None:
        """Learn of packs and their sizes: those of a manifest must be listed after it."""
        for each in self._store.list(f"{self._name.path}/packs/"):
            self._packs.setdefault(each.key.rpartition("/")[2], _Pack(0)).size = each.size

    def volume(self, manifest: Manifest, volume: VolumeRecord) -> Damage:
        """What is damaged of a volume of a restore point."""
        root = volume.tree().node
        if root is None:
            return Damage()
        reader = TreeReader(manifest.place(volume), self._key, volume.tree(), self._store)
        top = volume.levels - 1
        above: list[Opened] = []
        leaves: dict[int, bytes] = {}
        chosen = self._chosen(self._walk(reader, top, ((0, root),), above), leaves)
        sealed_as = manifest.place(volume).volume_id
        for entry in self._verified(sealed_as, ranges(chosen)):
            self._pack(entry).damaged |= 1 << entry.location.frame
            self._is_bad(leaves[entry.index // FANOUT], entry.index)
        for opened in reversed(above):  # those below come after those above
            if any(child.id in self._bad or child.id in self._lost for _, child in opened.children):
                self._bad[opened.node.id] = 0
        if root.id not in self._bad and root.id not in self._lost:
            return Damage()
        return self._damage(reader, volume, top, root)

    def _walk(
        self, reader: TreeReader, level: int, nodes: Iterable[tuple[int, Node]], above: list[Opened]
    ) -> Iterator[Opened]:
        """Leaves that were not looked at yet, ascending; nodes that cannot be read are left out."""

        def read(found: tuple[int, Node]) -> tuple[bytes, Opened | seal.OtherKey | None]:
            try:
                return found[1].id, self._opened(reader, level, *found)
            except seal.OtherKey as error:
                return found[1].id, error

        unseen = (found for found in nodes if found[1].id not in self._seen)
        for identity, opened in ordered(self._readers, read, unseen, _NODES_AT_ONCE):
            self._seen.add(identity)
            self._status.count(UNIT, nodes_done=1)
            if opened is None:
                self._lost.add(identity)
            elif isinstance(opened, seal.OtherKey):
                self._has_no_key(layout.node_key(self._name, identity), opened)
            elif level:
                above.append(opened)
                yield from self._walk(reader, level - 1, opened.children, above)
            else:
                yield opened

    def _opened(self, reader: TreeReader, level: int, position: int, node: Node) -> Opened | None:
        """None for one that is gone or was changed; raises OtherKey."""
        try:
            return reader.open(level, position, node)
        except seal.OtherKey:
            raise
        except (seal.SealBroken, ObjectNotFound):
            return None

    def _chosen(self, opened: Iterator[Opened], leaves: dict[int, bytes]) -> Iterator[Entry]:
        """The blocks to read. Those whose pack is not there or too short are damaged as they are."""
        for leaf in opened:
            leaves[leaf.position] = leaf.node.id
            for entry in leaf.entries:
                pack, bit = self._pack(entry), 1 << entry.location.frame
                # Behind the blocks there is at least the seal of a list, and its length in four bytes.
                ends = entry.location.offset + entry.location.length + seal.TAG_BYTES + 4
                if ends > pack.size or pack.damaged & bit:
                    self._is_bad(leaf.node.id, entry.index)
                elif not pack.chosen & bit and self._wants(entry):
                    pack.chosen |= bit
                    if self._can_open(entry.location):
                        self._status.count(UNIT, blocks_total=1)
                        yield entry

    def _can_open(self, at: Location) -> bool:
        """Whether the key of a block is at hand; of each pack it is told once."""
        if at.key in self._keys:
            return True
        if at.pack not in self._sealed:
            self._sealed.add(at.pack)
            key = layout.pack_key(self._name, at.pack)
            self._has_no_key(key, seal.OtherKey(key, at.key, self._keys))
        return False

    def _has_no_key(self, key: str, error: seal.OtherKey) -> None:
        self._not_checked(key, AgentError(_KEY_MISSING, error.message))

    def _wants(self, entry: Entry) -> bool:
        """Whether the block is read: of a sample, the same blocks for the same seed, whatever the order."""
        if self._job.mode != "sample":
            return self._job.mode == "full"
        at = entry.location.pack + entry.location.frame.to_bytes(4, "big")
        drawn = hashlib.sha256(self._job.seed.encode() + b"\0" + at).digest()[:8]
        return int.from_bytes(drawn, "big") < self._job.percent / 100 * 2**64

    def _verified(self, sealed_as: str, parts: Iterator[Range]) -> Iterator[Entry]:
        """Those blocks of the ranges that are damaged."""

        def read(part: Range) -> tuple[Range, list[Entry]]:
            return part, self._damaged_in(sealed_as, part)

        for part, damaged in ordered(self._readers, read, parts, _RANGES_AT_ONCE):
            self._status.count(UNIT, blocks_done=len(part.entries), bytes_read=part.length)
            yield from damaged

    def _damaged_in(self, sealed_as: str, part: Range) -> list[Entry]:
        first = part.entries[0].location
        reader = PackReader(self._name, self._key, first.pack)
        try:
            body = self._store.get_range(layout.pack_key(self._name, first.pack), part.start, part.length)
        except AgentError as error:
            if error.code not in DAMAGED:
                raise
            if len(part.entries) == 1:
                return list(part.entries)
            return [entry for each in part.entries for entry in self._damaged_in(sealed_as, Range((each,)))]
        damaged = []
        for entry in part.entries:
            at = entry.location
            frame = body[at.offset - part.start : at.offset - part.start + at.length]
            try:
                reader.block(at, frame, sealed_as, entry.index, entry.digest)
            except seal.SealBroken:
                damaged.append(entry)
        return damaged

    def _pack(self, entry: Entry) -> _Pack:
        return self._packs.setdefault(entry.location.pack.hex(), _Pack(0))

    def _is_bad(self, leaf: bytes, index: int) -> None:
        self._bad[leaf] = self._bad.get(leaf, 0) | 1 << index % FANOUT

    def _damage(self, reader: TreeReader, volume: VolumeRecord, level: int, root: Node) -> Damage:
        objects: dict[str, None] = {}

        def below(level: int, position: int, node: Node) -> Iterator[BlockRange]:
            lost = node.id in self._lost
            if not lost and node.id not in self._bad:
                return
            opened = None if lost else self._opened(reader, level, position, node)
            if opened is None:
                objects[layout.node_key(self._name, node.id)] = None
                span = FANOUT ** (level + 1)
                last = min((position + 1) * span, volume.size_gib * BLOCKS_PER_GIB) - 1
                yield BlockRange(volume.volume_id, position * span, last)
                return
            for entry in opened.entries:
                if self._bad[node.id] >> entry.index % FANOUT & 1:
                    objects[layout.pack_key(self._name, entry.location.pack)] = None
                    yield BlockRange(volume.volume_id, entry.index, entry.index)
            for at, child in opened.children:
                yield from below(level - 1, at, child)

        blocks = tuple(joined(below(level, 0, root)))
        return Damage(tuple(objects), blocks)
