# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.faults.layers import layer

ENDING = datetime(2026, 11, 25, 8, 0, 10, tzinfo=UTC)
LOG = f"{ENDING.astimezone():%Y-%m-%d %H:%M:%S},000 INFO MainThread the run is to end\n"


def report(terminated: datetime | None) -> dict[str, object]:
    end = terminated.isoformat() if terminated else None
    return {"resources": {"web": {"stages": [{"name": "Terminating", "start": "", "end": end}]}}}


@pytest.mark.parametrize(
    ("seconds", "who"), [(-1.0, "always block"), (1.0, "keeper"), (None, "keeper")]
)  # fmt: skip
def test_who_was_first(seconds: float | None, who: str) -> None:
    assert layer(report(None if seconds is None else ENDING + timedelta(seconds=seconds)), LOG) == who


def test_what_others_have_done_comes_first() -> None:
    done = report(ENDING - timedelta(seconds=1))
    assert layer(done, f"another keeper of this run has died\n{LOG}") == "another keeper"
    assert layer(done, LOG, swept_by_runner=True) == "runner's reap"
    assert layer(done, LOG, powered_off=True, reaped=2) == "lease + reaper"
    assert layer(done, LOG, powered_off=True) == "lease"
    assert layer(done, LOG, reaped=1) == "reaper"


def test_a_run_that_never_was() -> None:
    assert layer(None, "") == "nothing was made"
    assert layer(report(None), "the run is kept") == "nothing was left"
