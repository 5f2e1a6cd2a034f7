# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletion of what nobody needs from one resource of a repository, in two phases (docs/repository-format.md, 15).

What no manifest refers to is condemned: a list names it. What a list has named for GRACE by the store's own clock, and
still nothing refers to, is deleted. A sweep that is killed anywhere has lost nothing, and the next one goes on.

Memory: that of marking, about 110 bytes for each object that lists name, and the versions of 1,000 objects.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from .errors import AgentError
from .marking import Listed, Marked, Point, list_manifests
from .objects import ObjectInfo, ObjectNotFound, ObjectStore, Refused
from .progress import Progress
from .repository import layout
from .repository.condemned import LISTED_AT_ONCE, read_condemned, write_condemned
from .repository.marks import Marks, read_marks
from .repository.trees import Each
from .repository_jobs import Chosen

# The longest run, the 61 minutes that its requests may act later, the 35 that the removal of a manifest can take, and a
# margin of 24: docs/repository-format.md, 15.
GRACE = timedelta(days=7, hours=2)
# From the list of what is condemned until a manifest is removed.
_REMOVAL_SECONDS = 300.0
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_DELETED_AT_ONCE = 1000
_LISTS_AT_ONCE = 100
# Of those that the store refuses to delete, how many are asked why; the others of the same call count like them.
_ASKED_WHY = 100
# Packs that are written anew by one sweep: 32 GiB of them, of which not two thirds are in use.
_PACKS_AT_ONCE = 2048
_FRAMES_AT_ONCE = 262_144


@dataclass
class Swept:
    """What a sweep has done. ``locked``: objects that Object Lock keeps, until ``locked_until`` at the latest.

    ``points_locked`` were to go, and are kept so. ``points_damaged`` could not be read when packs were written anew,
    and stay as they are.
    """

    points_deleted: list[str] = field(default_factory=list)
    points_locked: list[str] = field(default_factory=list)
    objects_deleted: int = 0
    bytes_deleted: int = 0
    objects_condemned: int = 0
    bytes_condemned: int = 0
    locked: int = 0
    locked_until: datetime | None = None
    packs_rewritten: int = 0
    points_damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sparse:
    """Packs of which little is in use, the least first, and the points that stay, some of which use them."""

    packs: tuple[bytes, ...]
    points: tuple[Point, ...]


class Sweep:
    """One sweep of one resource."""

    def __init__(
        self,
        store: ObjectStore,
        chosen: Chosen,
        run: str,
        progress: Progress,
        *,
        each: Each = map,
        grace: timedelta = GRACE,
        live_share: float = 0.6,
    ) -> None:
        self._store = store
        self._chosen = chosen
        self._run = run
        self._progress = progress
        self._grace = grace
        self._live_share = live_share
        self._marked = Marked(store, chosen.key, each)
        self._lists: dict[str, frozenset[bytes]] = {}
        self.swept = Swept()

    def run(self) -> Sparse:
        """Do it; ``swept`` says what was done, also when AgentError is raised."""
        resource = self._chosen.resource
        began = self._store.get(layout.REPOSITORY).date
        listed = list_manifests(self._store, resource)
        marks = read_marks(self._store, resource)
        going = self._going(listed, marks)
        gone = {each.key for each in going}
        points = self._marked.stay(each for each in listed if each.key not in gone)
        self._marked.go(going)
        self._delete_due(began)
        stays_too = not self._remove(listed, going)
        self._unmark(marks.damaged)
        self._forget_attempts(began, listed)
        newest = max((each.modified for each in listed), default=datetime.min.replace(tzinfo=UTC))
        if any(_is_locked(each, began) for each in points):
            self._live_share = 0.0  # what is locked stays as it is: written anew, it would be stored twice
        sparse = self._condemn(began, newest, going_stays=stays_too)
        return Sparse(tuple(sparse), tuple(points))

    def _going(self, listed: list[Listed], marks: Marks) -> list[Listed]:
        """The manifests to remove: of the points that were chosen all, of others the old generations.

        Whatever was chosen, the newest good point stays, what is marked to be kept, and where nothing is good, all.
        """
        newest = {each.id: each for each in listed}
        good = newest.keys() - marks.damaged
        remove = self._chosen.remove - marks.keep - {max(good)} if good else frozenset()
        return [each for each in listed if each.id in remove or each != newest[each.id]]

    def _delete_due(self, began: datetime) -> None:
        """What lists have condemned for long enough, and those lists. They are listed after all was marked."""
        condemned = read_marks(self._store, self._chosen.resource).condemned
        due = iter(sorted(key for key, modified in condemned.items() if modified <= began - self._grace))
        while keys := list(islice(due, _LISTS_AT_ONCE)):
            lists = {key: names for key in keys if (names := self._named_by(key)) is not None}
            doomed = {each for names in lists.values() for each in names if each not in self._marked}
            found = self._objects() if doomed else ()
            refused = self._delete(each for identity, each in found if identity in doomed)
            kept = {self._identity(each.key) for each in refused}
            for key, names in lists.items():
                if kept.isdisjoint(names):
                    self._delete_whole(key)

    def _remove(self, listed: list[Listed], going: list[Listed]) -> bool:
        """Remove manifests; whether all of them are gone."""
        prefix = layout.points_prefix(self._chosen.resource)
        keys = {each.key for each in going}
        versions: dict[str, list[ObjectInfo]] = {}
        for each in self._store.list(prefix, versions=True) if keys else ():
            if each.key in keys:
                versions.setdefault(each.key, []).append(each)
        self._uncondemn()  # what takes long is done before time counts
        waiting, gone = iter(going), True
        while batch := list(islice(waiting, _DELETED_AT_ONCE // 2)):
            with self._progress.within(_REMOVAL_SECONDS):
                marks = self._uncondemn()
                still = {each.key for each in self._going(listed, marks)}
                removed = [each for each in batch if each.key in still]
                self._progress.check_deadline()
                refused = self._delete((each for one in removed for each in versions.get(one.key, ())), count=False)
            kept = {each.key for each in refused}
            gone = gone and not kept and len(removed) == len(batch)
            self.swept.points_locked += sorted({one.id for one in removed if one.key in kept})
            self._count_points(one for one in removed if one.key not in kept)
        return gone

    def _count_points(self, removed: Iterable[Listed]) -> None:
        done = set(self.swept.points_deleted)
        found = {each.id for each in removed if each.id in self._chosen.remove}
        self.swept.points_deleted += sorted(found - done)

    def _unmark(self, damaged: frozenset[str]) -> None:
        """Delete what marks say of those damaged points that are no more.

        The points are listed after the marks were, so one that was made and marked meanwhile does not count as gone.
        """
        resource = self._chosen.resource
        if damaged:
            here = {each.id for each in list_manifests(self._store, resource)}
            gone = {("damaged", each) for each in damaged - here}
            prefix = layout.marks_prefix(resource)
            found = self._store.list(layout.damaged_prefix(resource), versions=True) if gone else ()
            named = (each for each in found if layout.parse_mark(each.key.removeprefix(prefix)) in gone)
            self._delete(named, count=False)

    def _forget_attempts(self, began: datetime, listed: list[Listed]) -> None:
        """Delete the notes of backups that have made their points, and those that are too old to go on from."""
        prefix, made = layout.attempts_prefix(self._chosen.resource), {each.id for each in listed}
        over = []
        for each in self._store.list(prefix, versions=True):
            parsed = layout.parse_attempt(each.key.removeprefix(prefix))
            if parsed is not None and (parsed[0] in made or each.modified <= began - self._grace):
                over.append(each)
        self._delete(over, count=False)

    def _uncondemn(self) -> Marks:
        """Take back every list that names anything that a manifest refers to; the marks as they are."""
        marks = read_marks(self._store, self._chosen.resource)
        for key in marks.condemned:
            names = self._named_by(key)
            if names is not None and any(each in self._marked for each in names):
                self._delete_whole(key)
                del self._lists[key]
        self._lists = {key: names for key, names in self._lists.items() if key in marks.condemned}
        return marks

    def _condemn(self, began: datetime, newest: datetime, *, going_stays: bool) -> list[bytes]:
        """Name what no manifest that stays refers to; of the packs in use, those that are mostly dead.

        What is younger than the newest manifest may be of a backup that goes on, and come into use: it has lists of its
        own, so that those of the rest need not be taken back.
        """
        named = set().union(*self._lists.values())
        lists: dict[bool, dict[bytes, int]] = {True: {}, False: {}}
        sparse: list[tuple[float, bytes]] = []
        for identity, each in self._objects():
            if self._marked.stays(identity):
                share = self._marked.bytes_needed(identity) / each.size if each.size else 1.0
                if len(identity) == layout.PACK_ID_BYTES and share < self._live_share:
                    add = heapq.heappushpop if len(sparse) >= _PACKS_AT_ONCE else heapq.heappush
                    add(sparse, (-share, identity))
                continue
            if identity in named or (going_stays and identity in self._marked):
                continue
            new = lists[each.modified >= newest]
            new[identity] = new.get(identity, 0) + each.size
            if len(new) == LISTED_AT_ONCE:
                self._write_list(began, new)
        for new in lists.values():
            self._write_list(began, new)
        return self._few_frames(identity for _share, identity in sorted(sparse, reverse=True))

    def _few_frames(self, packs: Iterable[bytes]) -> list[bytes]:
        """The first of these that have so many frames in use as one sweep moves."""
        taken, frames = [], 0
        for pack in packs:
            frames += self._marked.frames_used(pack)
            if frames > _FRAMES_AT_ONCE:
                break
            taken.append(pack)
        return taken

    def _write_list(self, began: datetime, objects: dict[bytes, int]) -> None:
        if objects:
            chosen = self._chosen
            write_condemned(self._store, chosen.resource, chosen.key, list(objects), run=self._run, now=began)
            self.swept.objects_condemned += len(objects)
            self.swept.bytes_condemned += sum(objects.values())
            objects.clear()

    def _named_by(self, key: str) -> frozenset[bytes] | None:
        """What a list names, read once; None when it is gone."""
        if key not in self._lists:
            try:
                self._lists[key] = read_condemned(self._store, self._chosen.key, key)
            except ObjectNotFound:  # of another sweep, which took it back or was faster
                return None
        return self._lists[key]

    def _objects(self) -> Iterator[tuple[bytes, ObjectInfo]]:
        """(id, version) of all packs and nodes; what bears another name is left alone."""
        for prefix in layout.objects_prefixes(self._chosen.resource):
            for each in self._store.list(prefix, versions=True):
                identity = self._identity(each.key)
                if identity is not None:
                    yield identity, each

    def _identity(self, key: str) -> bytes | None:
        return layout.parse_object(key.removeprefix(f"{self._chosen.resource.path}/"))

    def _delete_whole(self, key: str) -> None:
        """Delete all versions of one object. Raises AgentError when one of them stays: it would be seen again."""
        found = [each for each in self._store.list(key, versions=True) if each.key == key]
        refused = self._delete(found, count=False)
        if refused:
            raise AgentError(
                refused[0].code, refused[0].message, "Nothing of its resource is deleted while it is locked."
            )

    def _delete(self, found: Iterable[ObjectInfo], *, count: bool = True) -> list[Refused]:
        """Delete these versions; those that are locked. Raises AgentError when another is refused."""
        waiting, locked = iter(found), list[Refused]()
        while batch := list(islice(waiting, _DELETED_AT_ONCE)):
            refused = self._store.delete_many((each.key, each.version) for each in batch)
            kept = {each.key for each in refused}
            gone = [each for each in batch if each.key not in kept]
            self.swept.objects_deleted += len(gone) if count else 0
            self.swept.bytes_deleted += sum(each.size for each in gone) if count else 0
            self._ask_why(refused)
            locked += refused
        return locked

    def _ask_why(self, refused: Collection[Refused]) -> None:
        """Raises AgentError when it is for another reason than a lock."""
        self.swept.locked += len(refused)
        for each in islice(refused, _ASKED_WHY):
            try:
                lock = self._store.lock(each.key, each.version)
            except ObjectNotFound:
                continue
            if lock is None:
                raise AgentError(
                    each.code, each.message, "The role needs s3:DeleteObject and s3:DeleteObjectVersion there."
                )
            if lock.until is not None:
                self.swept.locked_until = max(lock.until, self.swept.locked_until or lock.until)


def _is_locked(point: Point, now: datetime) -> bool:
    lock = point.manifest.lock
    return lock is not None and lock.until is not None and lock.until > now
