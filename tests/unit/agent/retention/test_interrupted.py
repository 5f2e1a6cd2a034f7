# SPDX-License-Identifier: GPL-3.0-or-later
"""Sweeps that are killed at any request, that meet each other, and that meet a backup which pauses for days."""

from __future__ import annotations

from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent.errors import AgentError
from mayfly_agent.job import LONGEST_RUN
from mayfly_agent.repository import layout, repository
from mayfly_agent.sweep import GRACE

from tests.unit.agent.lines import NAME, Line, Points, volume
from tests.unit.agent.memory import Killed
from tests.unit.agent.retention.aging import AgingObjects, Client
from tests.unit.agent.retention.processes import Process
from tests.unit.agent.retention.sweeps import (
    CONTENTS,
    SECOND,
    copy_of,
    digests,
    held,
    needed,
    only,
    settle,
    sweep,
    three_points,
)

LONGEST = timedelta(seconds=LONGEST_RUN)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> tuple[AgingObjects, dict]:
    """Three points, the first marked twice; of a fourth, which went a week ago, all that is due; something to condemn
    and to move.
    """
    folder = tmp_path_factory.mktemp("busy")
    store, contents = three_points(folder)
    points = Points(store, folder)
    gone = points.make(Line({"snap": {1: 200, 2000: 201}}), volume("snap"), run="gone")
    sweep(store, gone.id)
    store.now += GRACE + SECOND
    store.put(f"{NAME.path}/packs/aa/{'a' * 32}", b"of a writer that was killed")
    for digits in ("0123abcd", "4567abcd"):
        store.put(layout.damaged_key(NAME, next(iter(contents)), digits), b"found by a health check")
    return store, contents


def calls_of(store: AgingObjects, *remove: str) -> int:
    client = Client(copy_of(store))
    sweep(client._store, *remove, client=client, share=0.6)
    return client.calls


def test_killed_at_any_request(busy: tuple[AgingObjects, dict]) -> None:
    store, contents = busy
    first, second, third = contents
    calls = calls_of(store, first, second)
    assert calls > 30
    for dies in range(calls):
        for late in (False, True):
            mine = copy_of(store)
            client = Client(mine, dies=dies, late=late)
            with pytest.raises(Killed):
                sweep(mine, first, second, client=client, share=0.6)
            found = held(mine)
            assert found == digests(only(contents, found)), f"killed at {dies}"
            assert third in found
            settle(mine, first, second, share=0.6)
            assert held(mine) == digests(only(contents, [third]))
            assert mine.everything() == needed(mine), f"killed at {dies}"


def test_two_sweeps_at_once(busy: tuple[AgingObjects, dict]) -> None:
    """One pauses at each of its requests; meanwhile another removes other points, and time goes by."""
    store, contents = busy
    first, second, third = contents
    times = cycle([timedelta(minutes=10), GRACE + SECOND, timedelta(hours=3), LONGEST])
    for pauses, pause in zip(range(calls_of(store, first)), times, strict=False):
        mine = copy_of(store)
        client = Client(mine, pauses=pauses, sent=pauses % 3 == 0)
        client.until = mine.now + LONGEST
        slow = Process(client, lambda client, mine=mine: sweep(mine, first, client=client, share=0.6))
        assert slow.until_paused()
        sweep(mine, second, share=0.6)
        mine.now += pause
        sweep(mine, share=0.6)
        slow.finish()
        found = held(mine)
        assert found == digests(only(contents, found)), f"paused at {pauses}"
        assert third in found
        settle(mine, first, second, share=0.6)
        assert held(mine) == digests(only(contents, [third]))
        assert mine.everything() == needed(mine), f"paused at {pauses}"


@pytest.mark.parametrize("pause", [timedelta(hours=1), LONGEST - SECOND, LONGEST, GRACE + SECOND])
def test_a_writer_that_pauses(tmp_path: Path, pause: timedelta) -> None:
    """Its parent goes meanwhile. It commits a point that is whole, or none when its deadline has passed."""
    store, contents = three_points(tmp_path)
    first, second, third = contents
    line = Line({**CONTENTS, "snap-3": {**CONTENTS["snap-1"], 7: 99}})
    committed = set()
    for pauses in range(1, 30):
        mine = copy_of(store)
        client = Client(mine, pauses=pauses)
        client.until = mine.now + LONGEST
        points = Points(client, tmp_path)  # type: ignore[arg-type]
        points.hours = 9

        def back_up(_client: Client, points: Points = points) -> None:
            points.make(line, volume("snap-3", "snap-1"), parent=second)

        writer = Process(client, back_up)
        if not writer.until_paused():
            break
        sweep(mine, second, share=0.6)
        mine.now += pause / 2
        sweep(mine, share=0.6)
        mine.now += pause / 2
        sweep(mine, share=0.6)
        writer.finish()
        sweep(mine, share=0.6)
        mine.now += GRACE + SECOND
        sweep(mine, share=0.6)
        found = held(mine)
        new = next(iter(found.keys() - contents.keys()), None)
        committed.add(new is not None)
        all_contents = {**contents, **({new: line.snapshots["snap-3"]} if new else {})}
        assert found == digests({each: all_contents[each] for each in found}), f"paused at {pauses}"
        assert found.keys() >= {first, third}
        settle(mine, share=0.6)
        assert held(mine) == found
        assert mine.everything() == needed(mine)
    else:
        raise AssertionError("it never came to its end")
    # It pauses in reading its point again, too, which is there by then.
    assert committed == ({True} if pause < LONGEST else {True, False})


def test_a_manifest_is_not_removed_long_after_the_lists_were_looked_at(busy: tuple[AgingObjects, dict]) -> None:
    """A request that takes more than five minutes in between ends the sweep; the next one does it."""
    store, contents = busy
    first, *_ = contents
    mine = copy_of(store)
    marks = f"{NAME.path}/marks/"
    seen: list[str] = []

    class Slow(Client):
        def __getattr__(self, name: str) -> Any:
            def made(*words: Any, **more: Any) -> Any:
                seen.append(f"{name} {words[0] if name == 'list' else ''}")
                if seen.count(f"list {marks}") == 4 and name == "list":
                    self._store.now += timedelta(minutes=6)
                return getattr(self._store, name)(*words, **more)

            return made

    with pytest.raises(AgentError) as raised:
        sweep(mine, first, client=Slow(mine))
    assert raised.value.code == "TooLate"
    assert first in repository.list_points(mine, NAME)
    settle(mine, first)
    assert first not in repository.list_points(mine, NAME)
