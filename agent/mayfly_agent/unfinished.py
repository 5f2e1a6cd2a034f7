# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs that a writer has finished before it died: what they hold can be used again, where that is safe.

Nothing refers to them, so a sweep condemns them, and a sweep at least G after that deletes them if they are still
unreferenced (docs/repository-format.md, 15). Whoever finds a pack in no list of condemned objects can use it for as
long as a run lasts: a list that is made later than that is not G old before the run has ended, and the sweep that
would delete by it finds what the run has committed. So the lists are read first here, and a pack in any is left alone.

Younger than every manifest are the packs of writers that have not committed: it is these that are looked at, and of
those that go on at the same time, a use does no harm. Blocks are taken over unread, so a pack that a mark names as
damaged is left alone, and one of the newest manifest's own second, which may be its.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress
from datetime import datetime

from .errors import AgentError
from .objects import ObjectInfo, ObjectNotFound, ObjectStore
from .pipeline import ordered
from .repository import layout
from .repository.condemned import read_condemned
from .repository.damaged import damaged_objects
from .repository.layout import ResourceName
from .repository.marks import read_marks
from .repository.packs import Listed, Location, PackReader

# A list of 4,096 blocks and its seal; ours are no longer.
_END_BYTES = 256 * 1024
# 128 GiB of a volume; of more, the rest is copied again.
_MOST_BLOCKS = 262_144
_AT_ONCE = 4
_NOT_READ = ("ObjectDamaged", "ObjectNotFound", "RepositoryFormat")


class Unfinished:
    """What such packs of a resource hold."""

    def __init__(self, store: ObjectStore, resource: ResourceName, resource_key: bytes) -> None:
        self._store = store
        self._resource = resource
        self._key = resource_key
        self._found: dict[tuple[str, int, bytes], Location] = {}

    def find(self, volume_id: str, index: int, digest: bytes) -> Location | None:
        """Where a block lies in one of them."""
        return self._found.get((volume_id, index, digest))

    def read(self, points: Iterable[str], readers: Executor) -> None:
        """Read their lists; ``points`` are the keys of the resource's manifests. Raises AgentError.

        A pack that is damaged, or sealed with another key, is passed over.
        """
        try:
            condemned = self._condemned()
        except AgentError as error:
            if error.code not in _NOT_READ:
                raise
            return  # what is condemned is not known, so nothing is used again
        damaged = damaged_objects(self._store, self._resource, self._key)
        if damaged is None:
            return
        manifests = set(points)
        listed = self._store.list(layout.points_prefix(self._resource))
        newest: datetime | None = max((each.modified for each in listed if each.key in manifests), default=None)
        packs, _nodes = layout.objects_prefixes(self._resource)
        young = (each for each in self._store.list(packs) if newest is None or each.modified > newest)
        good = (each for each in young if each.key not in damaged)
        wanted = ((each, pack) for each in good if (pack := self._pack(each.key)) and pack not in condemned)
        for held in ordered(readers, lambda each: self._held(*each), wanted, _AT_ONCE):
            for each in held:
                self._found[each.volume_id, each.index, each.digest] = each.location
            if len(self._found) > _MOST_BLOCKS:
                return

    def _condemned(self) -> frozenset[bytes]:
        """Ids of all packs and nodes that wait for their deletion."""
        lists = read_marks(self._store, self._resource).condemned
        found: frozenset[bytes] = frozenset()
        for key in lists:
            with suppress(ObjectNotFound):  # a sweep has taken it back, or has deleted what it names
                found |= read_condemned(self._store, self._key, key)
        return found

    def _pack(self, key: str) -> bytes | None:
        return layout.parse_object(key.removeprefix(f"{self._resource.path}/"))

    def _held(self, found: ObjectInfo, pack: bytes) -> list[Listed]:
        length = min(found.size, _END_BYTES)
        try:
            end = self._store.get_range(found.key, found.size - length, length)
            return list(PackReader(self._resource, self._key, pack).contents(end, found.size))
        except AgentError as error:
            if error.code not in _NOT_READ:
                raise
            return []
