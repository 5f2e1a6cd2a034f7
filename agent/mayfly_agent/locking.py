# SPDX-License-Identifier: GPL-3.0-or-later
"""Object Lock of restore points: no point is locked longer than what it stands on (docs/repository-format.md, 16).

New packs and nodes are put with a lock, and the manifest last, with one that ends no later. What is shared with the
parent is extended before that, unless the parent's manifest says that it is locked for long enough. So that not every
backup has to extend all, objects are locked for a while longer than points: until that has passed, what is shared
needs nothing. What turns out to be locked in another mode then cannot be shared at all.

Memory: about 100 bytes for each pack and each node of a volume whose locks are extended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from .job import LockJob
from .objects import Lock, ObjectStore
from .repository import layout
from .repository.layout import ResourceName
from .repository.manifest import Manifest
from .repository.repository import RepositoryInfo
from .repository.trees import Each, TreeReader

# What objects are locked longer than points: a quarter of the time, so many days at most.
_LONGER = 0.25
_LONGEST = timedelta(days=10)


@dataclass(frozen=True)
class PointLock:
    """How a restore point is locked, and ``objects``, all that it refers to.

    ``extends``: whether what is shared with the parent may be locked for less.
    """

    point: Lock
    objects: Lock
    extends: bool

    @property
    def said(self) -> dict[str, str]:
        """What the manifest says of it."""
        point, objects = self.point.until, self.objects.until
        assert point is not None
        assert objects is not None
        return {
            "locked_until": point.isoformat(),
            "lock_mode": self.point.mode,
            "objects_locked_until": objects.isoformat(),
        }


def lock_of(wanted: LockJob, began: datetime, parent: Manifest | None) -> PointLock:
    """The lock of a point whose backup began at a time of the store's clock. Pure."""
    seconds = timedelta(seconds=wanted.seconds)
    # Whole seconds, as S3 keeps them; rounded up.
    until = (began + seconds).replace(microsecond=0) + timedelta(seconds=1)
    shared = parent.objects_lock if parent else None
    if shared is not None and shared.until is not None and shared.until >= until:
        return PointLock(Lock(until, wanted.mode), Lock(shared.until, wanted.mode), extends=False)
    longer = until + min(seconds * _LONGER, _LONGEST)
    return PointLock(Lock(until, wanted.mode), Lock(longer, wanted.mode), extends=parent is not None)


def why_not_shared(wanted: LockJob | None, parent: Manifest | None) -> str:
    """Why nothing may be shared with a parent, "" when it may: the mode of a lock does not change.

    What a parent without a lock stands on may be locked all the same, of which extend_locks tells.
    """
    if wanted is None or parent is None or parent.lock_mode in (None, wanted.mode):
        return ""
    return f"the parent is locked in mode {parent.lock_mode}"


def extend_locks(store: ObjectStore, manifest: Manifest, resource_key: bytes, lock: Lock, each: Each) -> None:
    """Lock all that a manifest refers to, at least until then. ``each`` makes many requests at once.

    Raises AgentError; of what is gone ObjectNotFound, and LockedOtherwise.
    """
    for _ in each(lambda key: store.extend_lock(key, lock), _objects(store, manifest, resource_key)):
        pass


def lock_repository(store: ObjectStore, info: RepositoryInfo, wanted: LockJob) -> bool:
    """Lock what opens a repository for as long as its objects may be from now on; True. Raises AgentError.

    Something that is locked in another mode keeps it.
    """
    keys = [each.key for each in store.list(f"{layout.KEYS}{info.id}.")]
    lock = lock_of(wanted, store.get(layout.REPOSITORY).date, None)
    for key in (layout.REPOSITORY, *keys):
        found = store.lock(key, None)
        if found is None or (found.until is not None and lock.point.until and found.until < lock.point.until):
            mode = found.mode if found else wanted.mode
            store.extend_lock(key, Lock(lock.objects.until, mode))
    return True


def _objects(store: ObjectStore, manifest: Manifest, resource_key: bytes) -> Iterator[str]:
    """The keys of all packs and nodes, each once."""
    name: ResourceName = manifest.name
    nodes, packs = set[bytes](), set[bytes]()
    for volume in manifest.volumes:
        for opened in TreeReader(manifest.place(volume), resource_key, volume.tree(), store).walk(nodes):
            yield layout.node_key(name, opened.node.id)
            for pack in {entry.location.pack for entry in opened.entries} - packs:
                packs.add(pack)
                yield layout.pack_key(name, pack)
