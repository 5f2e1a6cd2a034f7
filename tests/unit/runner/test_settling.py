# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run's keeper lives, has ended, or died: told by its lock and its report."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from mayfly import playing, project, settling
from mayfly.playing import Order
from mayfly.progress import Event, Watch
from mayfly.results import Failure


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "KEEPER_SECONDS", 0.3)
    monkeypatch.setattr(playing, "POLL_SECONDS", 0.05)


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path, lambda _event: None)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[IO[str]]:
    """The lock of a keeper that lives."""
    with (tmp_path / "keeper.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def write(folder: Path, ended: str | None) -> None:
    (folder / "report.json").write_text(json.dumps({"ended": ended, "resources": {}}))


def test_a_keeper_that_kept_nothing_is_not_missed(tmp_path: Path, watch: Watch) -> None:
    assert settling.keeper_lives(tmp_path) is None
    assert settling._await_keeper(tmp_path, watch) is None
    assert settling._await_keeper(tmp_path / "no folder", watch) is None


def test_a_keeper_that_has_ended(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "keeper.lock").touch()
    write(tmp_path, "2026-11-25T12:00:00+00:00")
    assert settling._await_keeper(tmp_path, watch) is None


def test_a_keeper_that_died(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "keeper.lock").touch()
    write(tmp_path, None)
    assert "died" in str(settling._await_keeper(tmp_path, watch))


def test_a_keeper_that_does_not_finish(tmp_path: Path, watch: Watch, held: IO[str]) -> None:
    write(tmp_path, None)
    assert settling.keeper_lives(tmp_path) is True
    assert "not finished" in str(settling._await_keeper(tmp_path, watch))


def test_a_keeper_that_ends_meanwhile(tmp_path: Path, watch: Watch, held: IO[str]) -> None:
    lives = settling.keeper_lives(tmp_path)
    write(tmp_path, "2026-11-25T12:00:00+00:00")
    assert lives
    assert settling._await_keeper(tmp_path, watch) is None


LEFT = {"code": "DeletionFailed", "message": "The temporary volume vol-1 was not removed.", "remedy": "Reap."}


@pytest.mark.parametrize(
    ("errors", "reaped", "codes"),
    [
        ([], None, []),
        ([LEFT], None, ["DeletionFailed"]),
        ([LEFT], "Reaping it failed: no.", ["DeletionFailed", "ReapFailed"]),
    ],
    ids=["nothing", "something that the reaper ends", "something that nobody ends"],
)
def test_what_a_keeper_could_not_end_is_told_and_looked_for_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[object], reaped: str | None, codes: list[str]
) -> None:
    order = Order(operation="x", run="the-run", sources=(), limit=None, check=False, variables={})
    folder = tmp_path / order.run
    folder.mkdir()
    (folder / "keeper.lock").touch()
    (folder / "report.json").write_text(json.dumps({"ended": "2026-11-25T12:00:00+00:00", "errors": errors}))
    sweeps: list[Order] = []
    told: list[Event] = []
    monkeypatch.setattr(project, "runs_folder", lambda: tmp_path)
    monkeypatch.setattr(settling, "_reap", lambda order: (sweeps.append(order), reaped)[1])
    failures = settling.settle(order, Watch(folder, lambda _event: None), told.append)
    assert [failure.code for failure in failures] == codes
    assert failures[:1] == ([Failure(**LEFT)] if errors else [])
    assert sweeps == ([order] if errors else [])
    assert ["vol-1" in event.text for event in told] == [True] * len(errors)
