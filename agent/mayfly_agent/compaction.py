# SPDX-License-Identifier: GPL-3.0-or-later
"""Packs of which little is in use, written anew: their live blocks go into new packs, and new generations of the
manifests name these (docs/repository-format.md, 8). The old generations and packs go with later sweeps.

It is a writer like a backup: what it puts nothing refers to before a manifest is there, which comes last.

Memory: of each node its id, of each block that is moved its new place, about 300 bytes, 5 packs, and 16 nodes ahead.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from .errors import DAMAGED, AgentError
from .marking import Point
from .objects import ObjectExists, ObjectNotFound, ObjectStore
from .pipeline import Uploads, ordered
from .repository import layout
from .repository.damaged import damaged_objects
from .repository.manifest import VolumeRecord, seal_value
from .repository.packs import Location, PackReader, PackWriter
from .repository.repository import write_once
from .repository.trees import Entry, Node, NodeWriter, Opened, TreeReader
from .repository_jobs import Chosen
from .restore import Range, ranges
from .sweep import Sparse
from .volumes import UPLOADS_AT_ONCE

_NODES_AHEAD = 16
_RANGES_AHEAD = 4


@dataclass(frozen=True)
class _Tree:
    """A tree that is written anew: ``volume_id`` is the one that its blocks are sealed with."""

    reader: TreeReader
    writer: NodeWriter
    volume_id: str


class Compaction:
    """What one sweep moves of one resource."""

    def __init__(
        self, store: ObjectStore, chosen: Chosen, sparse: Sparse, readers: Executor, writers: Executor
    ) -> None:
        self._store = store
        self._chosen = chosen
        self._points = sparse.points
        #: Ids of the packs that are written anew.
        self.packs = frozenset(sparse.packs)
        self._readers = readers
        self._uploads = Uploads(writers, UPLOADS_AT_ONCE)
        self._pack = PackWriter(chosen.resource, chosen.key)
        self._moved: dict[tuple[bytes, int], Location] = {}
        self._same: set[bytes] = set()
        self._new: dict[bytes, Node] = {}
        #: Ids of the points that could not be read, and stay as they are.
        self.damaged: list[str] = []
        #: How many manifests have a new generation.
        self.rewritten = 0

    def run(self) -> None:
        """Do it; raises AgentError."""
        # What is known to be damaged cannot be moved, and would keep others from it after much was put for nothing.
        name = self._chosen.resource
        damaged = damaged_objects(self._store, name, self._chosen.key) if self.packs else frozenset()
        if damaged is None:  # a mark cannot be read
            self.packs = frozenset()
            return
        self.packs = frozenset(each for each in self.packs if layout.pack_key(name, each) not in damaged)
        for point in self._points if self.packs else ():
            try:
                changed = self._volumes(point)
            except AgentError as error:
                if error.code not in DAMAGED:
                    raise
                self.damaged.append(point.listed.id)
                continue
            if changed:
                self._end_pack()
                self._uploads.finish()
                self._commit(point, changed)

    def _volumes(self, point: Point) -> dict[str, str]:
        """{volume: root} of the volumes whose trees are others now."""
        changed = {}
        for volume in point.manifest.volumes:
            root = volume.tree().node
            if root is not None and (new := self._root(point, volume, root)) != root:
                changed[volume.volume_id] = new.id.hex()
        return changed

    def _root(self, point: Point, volume: VolumeRecord, root: Node) -> Node:
        if known := self._known(root):
            return known
        place = point.manifest.place(volume)
        reader = TreeReader(place, self._chosen.key, volume.tree(), self._store)
        tree = _Tree(reader, NodeWriter(place, self._chosen.key, self._put), place.volume_id)
        return self._rewritten(tree, reader.open(volume.levels - 1, 0, root))

    def _known(self, node: Node) -> Node | None:
        return node if node.id in self._same else self._new.get(node.id)

    def _rewritten(self, tree: _Tree, opened: Opened) -> Node:
        """The node itself when nothing below it has moved, else the one in its place."""
        node = self._inner(tree, opened) if opened.level else self._leaf(tree, opened)
        if (node.blocks, node.digest) != (opened.node.blocks, opened.node.digest):
            raise AgentError("InternalError", f"The node {opened.node.id.hex()} has become another one.")
        if node == opened.node:
            self._same.add(node.id)
        else:
            self._new[opened.node.id] = node
        return node

    def _inner(self, tree: _Tree, opened: Opened) -> Node:
        def below(found: tuple[int, Node]) -> tuple[int, Node, Opened | None]:
            at, child = found
            return at, child, None if self._known(child) else tree.reader.open(opened.level - 1, at, child)

        children = []
        for at, child, read in ordered(self._readers, below, opened.children, _NODES_AHEAD):
            children.append((at, self._rewritten(tree, read) if read else self._known(child) or child))
        return opened.node if children == list(opened.children) else tree.writer.inner(opened.level, children)

    def _leaf(self, tree: _Tree, opened: Opened) -> Node:
        leaving = [each for each in opened.entries if each.location.pack in self.packs]
        if not leaving:
            return opened.node
        new = (each for each in leaving if (each.location.pack, each.location.frame) not in self._moved)
        for part in ordered(self._readers, lambda each: self._read(tree, each), ranges(new), _RANGES_AHEAD):
            for entry, compressed in part:
                moved = self._pack.add(tree.volume_id, entry.index, entry.digest, compressed)
                self._moved[entry.location.pack, entry.location.frame] = moved
                if self._pack.full:
                    self._end_pack()
        return tree.writer.leaf([replace(each, location=self._place(each.location)) for each in opened.entries])

    def _place(self, at: Location) -> Location:
        return self._moved.get((at.pack, at.frame), at)

    def _read(self, tree: _Tree, part: Range) -> list[tuple[Entry, bytes]]:
        """The blocks of a range, compressed as they were, and verified."""
        pack = part.entries[0].location.pack
        body = self._store.get_range(layout.pack_key(self._chosen.resource, pack), part.start, part.length)
        reader = PackReader(self._chosen.resource, self._chosen.key, pack)
        read = []
        for entry in part.entries:
            at = entry.location
            frame = body[at.offset - part.start : at.offset - part.start + at.length]
            read.append((entry, reader.frame(at, frame, tree.volume_id, entry.index, entry.digest)[0]))
        return read

    def _commit(self, point: Point, changed: dict[str, str]) -> None:
        """Put the manifest's next generation, unless somebody has removed or rewritten the point meanwhile."""
        listed, value = point.listed, point.value
        try:
            body = self._store.get(listed.key).body
        except ObjectNotFound:
            return
        volumes: Any = value["volumes"]
        new = [{**each, "root": changed.get(each["volume_id"], each["root"])} for each in volumes]
        first = value["first"] if listed.generation else sha256(body).hexdigest()
        key = layout.point_key(self._chosen.resource, listed.id, listed.generation + 1)
        # The new packs are not locked: a backup that goes on from here must lock what it shares.
        sealed = seal_value(
            {**value, "volumes": new, "first": first, "objects_locked_until": None}, self._chosen.key, key
        )
        try:
            write_once(self._store, key, sealed)
        except ObjectExists:
            return
        self.rewritten += 1

    def _end_pack(self) -> None:
        if not self._pack.empty:
            self._put(*self._pack.finish())
            self._pack = PackWriter(self._chosen.resource, self._chosen.key)

    def _put(self, key: str, body: bytes) -> None:
        def put() -> None:
            self._store.put(key, body)

        self._uploads.add(put)
