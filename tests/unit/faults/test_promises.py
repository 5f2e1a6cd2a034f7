# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from tests.faults.promises import CLEAN_SECONDS, Line, Result, judge


def result(**more: Any) -> Result:
    values: dict[str, Any] = {
        "name": "a case",
        "phase": "matrix",
        "promise": "keeper",
        "moment": "boot",
        "seconds": 5.0,
    }
    return Result(**{**values, **more})


def line(results: list[Result], name: str, **more: Any) -> Line:
    return next(each for each in judge(results, **more) if each.name == name)


def test_what_is_well_keeps_every_promise() -> None:
    good = result(expected=True, reached=True, next_backup=True, points=2, restore=True, shutting_down=3.0)
    assert good.good
    assert all(each.met for each in judge([good]))
    assert str(line([good], "leaks")) == "leaks: 0 (aim 0): met"


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"leaks": ["instance i-1"]}, "leaks"),
        ({"seconds": CLEAN_SECONDS["keeper"] + 1}, "seconds until clean, keeper"),
        ({"seconds": None}, "seconds until clean, keeper"),
        ({"expected": False}, "ends as it must"),
        ({"reached": False}, "moments reached"),
        ({"next_backup": False}, "next backup succeeds"),
        ({"restore": False}, "real restores are identical"),
        ({"points": 3, "bad_points": ["one"]}, "restore points restore"),
        ({"error": "the lab is down"}, "cases that could not be conducted"),
    ],
)
def test_each_promise_can_be_missed(wrong: dict[str, Any], name: str) -> None:
    bad = result(**wrong)
    assert not bad.good
    assert [each.name for each in judge([result(), bad]) if not each.met] == [name]


def test_a_slow_cancel_is_missed() -> None:
    assert line([result(shutting_down=10.0)], "cancel until all workers go").met
    assert not line([result(shutting_down=10.1), result(shutting_down=1.0)], "cancel until all workers go").met


def test_what_was_not_asked_is_not_judged() -> None:
    names = {each.name for each in judge([result()])}
    assert names == {"leaks", "seconds until clean, keeper", "results", "cases that could not be conducted"}


def test_random_kills_are_counted() -> None:
    some = [result(phase="random"), result(phase="random", error="no lab"), result()]
    assert line(some, "random kills", random_aim=1).met
    assert not line(some, "random kills", random_aim=2).met


def test_no_result_at_all_keeps_nothing() -> None:
    assert not all(each.met for each in judge([]))
