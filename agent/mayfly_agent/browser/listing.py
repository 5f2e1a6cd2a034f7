# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a folder, sorted, a page at a time: the order is found once and kept, the rest is looked at by page.

Names and kinds come with the listing itself; sizes and times cost a look at each thing, so a folder that is sorted by
name costs that for one page alone. On a backup whose blocks are fetched as they are read that is most of the time.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass

from .names import Parts, shown, wire
from .refusals import Refused
from .volumes import Volume, kind, kind_of, listed

SORTS = ("name", "size", "modified")
LONGEST_PAGE = 1000
# Names in one folder, and in all orders that are kept: some 150 bytes each.
LONGEST_FOLDER = 1_000_000
_KEPT_NAMES = 1_000_000
_KEPT_ORDERS = 32
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Query:
    """Which folder, in which order, and which part of it."""

    parts: Parts
    sort: str
    descending: bool
    offset: int
    limit: int

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise Refused(400, f"A folder is sorted by {', '.join(SORTS)}.")
        if self.offset < 0 or not 1 <= self.limit <= LONGEST_PAGE:
            raise Refused(400, f"A page has from 1 to {LONGEST_PAGE} entries.")


@dataclass(frozen=True)
class _Order:
    """Names in their order; the first of them are folders."""

    names: list[bytes]
    folders: int


class Listings:
    """Folders' orders, the latest ones kept. May be called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: OrderedDict[tuple[object, ...], _Order] = OrderedDict()

    def page(self, volume: Volume, query: Query) -> dict[str, object]:
        """Part of a folder, for the page. Raises OSError for what cannot be read, Refused for what is too much."""
        with volume.folder(query.parts) as folder:
            status = os.fstat(folder)
            key = (volume.identity, query.parts, query.sort, query.descending, status.st_mtime_ns)
            order = self._kept(key)
            if order is None:
                order = _sorted(folder, query)
                self._keep(key, order)
            names = order.names[query.offset : query.offset + query.limit]
            entries = [described(folder, name) for name in names]
        parents = [query.parts[:depth] for depth in range(1, len(query.parts) + 1)]
        return {
            "volume": volume.identity,
            "path": wire(query.parts),
            "parents": [{"path": wire(each), "name": shown(each[-1])} for each in parents],
            "total": len(order.names),
            "folders": order.folders,
            "offset": query.offset,
            "entries": entries,
        }

    def _kept(self, key: tuple[object, ...]) -> _Order | None:
        with self._lock:
            order = self._orders.get(key)
            if order is not None:
                self._orders.move_to_end(key)
            return order

    def _keep(self, key: tuple[object, ...], order: _Order) -> None:
        with self._lock:
            self._orders[key] = order
            while len(self._orders) > _KEPT_ORDERS or self._names() > _KEPT_NAMES:
                self._orders.popitem(last=False)

    def _names(self) -> int:
        return sum(len(each.names) for each in self._orders.values())


def described(folder: int, name: bytes) -> dict[str, object]:
    """One thing in an open folder, for the page; what cannot be looked at has neither size nor time."""
    found: dict[str, object] = {"name": shown(name), "path": wire((name,)), "kind": "other"}
    raw = os.fsdecode(name)
    try:
        status = os.stat(raw, dir_fd=folder, follow_symlinks=False)
        found |= {"kind": kind(status.st_mode), "size": status.st_size, "modified": status.st_mtime}
        if found["kind"] == "link":
            found["target"] = shown(os.fsencode(os.readlink(raw, dir_fd=folder)))
    except OSError:
        found["unreadable"] = True
    return found


def natural(name: bytes) -> tuple[list[object], bytes]:
    """A key that sorts names as people do: without regard to case, numbers by their value."""
    words = _DIGITS.split(name.decode("utf-8", "replace").casefold())
    # Of ever so many digits no number is made; sorted by their count, then as text, they come out the same.
    keys = [(len(word.lstrip("0")), word.lstrip("0")) if word.isdecimal() else word for word in words]
    return [*keys], name


def _sorted(folder: int, query: Query) -> _Order:
    found: list[tuple[bool, object, bytes]] = []
    for name, entry in listed(folder):
        if len(found) == LONGEST_FOLDER:
            raise Refused(413, f"The folder has more than {LONGEST_FOLDER:,} entries. Search in it instead.")
        found.append((kind_of(entry) != "folder", _key(query.sort, name, entry), name))
    found.sort(key=lambda each: each[1], reverse=query.descending)  # type: ignore[arg-type,return-value]
    found.sort(key=lambda each: each[0])  # folders come first, whatever the order
    names = [name for _, _, name in found]
    return _Order(names, sum(not other for other, _, _ in found))


def _key(sort: str, name: bytes, entry: os.DirEntry[str]) -> object:
    if sort == "name":
        return natural(name)
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return 0, natural(name)
    return status.st_size if sort == "size" else status.st_mtime_ns, natural(name)
