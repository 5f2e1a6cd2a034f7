# SPDX-License-Identifier: GPL-3.0-or-later
"""Which restore points of a resource a policy keeps. Pure.

Rules are a union: what any of them keeps stays. The newest good point stays whatever they say, and so does one that is
marked to keep. A damaged point never takes the place of a good one: rules are asked about the good ones alone, and,
for the damaged, about all of them as if they were good.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

#: What tells a period from others, of a point's local time; weeks are those of ISO 8601, which begin on Monday.
_PERIODS: dict[str, Callable[[datetime], Any]] = {
    "daily": lambda local: local.date(),
    "weekly": lambda local: local.isocalendar()[:2],
    "monthly": lambda local: (local.year, local.month),
    "yearly": lambda local: local.year,
}


@dataclass(frozen=True)
class Policy:
    """How much is kept, 0 for a rule that does not count. At least one of them must.

    ``count``: so many of the newest points. ``days``: points younger than so many times 24 hours. ``daily``,
    ``weekly``, ``monthly``, ``yearly``: the newest point of each of so many days (weeks, …) that have any, as they are
    in ``zone``. Raises ValueError.
    """

    count: int = 0
    days: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    zone: tzinfo = UTC

    def __post_init__(self) -> None:
        numbers = (self.count, self.days, *(getattr(self, name) for name in _PERIODS))
        if min(numbers) < 0 or not any(numbers):
            raise ValueError("a policy keeps something, or it is none")


@dataclass(frozen=True)
class Point:
    """A restore point: its id, which sorts by time, and when its snapshots began, with a time zone."""

    id: str
    time: datetime


@dataclass(frozen=True)
class Points:
    """The restore points of one resource, with the ids of those that are marked as damaged, and to be kept."""

    all: tuple[Point, ...]
    damaged: Collection[str] = field(default_factory=frozenset)
    keep: Collection[str] = field(default_factory=frozenset)


def removable(policy: Policy, points: Points, now: datetime) -> tuple[Point, ...]:
    """The points that the policy does not keep at ``now``, oldest first.

    Of a resource without a good point nothing goes: what is damaged is all there is.
    """
    ordered = sorted(points.all, key=_order)
    good = [each for each in ordered if each.id not in points.damaged]
    if not good:
        return ()
    kept = {good[-1].id, *points.keep} | _kept(policy, good, now)
    kept |= _kept(policy, ordered, now) & set(points.damaged)
    return tuple(each for each in ordered if each.id not in kept)


def _order(point: Point) -> tuple[datetime, str]:
    return point.time, point.id


def _kept(policy: Policy, ordered: list[Point], now: datetime) -> set[str]:
    """Ids of what the rules keep of these, which are in order of time."""
    kept = {each.id for each in ordered[max(0, len(ordered) - policy.count) :]} if policy.count else set()
    if policy.days:
        kept |= {each.id for each in ordered if now - each.time < timedelta(days=policy.days)}
    for name, period in _PERIODS.items():
        kept |= _newest_of_each(ordered, period, getattr(policy, name), policy.zone)
    return kept


def _newest_of_each(ordered: Iterable[Point], period: Callable[[datetime], Any], count: int, zone: tzinfo) -> set[str]:
    """Ids of the newest point in each of the ``count`` newest periods that have one."""
    newest = {period(each.time.astimezone(zone)): each.id for each in ordered}
    return set(list(newest.values())[max(0, len(newest) - count) :])
