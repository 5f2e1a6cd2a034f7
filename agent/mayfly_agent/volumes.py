# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume being written to a repository: its new blocks into packs, and where all of its blocks lie into a tree."""

from __future__ import annotations

from concurrent.futures import Executor

from .pipeline import Uploads
from .repository.packs import PackWriter
from .repository.trees import Entry, Node, Place, Put, Root, TreeWriter

UPLOADS_AT_ONCE = 4


class VolumeWriter:
    """Takes a volume's blocks in ascending order. In memory are a pack in the making and those under way."""

    def __init__(self, place: Place, resource_key: bytes, size: int, put: Put, writers: Executor) -> None:
        """``size`` in blocks; ``put`` puts an object, called by threads of ``writers``."""
        self._place = place
        self._key = resource_key
        self._put = put
        self._uploads = Uploads(writers, UPLOADS_AT_ONCE)
        self._tree = TreeWriter(place, resource_key, size, self._upload)
        self._pack = PackWriter(place.resource, resource_key)
        self.blocks_stored = 0

    def store(self, index: int, digest: bytes, compressed: bytes) -> Entry:
        """Put a block into a pack; what to add to the tree for it."""
        location = self._pack.add(self._place.volume_id, index, digest, compressed)
        self.blocks_stored += 1
        if self._pack.full:
            self._end_pack()
            self._pack = PackWriter(self._place.resource, self._key)
        return Entry(index, digest, location)

    def add(self, entry: Entry) -> None:
        """Add a block that lies in a pack, of this backup or of an earlier one; raises as TreeWriter.add."""
        self._tree.add(entry)

    def share(self, level: int, position: int, node: Node) -> None:
        """Add all that lies below a node of the parent's tree; raises as TreeWriter.share."""
        self._tree.share(level, position, node)

    def so_far(self) -> Root:
        """The tree of what was added until now, when all of it has been put; the next block begins another leaf."""
        if not self._pack.empty:
            self._end_pack()
            self._pack = PackWriter(self._place.resource, self._key)
        root = self._tree.so_far()
        self._uploads.finish()
        return root

    def finish(self) -> Root:
        """The tree, when all of it has been put."""
        if not self._pack.empty:
            self._end_pack()
        root = self._tree.finish()
        self._uploads.finish()
        return root

    def _end_pack(self) -> None:
        self._upload(*self._pack.finish())

    def _upload(self, key: str, body: bytes) -> None:
        self._uploads.add(lambda: self._put(key, body))
