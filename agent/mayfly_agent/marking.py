# SPDX-License-Identifier: GPL-3.0-or-later
"""What restore points stand on: the first half of deletion, and what makes it safe.

Memory: of each node its id, about 110 bytes, and of each pack its id and which of its frames are in use, about 210
bytes. So 1 GiB holds 5 million packs, which are 80 TiB of one resource; tests/unit/agent/retention/test_memory.py
measures it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from .errors import AgentError
from .objects import ObjectStore
from .repository import layout
from .repository.layout import ResourceName
from .repository.manifest import Manifest, open_with_value
from .repository.packs import Location, length_of
from .repository.seal import SealBroken
from .repository.trees import Each, TreeReader

# Of a pack, the bytes in use stand in the lowest bits of a number, above them one bit for each frame in use.
_BYTES_BITS = 32


@dataclass(frozen=True)
class Listed:
    """A manifest as the list of objects names it: of several generations of a point, all."""

    key: str
    id: str
    generation: int
    modified: datetime


@dataclass(frozen=True)
class Point:
    """A manifest that was read; ``value`` is all that it says."""

    listed: Listed
    manifest: Manifest
    value: dict[str, object]


def list_manifests(store: ObjectStore, resource: ResourceName) -> list[Listed]:
    """The manifests of a resource, all generations, oldest point first."""
    prefix, found = layout.points_prefix(resource), []
    for each in store.list(prefix):
        parsed = layout.parse_point(each.key.removeprefix(prefix))
        if parsed is not None:
            found.append(Listed(each.key, *parsed, each.modified))
    return sorted(found, key=lambda each: (each.id, each.generation))


class _Beyond(set[bytes]):
    """Ids beside those of another set."""

    def __init__(self, others: set[bytes]) -> None:
        super().__init__()
        self._others = others

    def __contains__(self, item: object) -> bool:
        return super().__contains__(item) or item in self._others


class Marked:
    """Ids of the packs and nodes that manifests refer to. Those that stay must be added before those that go."""

    def __init__(self, store: ObjectStore, resource_key: bytes, each: Each = map) -> None:
        self._store = store
        self._key = resource_key
        self._each = each
        self._nodes: set[bytes] = set()
        self._packs: dict[bytes, int] = {}
        self._going_nodes = _Beyond(self._nodes)
        self._going_packs: set[bytes] = set()

    def stay(self, listed: Iterable[Listed]) -> list[Point]:
        """Add what these stand on, and stay. Raises AgentError for anything that cannot be read or understood."""
        points = []
        for each in listed:
            point = self._read(each)
            points.append(point)
            for volume in point.manifest.volumes:
                tree = TreeReader(point.manifest.place(volume), self._key, volume.tree(), self._store)
                for opened in tree.walk(self._nodes, self._each):
                    for entry in opened.entries:
                        self._use(entry.location)
        return points

    def go(self, listed: Iterable[Listed]) -> None:
        """Add what these stand on, which are about to be removed; raises as stay."""
        for each in listed:
            manifest = self._read(each).manifest
            for volume in manifest.volumes:
                tree = TreeReader(manifest.place(volume), self._key, volume.tree(), self._store)
                for opened in tree.walk(self._going_nodes, self._each):
                    self._going_packs.update(entry.location.pack for entry in opened.entries)

    def __contains__(self, identity: bytes) -> bool:
        """Whether any manifest refers to it, also one that goes."""
        return self.stays(identity) or identity in self._going_packs or identity in self._going_nodes

    def stays(self, identity: bytes) -> bool:
        """Whether a manifest that stays refers to it."""
        return identity in self._packs or identity in self._nodes

    def bytes_needed(self, pack: bytes) -> int:
        """How long about a pack would be that held only what those that stay refer to of this one."""
        frames = self._packs.get(pack, 0) & ((1 << _BYTES_BITS) - 1)
        return length_of(self.frames_used(pack), frames)

    def frames_used(self, pack: bytes) -> int:
        """How many of its frames."""
        return (self._packs.get(pack, 0) >> _BYTES_BITS).bit_count()

    def _use(self, at: Location) -> None:
        used, bit = self._packs.get(at.pack, 0), 1 << (_BYTES_BITS + at.frame)
        if not used & bit:
            self._packs[at.pack] = (used | bit) + at.length

    def _read(self, listed: Listed) -> Point:
        try:
            manifest, value = open_with_value(self._store.get(listed.key).body, self._key, listed.key)
        except (SealBroken, ValueError) as error:
            message = f"The restore point {listed.key} is damaged: {error}"
            raise AgentError(
                "RestorePointDamaged", message, "Nothing of its resource is deleted while it is there."
            ) from error
        # Whoever teaches the reader of manifests another need must teach it to deletion as well.
        if value.get("needs"):
            message = f"The restore point {listed.key} needs {value['needs']}, which deletion does not know."
            raise AgentError("RepositoryFormat", message, "Use a newer version of mayfly.")
        return Point(listed, manifest, value)
