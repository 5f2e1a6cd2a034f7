# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks of restore points that are damaged: what a health check has found, and the next backup copies anew."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import AgentError
from ..objects import ObjectNotFound, ObjectStore
from . import layout, seal
from .layout import ResourceName
from .marks import open_mark, write_mark

# Of objects and of ranges in one mark; what is more goes into further ones.
MAXIMUM_NAMED = 10_000
_UNREADABLE = ("ObjectDamaged", "RepositoryFormat")


@dataclass(frozen=True, order=True)
class BlockRange:
    """Blocks of a volume, from index ``first`` to index ``last``; some of them may be holes."""

    volume_id: str
    first: int
    last: int


@dataclass(frozen=True)
class Damage:
    """What is damaged of a restore point: keys of objects that are gone or were changed, and the blocks in them."""

    objects: tuple[str, ...] = ()
    blocks: tuple[BlockRange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.objects or self.blocks)

    def of(self, volume_id: str) -> tuple[BlockRange, ...]:
        """The blocks of one volume, ascending."""
        return tuple(sorted(each for each in self.blocks if each.volume_id == volume_id))


def mark_damaged(
    store: ObjectStore, resource: ResourceName, resource_key: bytes, point: str, *, damage: Damage, run: str
) -> int:
    """Say of a restore point what is damaged of it, and was not said yet; how many marks were written.

    A mark that cannot be read says nothing.
    """
    before = store.list(layout.damaged_key(resource, point, ""))
    known = _sum(_known(store, resource_key, each.key) or Damage() for each in before)
    objects = sorted(set(damage.objects) - set(known.objects))
    blocks = sorted(set(damage.blocks) - set(known.blocks))
    written = 0
    for at in range(0, max(len(objects), len(blocks)), MAXIMUM_NAMED):
        value = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": run,
            "objects": objects[at : at + MAXIMUM_NAMED],
            "blocks": [asdict(each) for each in blocks[at : at + MAXIMUM_NAMED]],
        }
        write_mark(store, resource_key, layout.damaged_key(resource, point, secrets.token_hex(4)), value)
        written += 1
    return written


def read_damage(store: ObjectStore, resource: ResourceName, resource_key: bytes, point: str) -> Damage:
    """All that marks say of a restore point; raises as open_mark."""
    found = store.list(layout.damaged_key(resource, point, ""))
    return _sum(_read(store, resource_key, each.key) for each in found)


def damaged_objects(store: ObjectStore, resource: ResourceName, resource_key: bytes) -> frozenset[str] | None:
    """Keys of all objects of a resource that marks name; None when one of the marks cannot be read."""
    said = [_known(store, resource_key, each.key) for each in store.list(layout.damaged_prefix(resource))]
    return None if None in said else frozenset(key for each in said if each for key in each.objects)


def unreadable_marks(store: ObjectStore, resource: ResourceName, resource_key: bytes) -> Iterator[str]:
    """Keys of the marks of damage of a resource that were changed, or that this version does not understand."""
    for each in store.list(layout.damaged_prefix(resource)):
        if _known(store, resource_key, each.key) is None:
            yield each.key


def joined(ranges: Iterable[BlockRange]) -> Iterator[BlockRange]:
    """Ranges that follow on one another become one; they come ascending, volume by volume."""
    held: BlockRange | None = None
    for each in ranges:
        if held and each.volume_id == held.volume_id and each.first == held.last + 1:
            held = BlockRange(held.volume_id, held.first, each.last)
            continue
        if held:
            yield held
        held = each
    if held:
        yield held


def _read(store: ObjectStore, resource_key: bytes, key: str) -> Damage:
    """What one mark says; raises as open_mark."""
    value = open_mark(store, resource_key, key)
    try:
        return Damage(tuple(map(str, value["objects"])), tuple(_range(each) for each in value["blocks"]))
    except (KeyError, TypeError, ValueError) as error:
        raise seal.SealBroken(key, f"is no mark: {error!r}") from error


def _known(store: ObjectStore, resource_key: bytes, key: str) -> Damage | None:
    """The same, nothing for a mark that is gone by now, None for one that cannot be read."""
    try:
        return _read(store, resource_key, key)
    except ObjectNotFound:
        return Damage()
    except AgentError as error:
        if error.code not in _UNREADABLE:
            raise
        return None


def _sum(said: Iterable[Damage]) -> Damage:
    found = list(said)
    objects = (key for each in found for key in each.objects)
    return Damage(tuple(objects), tuple(block for each in found for block in each.blocks))


def _range(value: dict[str, Any]) -> BlockRange:
    return BlockRange(str(value["volume_id"]), int(value["first"]), int(value["last"]))
