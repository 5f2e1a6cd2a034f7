# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps of the resource of tests.unit.agent.lines, and what must hold after each of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from mayfly_agent.compaction import Compaction
from mayfly_agent.pipeline import pools
from mayfly_agent.progress import Progress
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.packs import PackReader
from mayfly_agent.repository.trees import TreeReader
from mayfly_agent.repository_jobs import Chosen
from mayfly_agent.sweep import GRACE, Sweep, Swept

from tests.unit.agent.lines import KEY, NAME, Content, Line, Points, volume
from tests.unit.agent.repository.points import digest
from tests.unit.agent.retention.aging import AgingObjects, StoreClock

# What was opened and verified before: most of a store is the same from case to case.
_OPENED: dict[tuple[Any, ...], bytes] = {}
SECOND = timedelta(seconds=1)
# Three points: 1 and 2 share what 0 has stored; of its one pack, the last needs three blocks of eight.
CONTENTS: dict[str, dict[int, int]] = {
    "snap-0": {index: index + 1 for index in range(8)} | {3000: 90},
    "snap-1": {index: index + 1 for index in range(5)} | {5: 55, 3000: 90},
    "snap-2": {index: index + 1 for index in range(3)} | {5: 56, 9: 91, 3000: 90},
}


def new_store(**parts: Any) -> AgingObjects:
    """A repository."""
    made = AgingObjects(**parts)
    repository.create(made, lambda identity: [keys.wrap_with_recovery_key(b"m" * 32, b"r" * 32, identity)])
    made.older.clear()  # of the test of conditional writes
    return made


def three_points(folder: Path, **parts: Any) -> tuple[AgingObjects, dict[str, Content]]:
    """A repository with a point of each of CONTENTS, an hour apart; what each point holds."""
    store, line, held = new_store(**parts), Line(CONTENTS), {}
    points, parent, before = Points(store, folder), "", ""
    for snapshot, content in CONTENTS.items():
        made = points.make(line, volume(snapshot, before), parent=parent)
        held[made.id], parent, before = content, made.id, snapshot
        store.now += timedelta(hours=1)
    return store, held


def copy_of(store: AgingObjects) -> AgingObjects:
    """Another one with the same objects."""
    made = AgingObjects(versioned=store.versioned)
    made.now = store.now
    made.objects, made.modified = dict(store.objects), dict(store.modified)
    made.older = {key: list(kept) for key, kept in store.older.items()}
    made._current, made._number = dict(store._current), store._number
    return made


def sweep(store: AgingObjects, *remove: str, client: Any = None, share: float = 0.0) -> Swept:
    """One sweep, with compaction below a share; through ``client`` in place of the store itself."""
    used = client or store
    progress = Progress(StoreClock(store))
    if client is not None:
        client.progress = progress
    chosen = Chosen(NAME, KEY, frozenset(remove))
    made = Sweep(used, chosen, "sweep", progress, live_share=share)
    sparse = made.run()
    with pools(progress, read=2, write=2) as (readers, writers):
        compaction = Compaction(used, chosen, sparse, readers, writers)
        compaction.run()
    made.swept.packs_rewritten, made.swept.points_damaged = len(compaction.packs), compaction.damaged
    return made.swept


def settle(store: AgingObjects, *remove: str, share: float = 0.0) -> None:
    """Sweeps until nothing is left to do: what is removed, moved and condemned now is deleted after two times GRACE."""
    for _ in range(4):
        sweep(store, *remove, share=share)
        store.now += GRACE + SECOND


def held(store: AgingObjects) -> dict[str, dict[int, bytes]]:
    """Of each listed point the SHA-256 of its blocks, all of which were read and verified."""
    found = {}
    for identity, key in repository.list_points(store, NAME).items():
        manifest = repository.read_manifest(store, key, KEY)
        for each in manifest.volumes:
            place, blocks = manifest.place(each), {}
            for entry in TreeReader(place, KEY, each.tree(), store).entries():
                at, name = entry.location, layout.pack_key(NAME, entry.location.pack)
                frame = store.get_range(name, at.offset, at.length)
                seen = (at, place.volume_id, entry.index, entry.digest)
                if _OPENED.get(seen) != frame:
                    PackReader(NAME, KEY, at.pack).block(at, frame, place.volume_id, entry.index, entry.digest)
                    _OPENED[seen] = frame
                blocks[entry.index] = entry.digest
            found[identity] = blocks
    return found


def digests(contents: Mapping[str, Content]) -> dict[str, dict[int, bytes]]:
    """What held gives for these."""
    return {
        identity: {index: digest(number) for index, number in content.items() if number}
        for identity, content in contents.items()
    }


def needed(store: AgingObjects) -> set[str]:
    """Keys of all that listed points stand on, and of the repository itself."""
    found = {key for key in store.objects if "/" not in key or key.startswith("keys/")}
    for key in repository.list_points(store, NAME).values():
        found.add(key)
        manifest = repository.read_manifest(store, key, KEY)
        for each in manifest.volumes:
            for opened in TreeReader(manifest.place(each), KEY, each.tree(), store).walk(set()):
                found.add(layout.node_key(NAME, opened.node.id))
                found |= {layout.pack_key(NAME, entry.location.pack) for entry in opened.entries}
    return found


def only(contents: Mapping[str, Content], ids: Collection[str]) -> dict[str, Content]:
    """Some of them."""
    return {each: contents[each] for each in ids}
