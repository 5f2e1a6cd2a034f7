# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reaper may remove: never a live run's things, always what is past its deadline and its grace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import reaping
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import temporaries
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SKEW = timedelta(minutes=5)
GRACE = timedelta(seconds=900)
RULE = reaping.Rule("ours", GRACE)
OURS = {"mayfly:deployment": "ours", "mayfly:temporary": "true", "mayfly:run": "r-1"}
SECOND = timedelta(seconds=1)


def at(moment: datetime) -> str:
    """A time as the keeper writes it into tags."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def lived(deadline: timedelta, lease: timedelta) -> dict[str, str]:
    """Tags of a thing whose deadline and lease end so much after now."""
    return {**OURS, "mayfly:deadline": at(NOW + deadline), "mayfly:lease-ends": at(NOW + lease)}


HOUR = timedelta(hours=1)
DEAD = lived(-HOUR, -HOUR)
OLD = NOW - reaping.LONGEST_RUN - GRACE - SECOND
TABLE: list[tuple[str, dict[str, str], datetime | None, bool, str]] = [
    ("a live run", lived(HOUR, HOUR), None, False, "lives"),
    ("a deadline that has passed", lived(-HOUR, HOUR), None, True, "deadline"),
    ("a deadline within its grace", lived(-GRACE, HOUR), None, False, "lives"),
    ("a deadline just past its grace", lived(-GRACE - SECOND, HOUR), None, True, "deadline"),
    ("a lease that has ended", lived(HOUR, -HOUR), None, True, "lease"),
    ("a lease within its grace", lived(HOUR, -GRACE), None, False, "lives"),
    ("a lease just past its grace", lived(HOUR, -GRACE - SECOND), None, True, "lease"),
    ("a lease that had ended before it was made", lived(HOUR, -HOUR), NOW - GRACE, False, "lives"),
    ("the same, when it is no longer young", lived(HOUR, -HOUR), NOW - GRACE - SECOND, True, "lease"),
    ("a young thing past its deadline", lived(-HOUR, -HOUR), NOW, True, "deadline"),
    ("another deployment", {**DEAD, "mayfly:deployment": "theirs"}, OLD, False, "deployment"),
    ("no deployment", {k: v for k, v in DEAD.items() if k != "mayfly:deployment"}, OLD, False, "deployment"),
    ("what was handed over", {k: v for k, v in DEAD.items() if k != "mayfly:temporary"}, OLD, False, "not temporary"),
    ("what is to be kept", {**DEAD, "mayfly:keep": ""}, OLD, False, "mayfly:keep"),
    ("no time, and old", OURS, OLD, True, "older than any run"),
    ("no time, and not old enough", OURS, OLD + SECOND, False, "younger"),
    ("no time, and no age", OURS, None, False, "how old"),
    ("times that cannot be read, and old", {**OURS, "mayfly:deadline": "soon"}, OLD, True, "older than any run"),
    ("one time that can be read", {**lived(HOUR, HOUR), "mayfly:lease-ends": "?"}, OLD, False, "lives"),
    ("a time without a zone", {**OURS, "mayfly:deadline": "2026-11-25T10:00:00"}, None, True, "deadline"),
]


@pytest.mark.parametrize(("tags", "created", "removed", "words"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE])
def test_the_verdict_on(tags: dict[str, str], created: datetime | None, removed: bool, words: str) -> None:
    verdict = reaping.judge(tags, created, NOW, RULE)
    assert (verdict.remove, words in verdict.reason) == (removed, True), verdict


@pytest.mark.parametrize(("run", "removed"), [("r-1", True), ("r-2", False)])
def test_a_run_that_has_ended_is_removed_whatever_its_lease_says_and_no_other(run: str, removed: bool) -> None:
    rule = reaping.Rule("ours", GRACE, run)
    assert reaping.judge(lived(HOUR, HOUR), None, NOW, rule).remove == removed
    assert reaping.judge(DEAD, OLD, NOW, rule).remove == removed


@pytest.mark.parametrize("change", [{"mayfly:deployment": "theirs"}, {"mayfly:temporary": "no"}, {"mayfly:keep": "1"}])
def test_a_run_that_has_ended_gives_no_right_to_more(change: dict[str, str]) -> None:
    assert not reaping.judge({**DEAD, **change}, OLD, NOW, reaping.Rule("ours", GRACE, "r-1")).remove


def seconds(least: float, most: float) -> Any:
    return st.floats(least, most).map(lambda value: timedelta(seconds=value))


skews = seconds(-SKEW.total_seconds(), SKEW.total_seconds())
graces = seconds(0, 3600)
leases = st.integers(15, 86400)
# Tags of the user's own; the prefix is reserved.
users = st.dictionaries(st.text(max_size=12).filter(lambda key: not key.startswith("mayfly:")), st.text(max_size=12))
unreadable = st.text(max_size=12).filter(lambda text: not text.strip()[:1].isdigit())


@given(lease=leases, share=st.floats(0, 1), skew=skews, grace=graces, left=seconds(1, 86400), tags=users)
def test_never_a_live_run(
    *, lease: int, share: float, skew: timedelta, grace: timedelta, left: timedelta, tags: dict[str, str]
) -> None:
    """A live run's keeper writes the tag every two minutes, by a clock that may be five minutes off the reaper's; and
    may fail to for as long as a lease lasts.
    """
    keepers_now = NOW + skew
    lasts = timedelta(seconds=lease + temporaries._MARK_SECONDS)
    written = keepers_now - (lasts - SECOND) * share
    times = {"mayfly:lease-ends": at(written + lasts), "mayfly:deadline": at(keepers_now + left)}
    assert not reaping.judge({**tags, **OURS, **times}, NOW - HOUR, NOW, reaping.Rule("ours", grace)).remove


@given(old=seconds(0, 86400), age=seconds(0, 130), skew=skews, grace=graces, left=seconds(1, 86400), tags=users)
def test_never_what_a_live_run_has_just_made_with_an_old_tag(
    *, old: timedelta, age: timedelta, skew: timedelta, grace: timedelta, left: timedelta, tags: dict[str, str]
) -> None:
    """The agent's snapshots bear the lease that its job was sent with, until the keeper has heard of them (10 s) and
    marks them (120 s); their age is by AWS's clock, which with the least grace may differ by what these leave of it.
    """
    times = {"mayfly:lease-ends": at(NOW + skew - old), "mayfly:deadline": at(NOW + skew + left)}
    created = NOW + max(skew, timedelta(seconds=130) - reaping.LEAST_GRACE) - age
    assert not reaping.judge({**tags, **OURS, **times}, created, NOW, reaping.Rule("ours", grace)).remove


births = st.none() | seconds(0, 10**6).map(lambda age: NOW + SKEW - age)


@given(
    past=seconds(1, 10**6),
    born=births,
    skew=skews,
    grace=graces,
    lease=st.none() | seconds(-(10**6), 10**6),
    tags=users,
)
def test_always_what_is_past_its_deadline_and_grace(
    *,
    past: timedelta,
    born: datetime | None,
    skew: timedelta,
    grace: timedelta,
    lease: timedelta | None,
    tags: dict[str, str],
) -> None:
    """By the reaper's own clock at the latest when both clocks' difference has passed as well, alive or not."""
    effective = max(grace, reaping.LEAST_GRACE)
    tags = {**tags, **OURS, "mayfly:deadline": at(NOW + skew - SKEW - effective - past)}
    if lease is not None:
        tags["mayfly:lease-ends"] = at(NOW + lease)
    assert reaping.judge(tags, born, NOW, reaping.Rule("ours", grace)).remove


@given(past=seconds(1, 10**6), skew=skews, grace=graces, deadline=st.none() | seconds(-(10**6), 10**6), tags=users)
def test_always_what_a_dead_run_has_left(
    past: timedelta, skew: timedelta, grace: timedelta, deadline: timedelta | None, tags: dict[str, str]
) -> None:
    """Nobody renews its lease, whatever time its deadline leaves it, and it is no younger than its lease."""
    effective = max(grace, reaping.LEAST_GRACE)
    ended = NOW + skew - SKEW - effective - past
    tags = {**tags, **OURS, "mayfly:lease-ends": at(ended)}
    if deadline is not None:
        tags["mayfly:deadline"] = at(NOW + deadline)
    for created in (None, ended - HOUR, ended):
        assert reaping.judge(tags, created, NOW, reaping.Rule("ours", grace)).remove


@given(over=seconds(-7200, 7200), skew=skews, grace=graces, text=unreadable)
def test_what_says_no_time_is_removed_when_no_run_can_be_so_old_and_not_before(
    over: timedelta, skew: timedelta, grace: timedelta, text: str
) -> None:
    """The age is by AWS's clock."""
    age = reaping.LONGEST_RUN + over
    tags = {**OURS, "mayfly:deadline": text}
    removed = reaping.judge(tags, NOW + skew - age, NOW, reaping.Rule("ours", grace)).remove
    assert not (removed and age < reaping.LONGEST_RUN)
    assert removed or age <= reaping.LONGEST_RUN + max(grace, reaping.LEAST_GRACE) + SKEW


@given(
    deadline=st.none() | seconds(-7200, 7200),
    lease=st.none() | seconds(-7200, 7200),
    age=st.none() | seconds(0, 10**6),
    later=seconds(0, 10**6),
    grace=graces,
)
def test_a_verdict_to_remove_holds_for_ever(
    deadline: timedelta | None, lease: timedelta | None, age: timedelta | None, later: timedelta, grace: timedelta
) -> None:
    tags, rule = dict(OURS), reaping.Rule("ours", grace)
    tags |= {name: at(NOW + end) for name, end in (("mayfly:deadline", deadline), ("mayfly:lease-ends", lease)) if end}
    created = None if age is None else NOW - age
    if reaping.judge(tags, created, NOW, rule).remove:
        assert reaping.judge(tags, created, NOW + later, rule).remove


words = st.text(max_size=12)
names = st.sampled_from(
    ["mayfly:deployment", "mayfly:temporary", "mayfly:run", "mayfly:deadline", "mayfly:lease-ends", "mayfly:keep", "x"]
)


@given(
    tags=st.dictionaries(names, words | st.sampled_from(["ours", "true", at(NOW - 9 * HOUR)])),
    created=st.none() | st.datetimes(timezones=st.just(UTC)),
    run=st.none() | words,
)
def test_nothing_without_both_tags_and_every_verdict_has_a_reason(
    tags: dict[str, str], created: datetime | None, run: str | None
) -> None:
    verdict = reaping.judge(tags, created, NOW, reaping.Rule("ours", GRACE, run))
    assert verdict.reason
    if verdict.remove:
        assert tags["mayfly:deployment"] == "ours"
        assert tags["mayfly:temporary"] == "true"
        assert "mayfly:keep" not in tags


@pytest.mark.parametrize(
    ("kind", "run", "age", "forged"),
    [
        ("snapshot", "20261125T110000Z-abcdef", timedelta(hours=2, seconds=1), True),
        ("snapshot", "20261125T110000Z-abcdef", timedelta(hours=2), False),  # a clock that is an hour ahead
        ("snapshot", "20261125T110000Z-abcdef", timedelta(0), False),
        ("snapshot", "of-no-time", timedelta(days=9), False),
        ("volume", "20261125T110000Z-abcdef", timedelta(days=9), False),  # only snapshots can be tagged by a worker
        ("snapshot", "20261125T110000Z-abcdef", None, False),
    ],
)
def test_a_snapshot_that_is_older_than_its_run_is_none_of_it(
    kind: str, run: str, age: timedelta | None, forged: bool
) -> None:
    created = None if age is None else NOW - age
    assert reaping.is_forged(kind, {**DEAD, "mayfly:run": run}, created) is forged
