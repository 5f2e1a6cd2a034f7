# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks: what is said of restore points and of objects after they were written (docs/repository-format.md, 12).

A mark's key says of which point it is, or that it is a list of what is condemned; the rest is sealed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import AgentError
from ..objects import ObjectStore
from . import layout, seal
from .compression import compress, decompress
from .layout import ResourceName
from .manifest import FORMAT, MAXIMUM_BYTES
from .repository import write_once


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
            raise unknown(each.key)
        kind, name = parsed
        found[kind][each.key if kind == "condemned" else name] = each.modified
    return Marks(frozenset(found["keep"]), frozenset(found["damaged"]), found["condemned"])


def write_mark(store: ObjectStore, resource_key: bytes, key: str, value: Mapping[str, Any]) -> None:
    """Create a mark that says ``value``; raises ObjectExists."""
    plain = compress(json.dumps({"format": FORMAT, **value}, separators=(",", ":")).encode())
    write_once(store, key, seal.seal_object("mark", resource_key, seal.new_id(), plain, _place(key)))


def open_mark(store: ObjectStore, resource_key: bytes, key: str) -> dict[str, Any]:
    """What a mark says.

    Raises ObjectNotFound, SealBroken, and AgentError RepositoryFormat for one that this version does not understand.
    """
    packed = seal.open_object("mark", resource_key, store.get(key).body, _place(key), what=key)
    try:
        value: dict[str, Any] = json.loads(decompress(packed, MAXIMUM_BYTES, key))
        known = value["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise seal.SealBroken(key, f"is no mark: {error!r}") from error
    if not known:
        raise unknown(key)
    return value


def unknown(key: str) -> AgentError:
    """The error of a mark that a newer version has written."""
    return AgentError(
        "RepositoryFormat", f"The mark {key} is of no kind that is known.", "Use a newer version of mayfly."
    )


def _place(key: str) -> bytes:
    return seal.fields(b"mark", key.encode())
