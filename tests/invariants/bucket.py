# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket that knows what its lists showed some time ago, and looks at everything that is done to it.

What it holds every writer and sweeper to: nothing acts later than deletion reckons with, and nothing goes that a
manifest refers to. A bucket that is ``versioned`` has locks too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from mayfly_agent.errors import AgentError
from mayfly_agent.objects import Lock, Named, ObjectInfo, Refusals, Stored
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.trees import TreeReader

from tests.invariants.promises import COMMITTED, DONE, LIVE, LOCKED, check
from tests.unit.agent.lines import KEY, NAME
from tests.unit.agent.memory import Condition, etag
from tests.unit.agent.retention.aging import AgingObjects


class _Undamaged:
    """Objects as they were before they were damaged."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def get(self, key: str) -> Stored:
        if key in self._bucket.damaged:
            return Stored(self._bucket.damaged[key][0], "", *[self._bucket.now] * 2)
        return self._bucket.get(key)


class Bucket(AgingObjects):
    """One repository in it, with one resource. ``damaged``: (body, time) that each object had which is damaged."""

    def __init__(self, *, versioned: bool = False) -> None:
        super().__init__(versioned=versioned)
        #: The resource's keys, the newest of which seals what is written now.
        self.key: bytes = KEY
        self.damaged: dict[str, tuple[bytes, datetime]] = {}
        self.ever_damaged: set[str] = set()
        #: Keys of the nodes and packs that each manifest refers to.
        self.refers: dict[str, set[str]] = {}
        self._history: dict[str, list[tuple[datetime, ObjectInfo | None]]] = defaultdict(list)
        repository.create(self, lambda identity: [keys.wrap_with_recovery_key(b"m" * 32, b"r" * 32, identity)])

    def put(self, key: str, body: bytes, condition: Condition = None, lock: Lock | None = None) -> str:
        made = super().put(key, body, condition, lock)
        self._history[key].append((self.now, ObjectInfo(key, len(body), self.now, etag(body), None, "STANDARD")))
        if key.startswith(layout.points_prefix(NAME)):
            self.refers[key] = self._referred(key)
        return made

    def delete(self, key: str) -> None:
        self._going(key)
        super().delete(key)

    def delete_many(self, objects: Iterable[Named]) -> Refusals:
        named = list(objects)
        for key, version in named:
            if version is None or (version == self._version(key) and not self.is_locked(key)):
                self._going(key)
        return super().delete_many(named)

    def listed(self, prefix: str, ago: timedelta) -> Iterator[ObjectInfo]:
        """What was there then, ascending."""
        for key in sorted(each for each in self._history if each.startswith(prefix)):
            then = [info for time, info in self._history[key] if time <= self.now - ago]
            if then and then[-1] is not None:
                yield then[-1]

    def damage(self, key: str, how: str) -> None:
        """Change a byte of an object, cut it off, or take it away, as nobody who keeps the rules does."""
        self.damaged[key] = self.objects[key], self.modified[key]
        self.ever_damaged.add(key)
        body = self.objects.pop(key)
        if how == "gone":
            self._history[key].append((self.now, None))
        else:
            self.objects[key] = body[:-7] if how == "cut" else body[:40] + bytes([body[40] ^ 1]) + body[41:]

    def mend(self) -> None:
        """Bring everything back that was damaged, but for what was deleted since."""
        for key, (body, modified) in self.damaged.items():
            if key in self.objects or self._history[key][-1][1] is None:
                self.objects[key], self.modified[key] = body, modified
                self._history[key].append((self.now, ObjectInfo(key, len(body), modified, "", None, "STANDARD")))
        self.damaged.clear()

    def referred(self) -> set[str]:
        """Keys of all nodes and packs that any manifest refers to."""
        return set().union(*(found for key, found in self.refers.items() if key in self.objects))

    def _going(self, key: str) -> None:
        if key in self.objects:
            check(LIVE, key not in self.referred(), f"{key} goes, which a manifest refers to")
            self._history[key].append((self.now, None))
        if self.damaged.pop(key, None):
            self._history[key].append((self.now, None))

    def _referred(self, key: str) -> set[str]:
        """What a manifest refers to, when it is put: all of it is there by then, but for what was damaged."""
        found: set[str] = set()
        manifest = repository.read_manifest(self, key, self.key)
        DONE["restore points put that went on from an attempt"] += any(each.blocks_resumed for each in manifest.volumes)
        for volume in manifest.volumes:
            tree = TreeReader(manifest.place(volume), self.key, volume.tree(), _Undamaged(self))  # type: ignore[arg-type]
            try:
                for opened in tree.walk(set()):
                    found.add(layout.node_key(NAME, opened.node.id))
                    found |= {layout.pack_key(NAME, entry.location.pack) for entry in opened.entries}
            except AgentError as error:
                check(COMMITTED, False, f"{key}: {error.message}")
        lost = {each for each in found if each not in self.objects} - self.damaged.keys()
        check(COMMITTED, not lost, f"{key} refers to {lost}, which are not there")
        lock = manifest.lock
        if lock and lock.until and lock.until > self.now:  # what is written anew says of its lock that it is over
            DONE["restore points put that are locked"] += 1
            loose = {each for each in found - self.damaged.keys() if not self._outlasts(each, lock)}
            check(LOCKED, not loose, f"{key} is locked until {manifest.locked_until}, and not so are {loose}")
        return found

    def _outlasts(self, key: str, lock: Lock) -> bool:
        """Whether an object is locked at least as long, and in the same mode."""
        found = self.locks.get(key)
        if found is None or found.until is None or lock.until is None:
            return False
        return found.mode == lock.mode and found.until >= lock.until
