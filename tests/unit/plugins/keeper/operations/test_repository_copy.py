# SPDX-License-Identifier: GPL-3.0-or-later
"""What a copy is planned to bring: the points that are chosen and whole, oldest first, and about how much that is."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations.repository_copy import _chosen
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.copies import copy_points

POINTS = ["20261121T000000Z-a", "20261122T000000Z-b", "20261123T000000Z-c", "20261124T000000Z-d"]


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("new", [], POINTS),
        ("new", POINTS[1:2], POINTS[2:]),
        ("new", POINTS[3:], []),
        ("new", ["20261130T000000Z-z"], []),
        ("missing", POINTS[1:2], [POINTS[0], *POINTS[2:]]),
        ("missing", POINTS, []),
        ("latest", POINTS[:1], POINTS[3:]),
        ("latest", POINTS[3:], []),
        ((POINTS[2], POINTS[0]), [], [POINTS[0], POINTS[2]]),
        ((POINTS[2], POINTS[0]), POINTS[:1], POINTS[2:3]),
    ],
    ids=repr,
)
def test_what_is_chosen(wanted: Any, there: list[str], chosen: list[str]) -> None:
    assert _chosen(list(reversed(POINTS)), set(there), wanted) == chosen


def test_what_failed_before_is_new_again() -> None:
    assert _chosen(POINTS, {POINTS[2]}, "new", {POINTS[0]: 1}) == [POINTS[0], POINTS[3]]
    assert _chosen(POINTS, {POINTS[2]}, "latest", {POINTS[0]: 1}) == POINTS[3:]


def test_nothing_of_nothing_is_the_latest() -> None:
    assert _chosen([], set(), "latest") == []


@pytest.mark.parametrize(
    ("given", "read"), [("", "new"), (None, "new"), ([], "new"), ("latest", "latest"), (["a", "b"], ("a", "b"))]
)
def test_the_setting(given: Any, read: Any) -> None:
    assert copy_points(given) == read


@pytest.mark.parametrize("wrong", ["newest", 3, [3], {"a": 1}], ids=repr)
def test_a_setting_that_says_nothing(wrong: Any) -> None:
    with pytest.raises(ValueError, match="latest or a list of ids"):
        copy_points(wrong)
