# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole campaign: labs that work on one list of jobs, and what comes of it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import alone, cases, table
from .alone import Job
from .cases import Case
from .conduct import Conductor
from .promises import Result
from .site import Site

_BACKUP_EVERY = 5  # random kills
_RESTORE_EVERY = 10  # cases of one lab
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class Order:
    """What a campaign is asked for."""

    seed: int
    labs: int
    random: int
    only: str
    fast: bool
    state: Path


class Campaign:
    """``say`` prints a line."""

    def __init__(self, order: Order, say: Callable[[str], None]) -> None:
        self._order = order
        self._say = say
        self._sites = [Site(Path(f"{order.state}-{number}")) for number in range(1, order.labs + 1)]
        self._jobs: queue.Queue[tuple[int, str, Job]] = queue.Queue()
        self._results: list[tuple[int, Result]] = []
        self._lock = threading.Lock()
        self._began = time.monotonic()
        for number, (name, job) in enumerate(_jobs(order)):
            self._jobs.put((number, name, job))
        self.count = self._jobs.qsize()

    def run(self) -> list[Result]:
        """Conduct all of it; the results in the order of the list."""
        # Daemons: an interrupted campaign takes its labs down at once, and does not wait for what they were doing.
        threads = [threading.Thread(target=self._work, args=(site,), daemon=True) for site in self._sites]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(_WAIT_SECONDS)
        while not self._jobs.empty():  # every lab was lost
            number, name, _job = self._jobs.get_nowait()
            self._note(number, Result(name, "matrix", "no harm", "", error="no lab was left to conduct it"))
        return self.results()

    def results(self) -> list[Result]:
        """What there is so far."""
        with self._lock:
            return [result for _, result in sorted(self._results, key=lambda each: each[0])]

    def down(self) -> None:
        """Take every lab down; what ran in them ends with them."""
        with self._lock:
            while not self._jobs.empty():
                self._jobs.get_nowait()
        with ThreadPoolExecutor(len(self._sites)) as pool:
            list(pool.map(lambda site: site.down(), self._sites))

    def _work(self, site: Site) -> None:
        conductor = Conductor(site)
        up = Result(f"{site.name} comes up", "matrix", "no harm", "begin", seconds=0.0)
        try:
            site.up()
        except Exception as error:  # the other labs do its work
            up.error = f"{type(error).__name__}: {error}".replace("\n", " ")[:600]
            self._note(-1, up)
            return
        self._say(f"{self._time()}  {site.name} is up")
        while True:
            try:
                number, _name, job = self._jobs.get_nowait()
            except queue.Empty:
                break
            for result in job(conductor, site):
                self._note(number, result)
        if self._order.fast and site is not self._sites[-1]:
            return
        last = Result(f"last restore of {site.name}", "matrix", "no harm", "end", layer="always block")
        for result in conductor.guarded([last], lambda: _last_restore(conductor, last)):
            self._note(self.count, result)

    def _note(self, number: int, result: Result) -> None:
        with self._lock:
            self._results.append((number, result))
            done = len(self._results)
        self._say(f"{self._time()} {done:4}  {table.line(result)}")

    def _time(self) -> str:
        seconds = int(time.monotonic() - self._began)
        return f"{seconds // 60:3}:{seconds % 60:02}"


def _last_restore(conductor: Conductor, result: Result) -> None:
    began = time.monotonic()
    result.restore, said = conductor.whole_restore()
    result.seconds, result.outcome = time.monotonic() - began, "restored" if result.restore else said


def _jobs(order: Order) -> Sequence[tuple[str, Job]]:
    """All jobs in their order; what mostly waits comes first where little else is left to fill its time."""
    one_by_one = cases.chosen(order.seed, order.random, only=order.only, fast=order.fast)
    conducted = [(case.name, _conducted(case)) for case in one_by_one]
    by_layers = [(name, job) for name, job in alone.names(fast=order.fast) if cases.matches(name, order.only)]
    return [*by_layers, *conducted] if order.fast else [*alone.scheduled(order.only), *conducted, *by_layers]


def _conducted(case: Case) -> Job:
    def job(conductor: Conductor, _site: Site) -> list[Result]:
        return [conductor.conduct(case, next_backup=_wants_backup(case), restore=conductor.is_turn(_RESTORE_EVERY))]

    return job


def _wants_backup(case: Case) -> bool:
    """After every case of the matrix, and after every fifth random kill.

    A fault that passes is followed by a backup anyway: its own, which has to succeed.
    """
    if case.phase == "matrix":
        return case.promise != "passing fault"
    return int(case.name.split()[1].rstrip(":")) % _BACKUP_EVERY == 0
