# SPDX-License-Identifier: GPL-3.0-or-later
"""When a transfer agent counts as hung: tables of what it says, and when."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.watchdog import SILENT_SECONDS, Watchdog

STALL = 300.0
BEGAN = 1000.0
Look = tuple[float, int, int, float]


def every(seconds: float, until: float, *, progress: bool, serial: bool = True, waiting: float = 0.0) -> list[Look]:
    """Looks (seconds since the start, serial, progress, waiting) at what moves on with each or stands still."""
    count = int(until / seconds)
    return [(n * seconds, n if serial else 0, n if progress else 0, waiting) for n in range(1, count + 1)]


def moved(looks: list[Look]) -> list[Look]:
    """The same looks as the last ones of a transfer that has moved before."""
    return [(500.0, 10**6, 10**6, 0.0), *[(500 + at, serial, 0, waiting) for at, serial, _, waiting in looks]]


LIVES: dict[str, list[Look]] = {
    "moves at every poll": every(10, 3600, progress=True),
    "says something new only just in time": every(SILENT_SECONDS - 1, 3600, progress=True),
    "waits for AWS, for however long": every(10, 3600, progress=False, waiting=5.0),
    "stands still for less than the limit": every(10, STALL - 10, progress=False),
    "says nothing for less than a minute": every(10, SILENT_SECONDS - 1, progress=True, serial=False),
    "waits, and then stands still for less than the limit": [
        *every(10, 600, progress=False, waiting=1.0),
        *[(600 + at, 10**6 + serial, 0, 0.0) for at, serial, _, _ in every(10, STALL - 10, progress=False)],
    ],
    "begins again with its counters, as after a restart": [(50.0, 90, 90, 0.0), (100.0, 1, 1, 0.0), (150.0, 2, 1, 0.0)],
}
HANGS: dict[str, tuple[list[Look], str, float]] = {
    "says nothing from the start": (every(10, 100, progress=False, serial=False), "AgentHung", SILENT_SECONDS + 10),
    "says the same for a minute, whatever it counts": (
        every(10, 100, progress=True, serial=False),
        "AgentHung",
        SILENT_SECONDS + 10,
    ),
    "says that it waits, and nothing new": (
        every(10, 100, progress=False, serial=False, waiting=3.0),
        "AgentHung",
        SILENT_SECONDS + 10,
    ),
    "stands still from the start": (every(10, 400, progress=False), "TransferStalled", 10 + STALL),
    "stands still after it has moved": (moved(every(10, 400, progress=False)), "TransferStalled", 510 + STALL),
    "stands still after it has waited": (
        [*every(10, 50, progress=False, waiting=1.0), *every(10, 500, progress=False)[5:]],
        "TransferStalled",
        50 + STALL,
    ),
}


def look(watchdog: Watchdog, seen: Look) -> None:
    """One look at the status."""
    at, serial, progress, waiting = seen
    status: dict[str, Any] = {"serial": serial, "progress": progress, "waiting": waiting}
    watchdog.look(status, BEGAN + at)


@pytest.mark.parametrize("looks", LIVES.values(), ids=LIVES.keys())
def test_a_transfer_lives_that(looks: list[Look]) -> None:
    watchdog = Watchdog("web-1", STALL, BEGAN)
    for each in looks:
        look(watchdog, each)


@pytest.mark.parametrize(("looks", "code", "at"), HANGS.values(), ids=HANGS.keys())
def test_a_transfer_is_ended_that(looks: list[Look], code: str, at: float) -> None:
    """At its time, and not before; the message names the resource."""
    watchdog = Watchdog("web-1", STALL, BEGAN)
    for each in looks:
        if each[0] >= at:
            with pytest.raises(KeeperError) as caught:
                look(watchdog, each)
            assert caught.value.code == code
            assert caught.value.message.startswith("web-1: ")
            assert caught.value.remedy
            return
        look(watchdog, each)
    pytest.fail("it was never ended")


def test_a_status_without_numbers_counts_as_silence() -> None:
    watchdog = Watchdog("web-1", STALL, BEGAN)
    watchdog.look({}, BEGAN + SILENT_SECONDS - 1)
    with pytest.raises(KeeperError) as caught:
        watchdog.look({}, BEGAN + SILENT_SECONDS)
    assert caught.value.code == "AgentHung"
