# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks: lists of what is condemned, and what marks say of restore points."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..errors import AgentError
from ..objects import ObjectStore
from . import layout, seal
from .compression import compress, decompress
from .layout import ResourceName
from .manifest import FORMAT, MAXIMUM_BYTES
from .repository import write_once

# A list that names something that has come into use again goes as a whole: what stands with it waits longer.
LISTED_AT_ONCE = 10_000


@dataclass(frozen=True)
class Marks:
    """What the keys of a resource's marks say: ids of points, and {key: when it was made, by the store's clock}."""

    keep: frozenset[str]
    damaged: frozenset[str]
    condemned: dict[str, datetime]


def read_marks(store: ObjectStore, resource: ResourceName) -> Marks:
    """All marks of a resource, by their keys. Raises AgentError RepositoryFormat for one of a kind that is not known:
    it may protect something.
    """
    found: dict[str, dict[str, datetime]] = {"keep": {}, "damaged": {}, "condemned": {}}
    prefix = layout.marks_prefix(resource)
    for each in store.list(prefix):
        parsed = layout.parse_mark(each.key.removeprefix(prefix))
        if parsed is None:
            raise _unknown(each.key)
        kind, name = parsed
        found[kind][each.key if kind == "condemned" else name] = each.modified
    return Marks(frozenset(found["keep"]), frozenset(found["damaged"]), found["condemned"])


def write_condemned(
    store: ObjectStore,
    resource: ResourceName,
    resource_key: bytes,
    objects: Sequence[bytes],
    *,
    run: str,
    now: datetime,
) -> str:
    """Condemn packs and nodes, by their ids; the list's key."""
    key = layout.condemned_key(resource, now, secrets.token_hex(8))
    value = {"format": FORMAT, "run": run, "objects": [layout.object_name(each) for each in objects]}
    plain = json.dumps(value, separators=(",", ":")).encode()
    write_once(store, key, seal.seal_object("mark", resource_key, seal.new_id(), compress(plain), _place(key)))
    return key


def read_condemned(store: ObjectStore, resource_key: bytes, key: str) -> frozenset[bytes]:
    """The ids of what a list condemns.

    Raises ObjectNotFound, SealBroken, and AgentError RepositoryFormat for one that this version does not understand.
    """
    packed = seal.open_object("mark", resource_key, store.get(key).body, _place(key), what=key)
    try:
        value = json.loads(decompress(packed, MAXIMUM_BYTES, key))
        known = value["format"] == FORMAT
        objects = [layout.parse_object(each) for each in value["objects"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise seal.SealBroken(key, f"is no list: {error!r}") from error
    found = frozenset(each for each in objects if each is not None)
    if not known or None in objects:
        raise _unknown(key)
    return found


def _unknown(key: str) -> AgentError:
    return AgentError(
        "RepositoryFormat", f"The mark {key} is of no kind that is known.", "Use a newer version of mayfly."
    )


def _place(key: str) -> bytes:
    return seal.fields(b"mark", key.encode())
