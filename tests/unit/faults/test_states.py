# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.faults import states

STATES = st.dictionaries(
    st.sampled_from(states.KINDS), st.lists(st.sampled_from("abcdef"), unique=True), max_size=len(states.KINDS)
)


@given(STATES)
def test_a_state_has_nothing_more_than_itself(state: dict[str, list[str]]) -> None:
    assert states.more(state, state) == []
    assert states.missing(state, state) == []


@given(STATES, STATES)
def test_what_is_more_is_told_once_for_each_kind(before: dict[str, list[str]], now: dict[str, list[str]]) -> None:
    expected = {(kind, each) for kind in states.KINDS for each in set(now.get(kind, ())) - set(before.get(kind, ()))}
    found = states.more(before, now)
    assert {tuple(each.split(" ", 1)) for each in found} == expected
    assert len(found) == len(expected)


def test_what_is_gone_is_told_too_but_not_of_processes() -> None:
    before = {"volume": ["vol-1", "vol-2"], "process": ["7 keeper"]}
    assert states.missing(before, {"volume": ["vol-2"]}) == ["lost: volume vol-1"]


def test_one_reference_of_a_volume_is_kept() -> None:
    assert states.doubled({"vol-1": ["snap-1"], "vol-2": []}) == []
    assert states.doubled({"vol-1": ["snap-2", "snap-1"]}) == ["snapshot snap-2 (reference of vol-1)"]


def test_everything_that_is_promised_is_compared() -> None:
    ours = {"instance", "volume", "network-interface", "security-group", "key-pair", "instance-profile", "snapshot"}
    assert set(states.KINDS) == ours | {"multipart-upload", "host", "process", "folder"}
