# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run's keeper lives, has ended, or died: told by its lock and its report."""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from mayfly import playing, project, settling
from mayfly.playing import Order
from mayfly.progress import Event, Watch
from mayfly.results import Failure
from mayfly.stopping import Stop


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


ORDER = Order(operation="x", run="the-run", sources=(), limit=None, check=False, variables={})


def awaited(folder: Path, watch: Watch) -> str | None:
    """What became of the keeper, for somebody who waits."""
    return settling._await_keeper(folder, watch, lambda _event: None, Stop())


def write(folder: Path, ended: str | None) -> None:
    (folder / "report.json").write_text(json.dumps({"ended": ended, "resources": {}}))


def test_a_keeper_that_kept_nothing_is_not_missed(tmp_path: Path, watch: Watch) -> None:
    assert settling.keeper_lives(tmp_path) is None
    assert awaited(tmp_path, watch) is None
    assert awaited(tmp_path / "no folder", watch) is None


def test_a_keeper_that_has_ended(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "keeper.lock").touch()
    write(tmp_path, "2026-11-25T12:00:00+00:00")
    assert awaited(tmp_path, watch) is None


def test_a_keeper_that_died(tmp_path: Path, watch: Watch) -> None:
    (tmp_path / "keeper.lock").touch()
    write(tmp_path, None)
    assert "died" in str(awaited(tmp_path, watch))


def test_a_keeper_that_does_not_finish(tmp_path: Path, watch: Watch, held: IO[str]) -> None:
    write(tmp_path, None)
    assert settling.keeper_lives(tmp_path) is True
    assert "not finished" in str(awaited(tmp_path, watch))


def test_its_last_word_is_not_its_end(tmp_path: Path, watch: Watch, held: IO[str]) -> None:
    """It removes the secrets of the run after it."""
    write(tmp_path, "2026-11-25T12:00:00+00:00")
    let_go = threading.Timer(0.15, held.close)
    let_go.start()
    assert awaited(tmp_path, watch) is None
    assert settling.keeper_lives(tmp_path) is False


def test_a_report_that_cannot_be_followed_keeps_no_run_from_its_end(tmp_path: Path, held: IO[str]) -> None:
    (tmp_path / "report.json").write_text('{"resources": []}')
    told: list[Event] = []
    threading.Timer(0.15, held.close).start()
    lost = settling._await_keeper(tmp_path, Watch(tmp_path, told.append), told.append, Stop())
    assert "died" in str(lost)
    assert [event.kind for event in told] == ["warning"]


@pytest.mark.parametrize("report", ["{", "[]", "\udc80"])
def test_a_report_that_cannot_be_read_is_none(tmp_path: Path, report: str) -> None:
    (tmp_path / "report.json").write_bytes(report.encode(errors="surrogateescape"))
    assert settling._report(tmp_path) == {}


def test_who_gives_up_waits_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: IO[str]) -> None:
    monkeypatch.setattr(project, "runs_folder", lambda: tmp_path)
    (tmp_path / "the-run").symlink_to(tmp_path)
    monkeypatch.setattr(settling, "KEEPER_SECONDS", 8)
    stop = Stop()
    stop._given_up = True
    began = time.monotonic()
    assert settling.settle(ORDER, Watch(tmp_path, lambda _event: None), lambda _event: None, stop) == []
    assert "Nobody waited" in str(settling._reap(ORDER, stop))
    assert time.monotonic() - began < 5


def test_who_gives_up_a_run_gives_up_its_reaping() -> None:
    stop = Stop()
    reaping = Stop(300, stop)
    assert not reaping.kill_now(None)
    stop._given_up = True
    assert reaping.kill_now(None)


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
    folder = tmp_path / ORDER.run
    folder.mkdir()
    (folder / "keeper.lock").touch()
    (folder / "report.json").write_text(json.dumps({"ended": "2026-11-25T12:00:00+00:00", "errors": errors}))
    sweeps: list[Order] = []
    told: list[Event] = []
    monkeypatch.setattr(project, "runs_folder", lambda: tmp_path)
    monkeypatch.setattr(settling, "_reap", lambda order, _stop: (sweeps.append(order), reaped)[1])
    failures = settling.settle(ORDER, Watch(folder, lambda _event: None), told.append, Stop())
    assert [failure.code for failure in failures] == codes
    assert failures[:1] == ([Failure(**LEFT)] if errors else [])
    assert sweeps == ([ORDER] if errors else [])
    assert ["vol-1" in event.text for event in told] == [True] * len(errors)
