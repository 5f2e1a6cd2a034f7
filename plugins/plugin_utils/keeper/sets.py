# SPDX-License-Identifier: GPL-3.0-or-later
"""Archived sets of a repository: which there are, which of them may go, and their deletion.

A set is deleted when it was begun GRACE ago or earlier, whole or not. By the argument of docs/repository-format.md, 15,
nobody who has begun before is still writing then; and who begins to write goes on from no set that is so old.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from .. import archive_prices
from .errors import KeeperError
from .repositories import GRACE, ObjectInfo, ResourceName, layout

# https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
_DELETED_AT_ONCE = 1000
_DAY = 86_400.0


@dataclass(frozen=True)
class Set:
    """A set: its restore point, whether its manifest is there, bytes by storage class, and when it was begun.

    ``hidden``: its manifest was there, and versions of it still are. ``packs``: one of the first and last by key.
    """

    resource: ResourceName
    name: str
    whole: bool
    hidden: bool
    begun: datetime
    sizes: dict[str, int] = field(default_factory=dict)
    packs: tuple[ObjectInfo, ...] = ()

    @property
    def folder(self) -> str:
        """What the keys of its objects begin with."""
        return f"{layout.archive_folder(self.resource, self.name)}/"

    @property
    def manifest(self) -> str:
        """Its key."""
        return self.folder + layout.point_key(self.resource, layout.parse_archive(self.name) or "")

    def told(self, now: datetime) -> dict[str, Any]:
        """What people are told of it; ``usd_early`` is what its deletion costs now, ``days_left`` how long it does."""
        early = archive_prices.of_removal(self.sizes, (now - self.begun).total_seconds() / _DAY)
        return {
            "resource": self.resource.path,
            "name": self.name,
            "restore_point": layout.parse_archive(self.name),
            "whole": self.whole,
            "begun": self.begun.isoformat(timespec="seconds"),
            "size_bytes": sum(self.sizes.values()),
            "storage_classes": self.sizes,
            "days_left": early["days_left"],
            "usd_early": early["usd"],
        }


def find(store: Any, resource: ResourceName) -> Iterator[Set]:
    """The sets of a resource."""
    prefix = layout.archives_prefix(resource)
    for folder in store.folders(prefix):
        name = folder.removeprefix(prefix).removesuffix("/")
        if layout.parse_archive(name) is not None:
            found = _read(store, resource, name)
            if found is not None:
                yield found


def _read(store: Any, resource: ResourceName, name: str) -> Set | None:
    """One of them; None when it is gone."""
    empty = Set(resource, name, whole=False, hidden=False, begun=datetime.max.replace(tzinfo=UTC))
    sizes: dict[str, int] = {}
    begun, hidden, packs = None, False, list[ObjectInfo]()
    for each in store.list(empty.folder, versions=True):
        begun = min(begun or each.modified, each.modified)
        sizes[each.storage_class or "STANDARD"] = sizes.get(each.storage_class or "STANDARD", 0) + each.size
        hidden = hidden or each.key == empty.manifest
        if layout.is_pack(each.key):
            packs = [*packs[:1], each]
    if begun is None:
        return None
    whole = any(each.key == empty.manifest for each in store.list(empty.manifest))
    return Set(resource, name, whole, hidden and not whole, begun, sizes, tuple(packs))


def why_kept(store: Any, found: Set, now: datetime) -> KeeperError | None:
    """Why a set cannot be deleted now, None when it can be."""
    what = f"The archived set {found.name} of {found.resource.path}"
    free = found.begun + GRACE
    if now < free:
        until = free.isoformat(timespec="minutes")
        message = f"{what} was begun less than {GRACE.days} days ago: a run may still write to it until {until}."
        return KeeperError("SetInUse", message, "Delete it later: it is paid for until then in any case.")
    for key, version in ((found.manifest, None), *((each.key, each.version) for each in found.packs)):
        if key == found.manifest and not found.whole:
            continue
        lock = store.lock(key, version)
        if lock is not None and (lock.until is None or lock.until > now):
            until = f"until {lock.until.isoformat(timespec='minutes')}" if lock.until else "by a legal hold"
            return KeeperError("SetLocked", f"{what} is locked {until}.", "Nobody deletes it before that.")
    return None


def delete(store: Any, found: Set) -> None:
    """All versions of all objects, the manifest first: killed anywhere, it is no whole set any more, and can go on.

    Raises KeeperError when something is refused.
    """
    manifest = [each for each in store.list(found.manifest, versions=True) if each.key == found.manifest]
    _delete(store, found, manifest)
    _delete(store, found, store.list(found.folder, versions=True))


def _delete(store: Any, found: Set, objects: Iterable[ObjectInfo]) -> None:
    waiting = iter(objects)
    while batch := list(islice(waiting, _DELETED_AT_ONCE)):
        refused = store.delete_many((each.key, each.version) for each in batch)
        if refused:
            message = f"{found.name} of {found.resource.path} was not deleted whole: {refused[0].message}"
            remedy = "The role of mayfly_accounts needs the rights of docs/permissions.md there."
            raise KeeperError(refused[0].code, message, remedy)
