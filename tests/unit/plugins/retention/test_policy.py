# SPDX-License-Identifier: GPL-3.0-or-later
"""Which restore points a policy keeps: tables for each rule, properties for all of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.retention import Point, Points, Policy, removable
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)  # a Friday
RULES = ("count", "days", "daily", "weekly", "monthly", "yearly")


def at(*times: str) -> tuple[Point, ...]:
    """Points of these times (ISO 8601, UTC without a zone), which are their ids."""
    return tuple(Point(each, datetime.fromisoformat(each).replace(tzinfo=UTC)) for each in times)


def going(policy: Policy, points: tuple[Point, ...], **marks: set[str]) -> list[str]:
    return [each.id for each in removable(policy, Points(points, **marks), NOW)]


DAILY = at("2026-11-23T01", "2026-11-24T01", "2026-11-25T01", "2026-11-26T01", "2026-11-26T13", "2026-11-27T01")
CASES = [
    ("the newest three", Policy(count=3), ["2026-11-23T01", "2026-11-24T01", "2026-11-25T01"]),
    ("more than there are", Policy(count=9), []),
    (
        "younger than two days; one exactly so old goes",
        Policy(days=2),
        ["2026-11-23T01", "2026-11-24T01", "2026-11-25T01"],
    ),
    ("the newest of three days", Policy(daily=3), ["2026-11-23T01", "2026-11-24T01", "2026-11-26T01"]),
    ("of this week", Policy(weekly=1), [each.id for each in DAILY[:-1]]),
    ("two rules keep what either does", Policy(count=1, days=3), ["2026-11-23T01", "2026-11-24T01"]),
]


@pytest.mark.parametrize(("_what", "policy", "gone"), CASES, ids=[case[0] for case in CASES])
def test_rules(_what: str, policy: Policy, gone: list[str]) -> None:
    assert going(policy, DAILY) == gone


def test_a_point_exactly_so_old_goes() -> None:
    points = at("2026-11-25T12:00:00", "2026-11-25T12:00:01", "2026-11-27T01:00:00")
    assert going(Policy(days=2), points) == ["2026-11-25T12:00:00"]


def test_weeks_months_and_years() -> None:
    # 2026 has 53 weeks of ISO 8601: the 1st of January 2027 and the 31st of December are of one week
    points = at("2025-05-01T00", "2026-12-27T00", "2026-12-28T00", "2026-12-31T00", "2027-01-01T00", "2027-01-04T00")
    assert going(Policy(weekly=2), points) == ["2025-05-01T00", "2026-12-27T00", "2026-12-28T00", "2026-12-31T00"]
    assert going(Policy(monthly=2), points) == ["2025-05-01T00", "2026-12-27T00", "2026-12-28T00", "2027-01-01T00"]
    assert going(Policy(yearly=2), points) == ["2025-05-01T00", "2026-12-27T00", "2026-12-28T00", "2027-01-01T00"]
    assert going(Policy(yearly=3), points) == ["2026-12-27T00", "2026-12-28T00", "2027-01-01T00"]


def test_days_are_those_of_the_zone() -> None:
    points = at("2026-11-25T12", "2026-11-25T23:30", "2026-11-26T12", "2026-11-27T01")
    assert going(Policy(daily=2), points) == ["2026-11-25T12", "2026-11-25T23:30"]
    # 23:30 UTC is the 26th in Berlin, and not its newest
    assert going(Policy(daily=3, zone=ZoneInfo("Europe/Berlin")), points) == ["2026-11-25T23:30"]


def test_marks() -> None:
    newest = DAILY[-1].id
    assert newest not in going(Policy(count=1), DAILY)
    assert going(Policy(count=1), DAILY, keep={"2026-11-24T01"}) == [
        "2026-11-23T01",
        "2026-11-25T01",
        "2026-11-26T01",
        "2026-11-26T13",
    ]
    # The damaged one stays as it would if it were good, and takes nobody's place.
    assert going(Policy(count=2), DAILY, damaged={newest}) == [each.id for each in DAILY[:-3]]
    assert going(Policy(count=1), DAILY, damaged={DAILY[0].id}) == [each.id for each in DAILY[:-1]]
    assert going(Policy(count=1), DAILY, damaged={each.id for each in DAILY}) == []


def test_a_policy_that_keeps_nothing_is_none() -> None:
    for wrong in ({}, {"count": 1, "days": -1}):
        with pytest.raises(ValueError, match="keeps something"):
            Policy(**wrong)


zones = st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Apia"), ZoneInfo("America/Havana")])
policies = st.dictionaries(st.sampled_from(RULES), st.integers(1, 6), min_size=1, max_size=3).flatmap(
    lambda rules: zones.map(lambda zone: Policy(**rules, zone=zone))
)
hours = st.one_of(st.integers(-30, 24 * 40), st.integers(24 * 40, 24 * 1500))


@st.composite
def resources(draw: st.DrawFn) -> Points:
    """Points of up to four years before now, and of a day after it, some marked."""
    ages = draw(st.lists(hours, min_size=1, max_size=25, unique=True))
    points = tuple(Point(f"{index:02}", NOW - timedelta(hours=age)) for index, age in enumerate(ages))
    some = st.sets(st.sampled_from([each.id for each in points]))
    return Points(points, damaged=draw(some), keep=draw(some))


def gone(policy: Policy, points: Points) -> set[str]:
    return {each.id for each in removable(policy, points, NOW)}


@given(policies, resources())
def test_the_newest_good_point_and_what_is_marked_stay(policy: Policy, points: Points) -> None:
    removed = gone(policy, points)
    good = [each for each in points.all if each.id not in points.damaged]
    if good:
        assert max(good, key=lambda each: each.time).id not in removed
    else:
        assert not removed
    assert not removed & set(points.keep)


@given(policies, resources(), st.sampled_from(RULES), st.integers(1, 9))
def test_who_keeps_more_removes_no_more(policy: Policy, points: Points, rule: str, more: int) -> None:
    wider = replace(policy, **{rule: getattr(policy, rule) + more})
    assert gone(wider, points) <= gone(policy, points)


@given(policies, resources())
def test_what_stays_would_stay_again(policy: Policy, points: Points) -> None:
    removed = gone(policy, points)
    left = replace(points, all=tuple(each for each in points.all if each.id not in removed))
    assert gone(policy, left) == set()


@given(policies, resources(), st.data())
def test_damage_makes_no_other_point_go(policy: Policy, points: Points, data: st.DataObject) -> None:
    another = data.draw(st.sampled_from([each.id for each in points.all]))
    worse = replace(points, damaged={*points.damaged, another})
    assert gone(policy, worse) - {another} <= gone(policy, points)
