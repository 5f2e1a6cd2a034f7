# SPDX-License-Identifier: GPL-3.0-or-later
"""Health checks of repositories whose objects were really damaged, and the backup after them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.blocks import FANOUT
from mayfly_agent.errors import AgentError
from mayfly_agent.objects import Stored
from mayfly_agent.repository import layout, seal
from mayfly_agent.repository.compression import compress
from mayfly_agent.repository.damaged import BlockRange, Damage, read_damage
from mayfly_agent.repository.manifest import Manifest, open_with_value
from mayfly_agent.repository.trees import Entry, TreeReader
from mayfly_agent.repository_jobs import Checked

from tests.unit.agent.lines import KEY, NAME, Line, Points, blocks, flipped, volume
from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository.points import OTHER, key_of, write_point

# Leaves 0, 1 and 3; the second snapshot differs in one block of leaf 0
BEFORE = {0: 1, 1: 2, 2: 3, FANOUT: 4, 3 * FANOUT + 7: 5}
AFTER = {**BEFORE, 1: 9}
LAST = {**AFTER, 2: 8}


@pytest.fixture
def points(store: MemoryObjects, tmp_path: Path) -> Points:
    return Points(store, tmp_path)


@pytest.fixture
def line() -> Line:
    return Line({"snap-0": BEFORE, "snap-1": AFTER, "snap-2": LAST})


@pytest.fixture
def two(points: Points, line: Line) -> tuple[Manifest, Manifest]:
    """Two restore points that share leaves 1 and 3, and of leaf 0 blocks 0 and 2."""
    first = points.make(line, volume("snap-0"))
    second = points.make(line, volume("snap-1", "snap-0"), parent=first.id)
    line.read.clear()
    return first, second


def entries(points: Points, manifest: Manifest) -> dict[int, Entry]:
    (record,) = manifest.volumes
    reader = TreeReader(manifest.place(record), KEY, record.tree(), points.store)
    return {entry.index: entry for entry in reader.entries()}


def pack_of(points: Points, manifest: Manifest, index: int) -> str:
    return layout.pack_key(NAME, entries(points, manifest)[index].location.pack)


def damage_of(points: Points, manifest: Manifest) -> Damage:
    return read_damage(points.store, NAME, KEY, manifest.id)


def found(result: dict[str, Any]) -> dict[str, list[tuple[int, int]]]:
    """Damaged blocks by restore point, as the result lists them."""
    assert all(each["resource"] == NAME.path for each in result["damage"])
    return {
        each["restore_point"]: [(block["first"], block["last"]) for block in each["blocks"]]
        for each in result["damage"]
    }


class TestWhatIsWhole:
    @pytest.mark.parametrize(("mode", "read"), [("quick", 0), ("full", 6)])
    def test_is_looked_at_once_and_left_as_it_is(
        self, points: Points, two: tuple[Manifest, Manifest], mode: str, read: int
    ) -> None:
        before = dict(points.store.objects)
        result = points.check(mode)
        assert (result["points"], result["damaged_points"], result["damage"], result["marks"]) == (2, 0, [], 0)
        # 5 blocks of the first point, one more of the second; 4 nodes, and of the second another leaf and a root
        assert (result["blocks_done"], result["nodes_done"]) == (read, 6)
        assert points.store.objects == before

    def test_may_be_without_any_block(self, points: Points, line: Line) -> None:
        line.snapshots["snap-0"] = {}
        points.make(line, volume("snap-0"))
        assert points.check()["damaged_points"] == 0

    def test_a_sample_is_the_same_for_the_same_seed(self, points: Points, line: Line) -> None:
        line.snapshots["snap-0"] = {index: index + 1 for index in range(200)}
        points.make(line, volume("snap-0"))
        read = [points.check("sample", percent=25.0, seed=seed)["bytes_read"] for seed in ("a", "a", "b")]
        assert read[0] == read[1] != read[2]
        done = [points.check("sample", percent=percent, seed="a")["blocks_done"] for percent in (25.0, 50.0, 100.0)]
        assert 20 <= done[0] <= 80 < done[1] <= 130 < done[2] == 200


class TestWhatIsDamaged:
    def test_a_flipped_byte_is_found_by_reading_alone(self, points: Points, two: tuple[Manifest, Manifest]) -> None:
        """In a block that both points have: each is marked, with its own leaf."""
        at = entries(points, two[0])[2].location
        key = pack_of(points, two[0], 2)
        points.store.objects[key] = flipped(points.store.objects[key], at.offset + 5)
        assert points.check("quick")["damaged_points"] == 0
        result = points.check()
        assert found(result) == {two[0].id: [(2, 2)], two[1].id: [(2, 2)]}
        assert (result["damaged_points"], result["damaged_ranges"], result["marks"]) == (2, 2, 2)
        assert result["blocks_done"] == 6
        for point in two:
            assert damage_of(points, point) == Damage((key,), (BlockRange("vol-1", 2, 2),))

    def test_in_a_block_of_one_point_it_damages_no_other(self, points: Points, two: tuple[Manifest, Manifest]) -> None:
        at = entries(points, two[1])[1].location
        key = pack_of(points, two[1], 1)
        points.store.objects[key] = flipped(points.store.objects[key], at.offset)
        assert found(points.check()) == {two[1].id: [(1, 1)]}
        assert damage_of(points, two[0]) == Damage()

    @pytest.mark.parametrize("mode", ["quick", "full"])
    @pytest.mark.parametrize("kept", [None, 0, 40, -1], ids=["missing", "empty", "cut", "a byte short"])
    def test_a_pack_that_is_missing_or_short_is_found_without_reading(
        self, points: Points, two: tuple[Manifest, Manifest], kept: int | None, mode: str
    ) -> None:
        """The last byte belongs to the list, which no restore needs: only what cuts a block or the seal is damage."""
        key = pack_of(points, two[0], 0)
        body = points.store.objects.pop(key)
        if kept is not None:
            points.store.objects[key] = body[:kept]
        result = points.check(mode)
        if kept == -1:
            assert result["damaged_points"] == 0
            return
        assert found(result) == {
            two[0].id: [(0, 2), (FANOUT, FANOUT), (3 * FANOUT + 7, 3 * FANOUT + 7)],
            two[1].id: [(0, 0), (2, 2), (FANOUT, FANOUT), (3 * FANOUT + 7, 3 * FANOUT + 7)],
        }
        assert result["blocks_done"] == (1 if mode == "full" else 0)

    def test_a_pack_that_goes_while_it_is_checked_is_missing(
        self, points: Points, two: tuple[Manifest, Manifest]
    ) -> None:
        key = pack_of(points, two[1], 1)

        class Going(MemoryObjects):
            def get_range(self, name: str, offset: int, length: int) -> bytes:
                self.objects.pop(key, None)
                return super().get_range(name, offset, length)

        going = Going()
        going.objects, points.store = points.store.objects, going
        assert found(points.check()) == {two[1].id: [(1, 1)]}

    def test_exchanged_packs_are_damaged_both(self, points: Points, two: tuple[Manifest, Manifest]) -> None:
        objects = points.store.objects
        first, second = pack_of(points, two[0], 0), pack_of(points, two[1], 1)
        objects[first], objects[second] = objects[second], objects[first]
        assert set(found(points.check())) == {two[0].id, two[1].id}

    @pytest.mark.parametrize("change", ["flipped", "missing", "cut", "another's"])
    def test_a_leaf_is_told_with_all_that_it_stands_for(
        self, points: Points, two: tuple[Manifest, Manifest], change: str
    ) -> None:
        """A leaf that both share; what else there is, is checked all the same."""
        key, other = shared_leaf(points, two, 1), shared_leaf(points, two, 3)
        body = points.store.objects.pop(key)
        bodies = {"flipped": flipped(body, 60), "cut": body[:50], "another's": points.store.objects[other]}
        if change in bodies:
            points.store.objects[key] = bodies[change]
        result = points.check("quick")
        whole = [(FANOUT, 2 * FANOUT - 1)]
        assert found(result) == {two[0].id: whole, two[1].id: whole}
        assert damage_of(points, two[1]).objects == (key,)

    def test_a_manifest_is_told_and_the_others_are_checked(
        self, points: Points, two: tuple[Manifest, Manifest]
    ) -> None:
        key = layout.point_key(NAME, two[0].id)
        points.store.objects[key] = flipped(points.store.objects[key], 80)
        result = points.check()
        assert found(result) == {two[0].id: []}
        assert (result["points"], result["damage"][0]["objects"]) == (2, [key])
        assert result["blocks_done"] == 5

    def test_is_marked_once(self, points: Points, two: tuple[Manifest, Manifest]) -> None:
        del points.store.objects[pack_of(points, two[0], 0)]
        assert [points.check("quick")["marks"] for _ in range(2)] == [2, 0]
        del points.store.objects[pack_of(points, two[1], 1)]
        assert [points.check("quick")["marks"] for _ in range(2)] == [1, 0]

    def test_is_told_with_its_place_in_the_volume(self, points: Points, two: tuple[Manifest, Manifest]) -> None:
        del points.store.objects[pack_of(points, two[1], 1)]
        (told,) = points.check("quick")["damage"]
        (block,) = told["blocks"]
        assert block == {"volume_id": "vol-1", "first": 1, "last": 1, "offset": 524_288, "length": 524_288}

    def test_counts_as_new_until_a_mark_tells_it(self, points: Points, two: tuple[Manifest, Manifest]) -> None:
        del points.store.objects[pack_of(points, two[0], 0)]
        assert [points.check("quick")["new_damaged_points"] for _ in range(2)] == [2, 0]

    def test_a_mark_that_cannot_be_read_says_nothing_and_is_told(
        self, points: Points, two: tuple[Manifest, Manifest]
    ) -> None:
        """The check goes on, and says anew what that mark may have said."""
        del points.store.objects[pack_of(points, two[1], 1)]
        points.check("quick")
        (key,) = [each for each in points.store.objects if "/marks/damaged/" in each]
        points.store.objects[key] = flipped(points.store.objects[key], 60)
        del points.store.objects[pack_of(points, two[0], 0)]
        result = points.check("quick")
        assert (result["damaged_points"], result["marks"], result["unreadable_marks"]) == (2, 2, 1)
        (warning,) = result["warnings"]
        assert warning["code"] == "MarkUnreadable"
        assert key in warning["message"]
        assert points.check("quick")["marks"] == 0

    def test_what_a_newer_version_has_written_is_told_and_the_others_are_checked(
        self, points: Points, two: tuple[Manifest, Manifest]
    ) -> None:
        key = layout.point_key(NAME, two[0].id)
        _, value = open_with_value(points.store.objects[key], KEY, key)
        plain = compress(json.dumps({**value, "needs": ["warp"]}).encode())
        newer = seal.seal_object("manifest", KEY, seal.new_id(), plain, seal.fields(b"manifest", key.encode()))
        points.store.objects[key] = newer
        result = points.check()
        assert (result["points"], result["damaged_points"], result["blocks_done"]) == (1, 0, 5)
        assert [each["code"] for each in result["warnings"]] == ["RepositoryFormat"]

    def test_what_is_refused_fails_its_resource_and_is_no_damage(
        self, points: Points, two: tuple[Manifest, Manifest]
    ) -> None:
        """The others are checked."""
        write_point(points.store, OTHER, {"vol-1": {0: 1, 5: 2}})
        closed = Closed("AccessDenied")
        closed.objects, points.store = points.store.objects, closed
        result = points.check(resources=(Checked(NAME, KEY), Checked(OTHER, key_of(OTHER))))
        assert (result["failed"], result["points"], result["blocks"], result["damaged_points"]) == (1, 1, 2, 0)
        assert result["errors"] == {NAME.path: {"code": "AccessDenied", "message": "No.", "remedy": ""}}
        assert not [key for key in closed.objects if "/marks/" in key]

    def test_what_no_resource_can_do_without_ends_it(self, points: Points, two: tuple[Manifest, Manifest]) -> None:
        closed = Closed("S3Unreachable")
        closed.objects, points.store = points.store.objects, closed
        with pytest.raises(AgentError, match="No"):
            points.check()


class Closed(MemoryObjects):
    """Gives out no node of NAME."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self._code = code

    def get(self, key: str) -> Stored:
        if key.startswith(f"{NAME.path}/trees/"):
            raise AgentError(self._code, "No.")
        return super().get(key)


def shared_leaf(points: Points, two: tuple[Manifest, Manifest], position: int) -> str:
    """The key of a leaf that both points have."""
    ids = []
    for manifest in two:
        (record,) = manifest.volumes
        reader = TreeReader(manifest.place(record), KEY, record.tree(), points.store)
        ids += [each.node.id for each in reader.walk(set()) if (each.level, each.position) == (0, position)]
    assert ids[0] == ids[1]
    return layout.node_key(NAME, ids[0])


class TestTheNextBackup:
    @pytest.mark.parametrize(
        "harm",
        [
            lambda points, two: points.store.objects.pop(pack_of(points, two[1], 0)),
            lambda points, two: points.store.objects.pop(shared_leaf(points, two, 1)),
        ],
        ids=["pack", "leaf"],
    )
    def test_shares_nothing_that_is_damaged(
        self,
        points: Points,
        line: Line,
        two: tuple[Manifest, Manifest],
        harm: Callable[[Points, tuple[Manifest, Manifest]], bytes],
    ) -> None:
        """Without the check, what has not changed would be shared unseen."""
        harm(points, two)
        unaware = points.make(line, volume("snap-2", "snap-1"), parent=two[1].id)
        with pytest.raises(AgentError):
            points.restored(unaware.id)
        points.check("quick")
        made = points.make(line, volume("snap-2", "snap-1"), parent=two[1].id)
        assert made.volumes[0].method in ("compared", "full")
        assert points.restored(made.id) == blocks(LAST)
        assert found(points.check()).keys() == {two[0].id, two[1].id, unaware.id}
        again = points.make(line, volume("snap-2", "snap-2"), parent=made.id)
        assert (again.volumes[0].method, points.restored(again.id)) == ("changed", blocks(LAST))

    def test_stores_only_what_is_damaged_or_new(
        self, points: Points, line: Line, two: tuple[Manifest, Manifest]
    ) -> None:
        del points.store.objects[pack_of(points, two[1], 1)]
        points.check("quick")
        made = points.make(line, volume("snap-2", "snap-1"), parent=two[1].id)
        (record,) = made.volumes
        assert (record.method, record.reason) == ("compared", "a health check has found blocks of the parent damaged")
        assert record.blocks_stored == 2
        assert points.restored(made.id) == blocks(LAST)

    def test_does_not_share_a_leaf_whose_damaged_block_is_gone(
        self, points: Points, line: Line, two: tuple[Manifest, Manifest]
    ) -> None:
        """The parent's leaf would bring the damaged block back."""
        del points.store.objects[pack_of(points, two[1], 1)]
        points.check("quick")
        line.snapshots["snap-2"] = {index: number for index, number in AFTER.items() if index != 1}
        made = points.make(line, volume("snap-2", "snap-1"), parent=two[1].id)
        assert points.restored(made.id) == blocks(line.snapshots["snap-2"])

    def test_has_no_parent_whose_mark_cannot_be_read(
        self, points: Points, line: Line, two: tuple[Manifest, Manifest]
    ) -> None:
        del points.store.objects[pack_of(points, two[1], 1)]
        points.check("quick")
        (key,) = [each for each in points.store.objects if f"/marks/damaged/{two[1].id}." in each]
        points.store.objects[key] = flipped(points.store.objects[key], 60)
        made = points.make(line, volume("snap-2", "snap-1"), parent=two[1].id)
        assert (made.volumes[0].method, "cannot be read" in made.volumes[0].reason) == ("full", True)

    def test_keeps_to_the_marks_of_a_parent_that_retention_takes(
        self, points: Points, line: Line, two: tuple[Manifest, Manifest]
    ) -> None:
        """Right after its manifest was read, and its marks with it."""
        parent = layout.point_key(NAME, two[1].id)
        del points.store.objects[pack_of(points, two[1], 1)]
        points.check("quick")

        class Swept(MemoryObjects):
            def get(self, key: str) -> Stored:
                stored = super().get(key)
                if key == parent:
                    for gone in [key, *(each for each in self.objects if f"/marks/damaged/{two[1].id}." in each)]:
                        del self.objects[gone]
                return stored

        swept = Swept()
        swept.objects, points.store = points.store.objects, swept
        made = points.make(line, volume("snap-2", "snap-1"), parent=two[1].id)
        assert parent not in swept.objects
        assert points.restored(made.id) == blocks(LAST)
