# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reaper may remove, from a thing's own tags and age alone: one rule on every path. Pure.

A run is alive for as long as its keeper renews ``mayfly:lease-ends`` on what it has made; no file and no process is
asked. What was made lately belongs to a run that lived lately, whatever lease it was born with: an agent writes that of
its job, which may be hours old, until the keeper hears of the thing (a poll, 10 s) and marks it (120 s). A deadline
ends every run, alive or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

DEPLOYMENT = "mayfly:deployment"
TEMPORARY = "mayfly:temporary"
KEEP = "mayfly:keep"
RUN = "mayfly:run"
DEADLINE = "mayfly:deadline"
LEASE_ENDS = "mayfly:lease-ends"

# Clocks of the reaper, of a keeper and of AWS may differ by five minutes.
LEAST_GRACE = timedelta(minutes=5)
# So far may the clock of a control node be ahead before snapshots of its own runs look older than these.
_FORGED = timedelta(hours=1)
# No run may be longer (settings.py), so what bears no readable time is past any deadline when it is older.
LONGEST_RUN = timedelta(days=7)


@dataclass(frozen=True)
class Rule:
    """``deployment`` is ours; ``grace`` is how long after its end a thing is left alone; ``run`` asks for one run that
    is known to have ended, whatever its lease says.
    """

    deployment: str
    grace: timedelta
    run: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether to remove a thing, and why or why not."""

    remove: bool
    reason: str


def judge(tags: Mapping[str, str], created: datetime | None, now: datetime, rule: Rule) -> Verdict:
    """The verdict on a thing with these tags that was made at ``created`` (AWS's word, None where it has none).

    Times are aware. Nothing is removed without this deployment's tag and the tag of temporary things; both are set
    when a thing is made, and the second one is taken away when it is handed over.
    """
    if tags.get(DEPLOYMENT) != rule.deployment:
        return Verdict(False, "not of this deployment")
    if tags.get(TEMPORARY) != "true":
        return Verdict(False, "not temporary")
    if KEEP in tags:
        return Verdict(False, f"marked {KEEP}")
    if rule.run is not None:
        ours = tags.get(RUN) == rule.run
        return Verdict(ours, f"its run {rule.run} has ended" if ours else "of another run")
    grace = max(rule.grace, LEAST_GRACE)
    deadline, lease = (_time(tags.get(name)) for name in (DEADLINE, LEASE_ENDS))
    if deadline is not None and now > deadline + grace:
        return Verdict(True, f"past its deadline {deadline:%Y-%m-%d %H:%M:%S} UTC")
    if lease is not None and now > max(lease, created or lease) + grace:
        return Verdict(True, f"its run is dead: its lease ended at {lease:%Y-%m-%d %H:%M:%S} UTC")
    if deadline is None and lease is None:
        return _by_age(created, now, grace)
    return Verdict(False, "its run lives")


def is_forged(kind: str, tags: Mapping[str, str], created: datetime | None) -> bool:
    """Whether a snapshot is older than the run that its tags say has made it: somebody has tagged what is not ours.

    A worker of a restore may tag snapshots, which no condition of IAM binds to those that it starts.
    """
    began = _time_of_run(tags.get(RUN, ""))
    return kind == "snapshot" and began is not None and created is not None and created < began - _FORGED


def _time_of_run(run: str) -> datetime | None:
    """When a run began, as its id tells."""
    try:
        return datetime.strptime(run.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _by_age(created: datetime | None, now: datetime, grace: timedelta) -> Verdict:
    """Of a thing whose tags say no time that can be read."""
    if created is None:
        return Verdict(False, "neither its tags nor AWS say how old it is")
    if now > created + LONGEST_RUN + grace:
        return Verdict(True, f"older than any run: made at {created:%Y-%m-%d %H:%M:%S} UTC")
    return Verdict(False, "its tags say no time, and it is younger than the longest run")


def _time(text: str | None) -> datetime | None:
    """The time in a tag, None when it has none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
