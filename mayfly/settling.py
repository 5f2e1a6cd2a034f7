# SPDX-License-Identifier: GPL-3.0-or-later
"""After a playbook's end: wait for its keeper's word that everything of the run has ended, else reap the run."""

from __future__ import annotations

import fcntl
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mayfly import memory, playing, project
from mayfly.playing import Order
from mayfly.progress import Event, Watch, read_report
from mayfly.results import Failure, reported_failures
from mayfly.stopping import Stop

# Terminating a worker takes AWS a minute or two; the keeper bounds its own work below this.
KEEPER_SECONDS = 300.0
_REAP_SECONDS = 300.0
_SWEEPS = 20
_BETWEEN_SECONDS = 5.0
_CLEAN_IN_A_ROW = 2


def settle(order: Order, watch: Watch, tell: Callable[[Event], None], stop: Stop) -> list[Failure]:
    """Return when nothing of the run is left; what is said when that is not sure, or took more than its keeper.

    Returns early, with nothing said, when ``stop`` says that nobody waits any more.
    """
    folder = project.runs_folder() / order.run
    lost = _await_keeper(folder, watch, tell, stop)
    if stop.given_up:
        return []
    if lost is None:
        return _settle_rest(order, reported_failures(_report(folder)), tell, stop)
    tell(Event("warning", f"{lost} What the run has left is looked for by its tags."))
    unclean = _reap(order, stop)
    remedy = f"See {folder}/keeper.log, and run the playbook reap; what it left ends with its lease at the latest."
    return [
        Failure("KeeperLost", lost if unclean is None else f"{lost} {unclean}", None if unclean is None else remedy)
    ]


def _settle_rest(order: Order, left: list[Failure], tell: Callable[[Event], None], stop: Stop) -> list[Failure]:
    """Look once more for what the keeper could not end; it failed to do so, whatever comes of that."""
    if not left:
        return []
    tell(Event("warning", f"The keeper could not end everything: {left[0]} It is looked for once more."))
    unclean = _reap(order, stop)
    return left if unclean is None else [*left, Failure("ReapFailed", unclean, "Run the playbook reap.")]


def keeper_lives(folder: Path) -> bool | None:
    """Whether the run's keeper is there: it holds a lock for as long as it lives. None when it has kept nothing."""
    try:
        with (folder / "keeper.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return True
    return False


def _await_keeper(folder: Path, watch: Watch, tell: Callable[[Event], None], stop: Stop) -> str | None:
    """None when the keeper has ended after its last word, or there never was one; else what became of it.

    Its last word is not enough: it removes the run's secrets after it.
    """
    limit = time.monotonic() + KEEPER_SECONDS
    followed = True
    while not stop.given_up:
        lives = keeper_lives(folder)  # before the report: a keeper that ends between the two has written it
        report = _report(folder)
        try:
            if followed:
                watch.report()
        except Exception as error:  # how the run ends does not hang on who follows it
            followed = False
            tell(Event("warning", f"The keeper's report cannot be followed any further: {error!r}"))
        if lives is None:
            memory.forget(folder.name)
            return None
        if not lives:
            return None if report.get("ended") else "The keeper of the run died before everything had ended."
        if time.monotonic() > limit:
            return f"The keeper of the run had not finished {KEEPER_SECONDS:.0f} s after the playbook's end."
        time.sleep(playing.POLL_SECONDS)
    return None


def _report(folder: Path) -> dict[str, Any]:
    """The keeper's report; empty when there is none that can be read: it must not keep a run from its end."""
    try:
        report = read_report(folder)
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _reap(order: Order, stop: Stop) -> str | None:
    """Sweep until two sweeps in a row find nothing of the run; None then, else what is wrong."""
    clean = 0
    for _ in range(_SWEEPS):
        if stop.given_up:
            return "Nobody waited for its end."
        sweep = replace(
            order,
            operation="reap",
            run=f"{order.run}-reap-{secrets.token_hex(2)}",
            limit=None,
            check=False,
            variables={**(order.variables or {}), "mayfly_reap_run": order.run},
        )
        watch = Watch(project.runs_folder() / sweep.run, lambda _event: None)
        output = playing.play(sweep, watch, Stop(_REAP_SECONDS, stop))
        if output.code != 0:
            return f"Reaping it failed: {output.errors()}"
        report = read_report(project.runs_folder() / sweep.run) or {}
        found = sum(len(entry.get("reaped") or ()) for entry in (report.get("resources") or {}).values())
        clean = 0 if found else clean + 1
        if clean == _CLEAN_IN_A_ROW:
            return None
        time.sleep(_BETWEEN_SECONDS)
    return f"{_SWEEPS} sweeps have found something each."
