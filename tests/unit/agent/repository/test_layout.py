# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of objects: what may be in them, and that they can be read again."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mayfly_agent.repository import layout
from mayfly_agent.repository.layout import ResourceName

from tests.unit.agent.repository.points import RESOURCE, RUN

parts = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=128).filter(
    lambda part: part not in (".", "..")
)
accounts = st.text(string.digits, min_size=12, max_size=12)
names = st.builds(ResourceName, accounts, parts, parts, parts)
times = st.datetimes(datetime(2000, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - see timezones
runs = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=64)


@given(names)
def test_a_resource_is_read_from_its_folder(name: ResourceName) -> None:
    assert layout.parse_resource(f"{name.path}/") == name
    assert ResourceName.from_dict({"name": "web-1", **vars(name)}) == name


@given(names, names)
def test_two_resources_never_share_a_folder(first: ResourceName, second: ResourceName) -> None:
    shared = f"{first.path}/".startswith(f"{second.path}/") or f"{second.path}/".startswith(f"{first.path}/")
    assert shared == (first == second)


@pytest.mark.parametrize(
    "wrong",
    [
        {"account": "1"},
        {"account": "1111222233334"},
        {"account": "aaaabbbbcccc"},
        {"account": "١١١١٢٢٢٢٣٣٣٣"},
        {"account": "111122223333\n"},
        {"region": ""},
        {"kind": "."},
        {"id": ".."},
        {"id": "a/b"},
        {"id": "a b"},
        {"id": "i-0abc\n"},
        {"id": "a\0b"},
        {"id": "ï"},
        {"id": "a" * 129},
    ],
)
def test_what_cannot_be_part_of_a_key_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"is not an account id|cannot be a part"):
        ResourceName(**{**vars(RESOURCE), **wrong})


@pytest.mark.parametrize("folder", ["", "a/", "1/2/3/4/", f"{RESOURCE.path}/more/", "111122223333/r/k/i d/"])
def test_another_folder_is_no_resource(folder: str) -> None:
    assert layout.parse_resource(folder) is None


@given(times, runs, st.integers(0, 999_999_999))
def test_a_restore_points_id_and_generation_are_read_from_its_key(time: datetime, run: str, generation: int) -> None:
    identity = layout.point_id(time, run)
    key = layout.point_key(RESOURCE, identity, generation)
    assert layout.parse_point(key.removeprefix(layout.points_prefix(RESOURCE))) == (identity, generation)
    assert layout.point_time(identity) == time.replace(microsecond=0)


@given(times, times, runs)
def test_ids_sort_as_their_times_do(first: datetime, second: datetime, run: str) -> None:
    earlier, later = sorted((first.replace(microsecond=0), second.replace(microsecond=0)))
    assert (layout.point_id(earlier, run) < layout.point_id(later, run)) == (earlier < later)


def test_an_id_has_the_time_in_utc() -> None:
    time = datetime(2026, 11, 24, 1, 30, tzinfo=timezone(timedelta(hours=1)))
    assert layout.point_id(time, RUN) == f"20261124T003000Z-{RUN}"


@pytest.mark.parametrize("run", ["", "a.b", "a/b", "a_b", "run\n", "r" * 65])
def test_an_id_that_would_never_be_listed_is_refused(run: str) -> None:
    with pytest.raises(ValueError, match="cannot be the id of a restore point"):
        layout.point_id(datetime(2026, 11, 24, tzinfo=UTC), run)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "readme.txt",
        "20261124T013000Z",
        "20261124T013000Z-",
        "20261324T013000Z-run",
        "20261124T253000Z-run",
        "20261124T013000Z-run.0",
        "20261124T013000Z-run.01",
        "20261124T013000Z-run.",
        "20261124T013000Z-run.1.2",
        "20261124T013000Z-run.-1",
        "20261124T013000Z-run.1234567890",
        "20261124T013000Z-run\n",
        "20261124T013000Z-run/x",
    ],
)
def test_what_is_no_manifests_name_is_passed_over(name: str) -> None:
    assert layout.parse_point(name) is None


@given(st.binary(min_size=16, max_size=16))
def test_packs_and_nodes_lie_in_256_folders(identity: bytes) -> None:
    name = identity.hex()
    assert layout.pack_key(RESOURCE, identity) == f"{RESOURCE.path}/packs/{name[:2]}/{name}"
    assert layout.node_key(RESOURCE, identity * 2) == f"{RESOURCE.path}/trees/{name[:2]}/{name}{name}"
