# SPDX-License-Identifier: GPL-3.0-or-later
"""What is promised, in one table, and whether the results keep it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

LEASE_SECONDS = 30
# What a power-off, its way to EC2 and volumes that go with it may take after a lease has ended.
LEASE_MORE_SECONDS = 90.0
_REAP_SECONDS = 60.0
SOFT_CANCEL_SECONDS = 10.0

# Class of a case → seconds until nothing of it is left, at most.
CLEAN_SECONDS: dict[str, float] = {
    "keeper": 30.0,
    "another keeper": 90.0,
    "hung keeper": 120.0,
    "task": 60.0,
    "stopped task": 90.0,
    "runner": 60.0,
    "runner killed": 60.0,
    "runner's reap": 120.0,
    "container": LEASE_SECONDS + LEASE_MORE_SECONDS + _REAP_SECONDS,
    "passing fault": 180.0,
    "lasting fault": 180.0,
    # A whole run, made slower by four minutes: two for each volume of a restore, one after another
    "long fault": 420.0,
    # Two minutes of waiting for it, and a whole second attempt
    "lost worker": 300.0,
    # Five minutes of waiting for SSH
    "no boot": 390.0,
    "lease alone": LEASE_SECONDS + LEASE_MORE_SECONDS,
    # A real restore, at the end
    "no harm": 300.0,
    # One reap
    "reaper alone": 60.0,
}


@dataclass
class Result:
    """What became of a case. ``seconds`` until clean, None when it never was; ``None`` elsewhere: not asked."""

    name: str
    phase: str
    promise: str
    moment: str
    layer: str = ""
    seconds: float | None = None
    leaks: list[str] = field(default_factory=list)
    outcome: str = ""
    expected: bool | None = None
    reached: bool | None = None
    shutting_down: float | None = None
    next_backup: bool | None = None
    points: int = 0
    bad_points: list[str] = field(default_factory=list)
    restore: bool | None = None
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing about it is wrong."""
        wrong = self.leaks or self.bad_points or self.error or self.seconds is None
        late = self.seconds is not None and self.seconds > CLEAN_SECONDS[self.promise]
        return not wrong and not late and False not in (self.expected, self.reached, self.next_backup, self.restore)


@dataclass(frozen=True)
class Line:
    """One promise, and whether it was kept."""

    name: str
    figure: str
    aim: str
    met: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.figure} (aim {self.aim}): {'met' if self.met else 'missed'}"


def judge(results: Sequence[Result], random_aim: int = 0) -> list[Line]:
    """A line for each promise that the results say something about."""
    leaks = sum(len(each.leaks) for each in results)
    lines = [Line("leaks", str(leaks), "0", leaks == 0)]
    for promise, limit in CLEAN_SECONDS.items():
        some = [each for each in results if each.promise == promise]
        if some:
            never = sum(each.seconds is None for each in some)
            longest = max((each.seconds for each in some if each.seconds is not None), default=0.0)
            figure = f"{longest:.0f} s" + (f", {never} never" if never else "")
            met = not never and longest <= limit
            lines.append(Line(f"seconds until clean, {promise}", figure, f"<= {limit:.0f} s", met))
    canceled = [each.shutting_down for each in results if each.shutting_down is not None]
    if canceled:
        longest = max(canceled)
        met = longest <= SOFT_CANCEL_SECONDS
        lines.append(
            Line("cancel until all workers go", f"{longest:.1f} s", f"<= {SOFT_CANCEL_SECONDS:.0f} s", met)
        )  # fmt: skip
    lines += [
        line
        for name, attribute in (
            ("moments reached", "reached"),
            ("ends as it must", "expected"),
            ("next backup succeeds", "next_backup"),
            ("real restores are identical", "restore"),
        )
        for line in _counted(name, [getattr(each, attribute) for each in results])
    ]
    points, bad = sum(each.points for each in results), sum(len(each.bad_points) for each in results)
    if points:
        lines.append(Line("restore points restore", f"{points - bad} of {points}", f"{points} of {points}", not bad))
    if random_aim:
        done = sum(each.phase == "random" and not each.error for each in results)
        lines.append(Line("random kills", str(done), f">= {random_aim}", done >= random_aim))
    lines.append(Line("results", str(len(results)), ">= 1", bool(results)))
    errors = sum(bool(each.error) for each in results)
    lines.append(Line("cases that could not be conducted", str(errors), "0", errors == 0))
    return lines


def _counted(name: str, values: Sequence[bool | None]) -> list[Line]:
    asked = [value for value in values if value is not None]
    if not asked:
        return []
    good = sum(asked)
    return [Line(name, f"{good} of {len(asked)}", f"{len(asked)} of {len(asked)}", good == len(asked))]
