# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked again, how often, for how long, and what is said meanwhile."""

from __future__ import annotations

import threading

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.progress import Clock, Progress
from mayfly_agent.retries import TRIES, Broken, Busy, Pace, Retries

from tests.unit.agent.hostile import FastClock

BUSY = AgentError("SlowDown", "S3 is busy.", "Wait.")
BROKEN = AgentError("S3Unreachable", "The line went dead.")


class Script:
    """An attempt that raises these, one after the other, and then returns "done"; ``doubts`` is what it was told."""

    def __init__(self, *errors: Exception, ends: bool = True) -> None:
        self._left = list(errors)
        self._ends = ends
        self.doubts: list[bool] = []

    def __call__(self, doubtful: bool) -> str:
        self.doubts.append(doubtful)
        if len(self._left) > (1 if not self._ends else 0):
            raise self._left.pop(0)
        if self._left:
            raise self._left[0]
        return "done"


def test_what_comes_through_is_asked_once(progress: Progress) -> None:
    script = Script()
    assert Retries(progress).run(script) == "done"
    assert script.doubts == [False]
    assert progress.shown() == {"progress": 1, "waiting": 0.0}


@pytest.mark.parametrize(
    ("errors", "doubts"),
    [
        ([Busy(BUSY)], [False, False]),
        ([Busy(BUSY, doubtful=True), Busy(BUSY)], [False, True, True]),
        ([Broken(BROKEN)], [False, True]),
        ([Busy(BUSY)] * 20, [False] * 21),
        ([Broken(BROKEN)] * (TRIES - 1), [False] + [True] * (TRIES - 1)),
        # An answer shows that the connection works again.
        ([Broken(BROKEN), Broken(BROKEN), Busy(BUSY), Broken(BROKEN), Broken(BROKEN)], [False] + [True] * 5),
    ],
    ids=["later", "doubtful", "broken", "often later", "broken up to the last try", "mixed"],
)
def test_what_passes_is_asked_again(progress: Progress, errors: list[Exception], doubts: list[bool]) -> None:
    script = Script(*errors)
    assert Retries(progress).run(script) == "done"
    assert script.doubts == doubts
    assert progress.shown() == {"progress": 1, "waiting": 0.0}


def test_a_broken_connection_is_given_up_after_three_tries_some_seconds_apart(
    progress: Progress, clock: FastClock
) -> None:
    script = Script(Broken(BROKEN), ends=False)
    with pytest.raises(AgentError, match=r"The line went dead\. It was tried 3 times") as raised:
        Retries(progress).run(script)
    assert raised.value.code == "S3Unreachable"
    assert len(script.doubts) == TRIES == 3
    first, second = clock.waits
    assert 0.5 <= first <= 1.0
    assert 2.5 <= second <= 5.0
    assert progress.shown() == {"progress": 0, "waiting": 0.0}


@pytest.mark.parametrize("timeout", [60, 300])
def test_later_for_ever_ends_with_the_timeout(progress: Progress, clock: FastClock, timeout: int) -> None:
    script, began = Script(Busy(BUSY), ends=False), clock.now()
    progress.retry_timeout = timeout
    with pytest.raises(AgentError, match=r"S3 is busy. It was tried for \d+ seconds") as raised:
        Retries(progress).run(script)
    assert (raised.value.code, raised.value.remedy) == ("SlowDown", "Wait.")
    assert timeout <= clock.now() - began <= timeout + 15
    assert timeout / 10 <= len(script.doubts) <= 200
    assert progress.shown() == {"progress": 0, "waiting": 0.0}


@pytest.mark.parametrize("error", [Busy(BUSY), Broken(BROKEN)], ids=["later", "broken"])
def test_nothing_begins_after_the_deadline(progress: Progress, clock: FastClock, error: Exception) -> None:
    began: list[float] = []

    def attempt(_doubtful: bool) -> None:
        began.append(clock.now())
        raise error

    progress.deadline = clock.now() + 0.4  # before the shortest pause after a broken connection ends
    with pytest.raises(AgentError, match="deadline has passed") as raised:
        Retries(progress).run(attempt)
    assert raised.value.code == "DeadlinePassed"
    assert max(began) < progress.deadline


@pytest.mark.parametrize("error", [AgentError("AccessDenied", "no"), ValueError("no")], ids=["AWS's", "ours"])
def test_all_else_is_final(progress: Progress, error: Exception) -> None:
    script = Script(error)
    with pytest.raises(type(error)) as raised:
        Retries(progress).run(script)
    assert raised.value is error
    assert len(script.doubts) == 1


def test_it_is_told_how_long_aws_makes_the_agent_wait(progress: Progress, clock: FastClock) -> None:
    seen: list[dict[str, float]] = []

    def attempt(_doubtful: bool) -> str:
        seen.append(progress.shown())
        if len(seen) < 4:
            raise Busy(BUSY)
        return "done"

    retries = Retries(progress)
    retries.run(Script())
    first = clock.now()
    retries.run(attempt)
    assert [each["progress"] for each in seen] == [1, 1, 1, 1]
    waited = [each["waiting"] for each in seen]
    assert waited[0] == 0
    assert waited == sorted(waited)
    assert waited[-1] == pytest.approx(clock.now() - first, abs=0.002)
    assert progress.shown() == {"progress": 2, "waiting": 0.0}


def test_of_several_that_wait_the_first_counts(progress: Progress, clock: FastClock) -> None:
    early, late = object(), object()
    progress.waits(early, clock.now())
    clock.time += 10
    progress.waits(late, clock.now())
    clock.time += 5
    progress.waits(early, clock.now())  # its first time counts
    assert progress.shown()["waiting"] == 15
    progress.goes_on(early)
    assert progress.shown()["waiting"] == 5


def test_a_transfer_that_has_failed_waits_no_longer() -> None:
    """With a real clock: whoever sleeps is woken, and nothing is asked again."""
    progress = Progress(Clock())
    asked, raised = threading.Event(), []

    def attempt(_doubtful: bool) -> str:
        asked.set()
        raise Broken(BROKEN)

    def run() -> None:
        try:
            Retries(progress).run(attempt)
        except AgentError as error:
            raised.append(error.code)

    thread = threading.Thread(target=run)
    thread.start()
    assert asked.wait(10)
    progress.halt()
    thread.join(0.45)  # the shortest pause after a broken connection is longer
    assert raised == ["Stopped"]


class Quota:
    """A service that takes so many requests a second, and one second's worth at once."""

    def __init__(self, clock: FastClock, rate: float) -> None:
        self._clock, self._rate = clock, rate
        self._held, self._then = rate, clock.now()
        self.refused = 0

    def take(self, _doubtful: bool) -> None:
        now = self._clock.now()
        self._held = min(self._rate, self._held + (now - self._then) * self._rate)
        self._then = now
        if self._held < 1:
            self.refused += 1
            raise Busy(BUSY)
        self._held -= 1


@pytest.mark.parametrize("rate", [20, 60, 300, 1000])
def test_requests_find_the_pace_of_a_quota(progress: Progress, clock: FastClock, rate: int) -> None:
    retries, quota, count = Retries(progress), Quota(clock, rate), rate * 60
    began = clock.now()
    for _ in range(count):
        retries.run(quota.take)
    assert clock.now() - began <= 60 * 1.2
    assert quota.refused <= count * 0.1


def test_the_pace_falls_once_for_answers_of_one_moment_and_is_forgotten(progress: Progress, clock: FastClock) -> None:
    pace = Pace(progress)
    for _ in range(50):
        pace.slow_down()
    assert gaps(pace, clock, 3) == pytest.approx([0, 0.002, 0.002], abs=1e-4)
    clock.time += 60
    assert gaps(pace, clock, 3) == [0, 0, 0]


def test_the_pace_has_a_floor(progress: Progress, clock: FastClock) -> None:
    pace = Pace(progress)
    for _ in range(100):
        pace.slow_down()
        clock.time += 0.25
    assert max(gaps(pace, clock, 3)) <= 0.25


def gaps(pace: Pace, clock: FastClock, count: int) -> list[float]:
    """What each of so many requests of one moment waits."""
    found = []
    for _ in range(count):
        before = clock.now()
        pace.wait()
        found.append(clock.now() - before)
    return found
