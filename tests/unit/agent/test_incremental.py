# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups with a parent: what has changed is read, what is new is stored, and every point restores by itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mayfly_agent.blocks import BLOCK_SIZE, FANOUT
from mayfly_agent.repository import layout, seal
from mayfly_agent.repository.manifest import Manifest

from tests.unit.agent.lines import KEY, NAME, Line, Points, blocks, volume
from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository import by_the_book
from tests.unit.agent.repository.points import digest

# Of leaf 0, 1, 3 and 7; a block of zeros among them
BEFORE = {0: 1, 1: 2, 5: 0, FANOUT: 3, 3 * FANOUT + 7: 4, 3 * FANOUT + 8: 5, 8 * FANOUT - 1: 6}
# 1 is another, 2 is new, FANOUT is gone, a block of zeros now, and one that has been written again as it was
AFTER = {0: 1, 1: 9, 2: 8, 5: 0, 3 * FANOUT + 7: 0, 3 * FANOUT + 8: 5, 8 * FANOUT - 1: 6}
LISTED = [1, 2, 3 * FANOUT + 7, 8 * FANOUT - 1]


@pytest.fixture
def points(store: MemoryObjects, tmp_path: Path) -> Points:
    return Points(store, tmp_path)


@pytest.fixture
def line() -> Line:
    made = Line({"snap-0": BEFORE, "snap-1": AFTER})
    made.more = {8 * FANOUT - 1}
    return made


@pytest.fixture
def parent(points: Points, line: Line) -> Manifest:
    made = points.make(line, volume("snap-0"))
    line.read.clear()
    points.store.puts.clear()
    return made


def puts(points: Points, kind: str) -> int:
    return len([key for key in points.store.puts if f"/{kind}/" in key])


def full_digest(line: Line, tmp_path: Path, snapshot: str) -> str:
    """Of a backup into a repository of its own."""
    store = MemoryObjects()
    store.objects["repository.json"] = b'{"format": 1, "cipher": "AES-256-GCM", "id": "i", "created": ""}'
    return Points(store, tmp_path).make(line, volume(snapshot)).volumes[0].digest


def test_what_has_changed_is_read_and_what_is_new_is_stored(
    points: Points, line: Line, parent: Manifest, tmp_path: Path
) -> None:
    made = points.make(line, volume("snap-1", "snap-0"), parent=parent.id)
    assert sorted(line.read) == LISTED
    assert line.compared == [("snap-0", "snap-1")]
    (record,) = made.volumes
    assert (made.parent, record.method, record.reason) == (parent.id, "changed", "")
    assert (record.bytes_read, record.blocks, record.blocks_stored) == (4 * BLOCK_SIZE, 5, 2)
    assert puts(points, "packs") == 1
    assert puts(points, "trees") == 3  # leaf 0, leaf 3, the root; leaf 1 is gone, leaf 7 is the parent's
    assert record.digest == full_digest(line, tmp_path, "snap-1")
    assert points.restored(made.id) == blocks(AFTER)
    assert points.restored(parent.id) == blocks(BEFORE)


def test_the_reader_by_the_page_reads_what_is_shared(points: Points, line: Line, parent: Manifest) -> None:
    """In place of another volume too, whose name stands in all seals."""
    made = points.make(line, volume("snap-1", volume_id="vol-2"), parent=parent.id)
    key = layout.point_key(NAME, made.id)
    found = {seal.key_id(KEY): KEY}
    (read,) = by_the_book.read_manifest(points.store.objects, found, key)["volumes"]
    assert by_the_book.read_volume(points.store.objects, found, NAME.path, read) == blocks(AFTER)


def test_where_nothing_has_changed_nothing_is_written(points: Points, line: Line, parent: Manifest) -> None:
    line.snapshots["snap-1"] = dict(BEFORE)
    line.more = set()
    made = points.make(line, volume("snap-1", "snap-0"), parent=parent.id)
    assert (line.read, [key.split("/")[4] for key in points.store.puts]) == ([], ["points"])
    assert made.volumes[0].root == parent.volumes[0].root
    assert (made.volumes[0].blocks_stored, made.volumes[0].bytes_stored) == (0, 0)


def test_where_everything_is_gone_there_is_no_tree(points: Points, line: Line, parent: Manifest) -> None:
    line.snapshots["snap-1"] = {}
    made = points.make(line, volume("snap-1", "snap-0"), parent=parent.id)
    assert (made.volumes[0].root, made.volumes[0].blocks) == (None, 0)
    line.snapshots["snap-2"] = AFTER
    again = points.make(line, volume("snap-2", "snap-1"), parent=made.id)
    assert again.volumes[0].method == "changed"
    assert points.restored(again.id) == blocks(AFTER)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, "cannot be compared with snap-0: it is gone"),
        ({"parent_snapshot_id": ""}, "the parent's snapshot was not kept"),
        ({"parent_snapshot_id": "snap-x"}, "made from snap-0, not from snap-x"),
        ({"size_gib": 5}, "its size is 5 GiB and was 4 GiB"),
        ({"size_gib": 513}, "its size is 513 GiB and was 4 GiB"),
        ({"volume_id": "vol-2"}, "it has replaced vol-1"),
    ],
    ids=["gone", "not kept", "another", "larger", "another level", "replaced"],
)
def test_what_ebs_cannot_compare_is_read_whole_and_stored_where_it_differs(
    points: Points, line: Line, parent: Manifest, parts: dict[str, Any], reason: str
) -> None:
    line.gone = set() if parts else {"snap-0"}
    made = points.make(line, volume("snap-1", "snap-0", **parts), parent=parent.id)
    (record,) = made.volumes
    assert sorted(line.read) == sorted(AFTER)
    assert (record.method, made.parent) == ("compared", parent.id)
    assert reason in record.reason
    assert (record.bytes_read, record.blocks_stored) == (len(AFTER) * BLOCK_SIZE, 2)
    levels = 3 if record.size_gib == 513 else 2
    assert puts(points, "trees") == 2 + levels - 1  # leaf 0 and 3, and all above
    assert points.restored(made.id) == blocks(AFTER)


def test_a_reference_that_goes_while_it_is_compared_with(points: Points, line: Line, parent: Manifest) -> None:
    line.ends_after = 2
    made = points.make(line, volume("snap-1", "snap-0"), parent=parent.id)
    (record,) = made.volumes
    assert (record.method, made.parent, record.blocks_stored) == ("compared", parent.id, 2)
    assert "cannot be compared with snap-0: it is gone by now" in record.reason
    assert points.restored(made.id) == blocks(AFTER)


def test_a_volume_that_has_shrunk_by_being_replaced_leaves_out_what_lies_beyond(
    points: Points, line: Line, parent: Manifest
) -> None:
    line.snapshots["snap-1"] = {index: number for index, number in AFTER.items() if index < 2 * FANOUT}
    made = points.make(line, volume("snap-1", volume_id="vol-2", size_gib=1), parent=parent.id)
    assert points.restored(made.id) == blocks(line.snapshots["snap-1"])


def test_a_volume_that_has_replaced_another_goes_on_with_its_tree(points: Points, line: Line, parent: Manifest) -> None:
    second = points.make(line, volume("snap-1", volume_id="vol-2"), parent=parent.id)
    assert second.volumes[0].sealed_as == "vol-1"
    line.snapshots["snap-2"] = BEFORE
    third = points.make(line, volume("snap-2", "snap-1", volume_id="vol-2"), parent=second.id)
    assert (third.volumes[0].method, third.volumes[0].sealed_as) == ("changed", "vol-1")
    assert points.restored(third.id) == blocks(BEFORE)


def test_a_device_of_which_the_volume_is_elsewhere_now_is_no_parent(
    points: Points, line: Line, parent: Manifest
) -> None:
    """Two volumes that changed places: each goes on with its own."""
    volumes = (volume("snap-1", "snap-0", device="/dev/xvdg"), volume("snap-0", volume_id="vol-2"))
    made = points.make(line, *volumes, parent=parent.id)
    assert [each.method for each in made.volumes] == ["changed", "full"]
    assert made.volumes[1].reason == "the parent does not have it"
    assert made.volumes[1].sealed_as is None


@pytest.mark.parametrize(
    ("lost", "reason"),
    [("points", "cannot be read"), ("name", "is not in the repository"), ("root", "damaged"), ("leaf", "damaged")],
)
@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "changed"])
def test_a_parent_that_is_damaged_is_not_used(
    points: Points, line: Line, parent: Manifest, lost: str, reason: str, *, gone: bool
) -> None:
    """A backup is the more needed then."""
    objects, named = points.store.objects, parent.id
    root = layout.node_key(NAME, parent.volumes[0].tree().node.id)
    keys = {
        "points": layout.point_key(NAME, parent.id),
        "root": root,
        "leaf": next(key for key in sorted(objects) if "/trees/" in key and key != root),
    }
    if lost == "name":
        named = "20200101T000000Z-other"
    elif gone and lost == "points":
        del objects[keys[lost]]
        reason = "is not in the repository"
    elif gone:
        del objects[keys[lost]]
    else:
        body = objects[keys[lost]]
        objects[keys[lost]] = body[:-1] + bytes([body[-1] ^ 1])
    line.snapshots["snap-1"] = {**AFTER, **{leaf * FANOUT: 7 for leaf in (0, 1, 3, 7)}}
    made = points.make(line, volume("snap-1", "snap-0"), parent=named)
    assert (made.parent, made.volumes[0].method) == (None, "full")
    assert reason in made.volumes[0].reason
    assert made.volumes[0].blocks_stored == made.volumes[0].blocks
    assert points.restored(made.id) == blocks(line.snapshots["snap-1"])


def test_of_a_large_volume_the_path_to_what_has_changed_is_read(points: Points, line: Line) -> None:
    """16 TiB, a block in each of 40 leaves of three inner nodes; one changes."""
    content = {leaf * FANOUT + n * FANOUT**2: 1 + n for leaf in range(40) for n in (0, 5, 31)}
    changed = {**content, 7 * FANOUT + 5 * FANOUT**2: 99}
    line.snapshots = {"snap-0": content, "snap-1": changed}
    parent = points.make(line, volume("snap-0", size_gib=16_384))
    reads = Reads(points.store)
    points.store = reads
    made = points.make(line, volume("snap-1", "snap-0", size_gib=16_384), parent=parent.id)
    assert len([key for key in reads.got if "/trees/" in key]) == 3  # of each level one
    assert puts(points, "trees") == 3
    assert points.restored(made.id) == blocks(changed)


class Reads(MemoryObjects):
    """Notes what is read."""

    def __init__(self, store: MemoryObjects) -> None:
        super().__init__()
        self.objects = store.objects
        self.got: list[str] = []

    def body(self, key: str) -> bytes:
        self.got.append(key)
        return super().body(key)


contents = st.dictionaries(
    st.sampled_from([n + leaf * FANOUT for leaf in (0, 1, 2, 7) for n in (0, 1, FANOUT - 1)]),
    st.integers(0, 3),
    max_size=8,
)
steps = st.tuples(contents, st.integers(0, 9), st.sampled_from(["changed", "gone", "none"]), st.booleans())


@settings(max_examples=40, deadline=None)
@given(st.lists(steps, min_size=2, max_size=6))
@example(
    [  # the last is as the first was, whose leaf and root are gone by then
        ({0: 1, FANOUT: 3}, 0, "changed", False),
        ({0: 1, 1: 2, FANOUT: 3}, 0, "changed", True),
        ({0: 1, FANOUT: 3}, 0, "changed", False),
    ]
)
def test_every_point_restores_whatever_was_shared_and_swept(made: list[tuple[dict[int, int], int, str, bool]]) -> None:
    """Backups upon any earlier point; after each, what no point that is left refers to is deleted at once."""
    with tempfile.TemporaryDirectory() as folder:
        store = MemoryObjects()
        store.objects["repository.json"] = b'{"format": 1, "cipher": "AES-256-GCM", "id": "i", "created": ""}'
        points, line = Points(store, Path(folder)), Line({})
        kept: list[tuple[str, str]] = []
        dead: set[str] = set()
        for number, (content, upon, how, goes) in enumerate(made):
            snapshot = f"snap-{number}"
            line.snapshots[snapshot] = content
            line.gone = set(line.snapshots) if how == "gone" else set()
            point, before = kept[upon % len(kept)] if kept and how != "none" else ("", "")
            store.puts.clear()
            manifest = points.make(line, volume(snapshot, before), parent=point)
            assert not dead.intersection(store.puts), "what was given up has come again"
            stored = {digest(each) for each in content.values() if each}
            assert manifest.volumes[0].blocks == len([each for each in content.values() if each])
            assert manifest.volumes[0].blocks_stored >= (len(stored) if how == "none" else 0)
            kept.append((manifest.id, snapshot))
            if goes and len(kept) > 1:
                gone, _ = kept.pop(0)
                del store.objects[layout.point_key(NAME, gone)]
            needed = set().union(*(points.referenced(each) for each, _ in kept))
            data = {key for key in store.objects if "/trees/" in key or "/packs/" in key}
            dead |= data - needed
            for key in data - needed:
                del store.objects[key]
            for each, of in kept:
                assert points.restored(each) == blocks(line.snapshots[of])
