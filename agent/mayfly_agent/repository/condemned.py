# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of packs and nodes that are condemned: no manifest refers to them, and they wait for their deletion."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from ..objects import ObjectStore
from . import layout, seal
from .layout import ResourceName
from .marks import open_mark, unknown, write_mark

# A list that names something that has come into use again goes as a whole: what stands with it waits longer.
LISTED_AT_ONCE = 10_000


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
    value = {"run": run, "objects": [layout.object_name(each) for each in objects]}
    write_mark(store, resource_key, key, value)
    return key


def read_condemned(store: ObjectStore, resource_key: bytes, key: str) -> frozenset[bytes]:
    """The ids of what a list condemns; raises as open_mark."""
    value = open_mark(store, resource_key, key)
    try:
        objects = [layout.parse_object(each) for each in value["objects"]]
    except (KeyError, TypeError) as error:
        raise seal.SealBroken(key, f"is no list: {error!r}") from error
    found = frozenset(each for each in objects if each is not None)
    if None in objects:
        raise unknown(key)
    return found
