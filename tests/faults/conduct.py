# SPDX-License-Identifier: GPL-3.0-or-later
"""One case from its beginning to its result."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from . import moments
from .cases import GIVEN_UP, HARMS, RESTORE, Case
from .harms import harm
from .layers import layer
from .moments import MOMENTS
from .operation import Operation, reap
from .promises import CLEAN_SECONDS, LEASE_MORE_SECONDS, LEASE_SECONDS, Result
from .site import Site

_MOMENT_SECONDS = 150.0
_MORE_SECONDS = 90.0
_WHOLE_RUN_SECONDS = 300.0
_LOOK_SECONDS = 0.7
_NUMBERS = itertools.count(1)
_UP = ("pending", "running")


class Conductor:
    """Conducts cases in one lab, one after another."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._conducted = 0
        self._asked: list[str] = []

    def conduct(self, case: Case, *, next_backup: bool, restore: bool) -> Result:
        """Carry a case out. What goes wrong with the campaign itself is the result's ``error``."""
        result = Result(case.name, case.phase, case.promise, case.moment or f"{case.seconds or 0:.1f} s")
        operation = None
        try:
            inventory = {"inventory": "restore_points.yml"} if case.restores else {}
            more = {**inventory, **dict(case.settings), "runner": _runner(case.action)}
            if case.restores and not self._site.ask("points"):
                self.whole_backup()
            operation = Operation(self._site, self.new_run(), name=case.operation, **more)
            given = self._conduct(case, operation, result)
            operation.close()
            if case.restores:
                self._judge_restored(case, operation.run, given, result)
            self._afterwards(result, next_backup=next_backup, restore=restore)
        except Exception as error:
            result.error = f"{type(error).__name__}: {error}".replace("\n", " ")[:600]
            if operation is not None:
                operation.abandon()
        self._make_clean(result)
        return result

    def is_turn(self, every: int) -> bool:
        """Whether this is one of every so many cases in this lab."""
        self._conducted += 1
        return self._conducted % every == 0

    def new_run(self) -> str:
        """An id for a run."""
        return f"c{next(_NUMBERS)}-{self._site.name}-{time.time_ns() % 10**8:x}"

    def _conduct(self, case: Case, operation: Operation, result: Result) -> set[str]:
        """The volumes that had been handed over before any harm was done."""
        result.reached = self.reach(case, operation)
        given = self._given(operation) if case.action else set()
        # A fault of a service has no moment of its own: the time of the whole run counts.
        began = time.monotonic() if case.action else operation.began
        if case.action in HARMS:
            harm(self._site, case, operation.run)
        elif case.action:
            operation.kill(case.action)
        hold_ends = began
        if case.moment and case.action not in HARMS and case.action:
            hold_ends += MOMENTS[case.moment].seconds + 0.5
        if case.action:
            self._site.faults.clear()
        reaped, powered_off = 0, False
        if case.promise == "container":
            powered_off = self.await_lease(operation.run, hold_ends)
            reaped = len(reap(self._site, operation.run))
            self.forget_container()
        soft = case.action in ("runner cancel", "SIGINT to ansible-playbook")
        self._await_clean(operation, result, began, hold_ends, soft=soft)
        if case.faults and not case.action:  # a fault that nothing has met has tried nothing
            result.reached = self._site.met(self._asked)
        self._tell(case, operation, result, reaped=reaped, powered_off=powered_off)
        return given

    def reach(self, case: Case, operation: Operation) -> bool | None:
        """Ask for the case's faults and wait for its moment: whether it has come, None when it has none."""
        held = self._hold(case)
        self._asked = [self._site.hurt(fault) for fault in case.faults]
        return self._await(case, operation, held) if case.action else None

    def await_stage(self, operation: Operation, stage: str) -> bool:
        """Whether the operation comes to that stage."""
        ends = time.monotonic() + _MOMENT_SECONDS
        while time.monotonic() < ends and not operation.ended():
            if moments.in_stage(self._site.report(operation.run), stage):
                return True
            time.sleep(0.1)
        return False

    def await_nothing(self, result: Result, began: float) -> None:
        """Until nothing more is there than at the beginning."""
        limit = began + CLEAN_SECONDS[result.promise] + _MORE_SECONDS
        while True:
            left = self._site.differences()
            if not left or time.monotonic() > limit:
                result.leaks = left
                result.seconds = None if left else time.monotonic() - began
                return
            time.sleep(_LOOK_SECONDS)

    def guarded(self, results: list[Result], work: Callable[[], None]) -> list[Result]:
        """Do the work that fills in ``results``; what goes wrong is their error, and the lab is clean afterwards."""
        try:
            work()
        except Exception as error:
            for result in results:
                result.error = f"{type(error).__name__}: {error}".replace("\n", " ")[:600]
        self._make_clean(results[-1])
        return results

    def _hold(self, case: Case) -> str:
        """Hold the case's moment open; the id of the fault that tells when it has come."""
        if not case.moment or not case.action or case.moment not in MOMENTS:
            return ""
        first = ""
        for kind, times, options in moments.holds(case.moment, late=case.late):
            identity = self._site.faults.add(kind, times, **options).identity
            first = first or identity
        return first

    def _await(self, case: Case, operation: Operation, held: str) -> bool:
        """Whether the case's moment has come, before its operation ended."""
        if case.seconds is not None:
            time.sleep(max(0.0, operation.began + case.seconds - time.monotonic()))
            return True
        stage, ends = MOMENTS[case.moment].stage, time.monotonic() + _MOMENT_SECONDS
        while time.monotonic() < ends:
            if held and any(each.identity == held and each.left == 0 for each in self._site.faults.all()):
                return True
            if stage and moments.in_stage(self._site.report(operation.run), stage):
                return True
            if operation.ended():
                return False
            time.sleep(0.05)
        return False

    def await_lease(self, run: str, not_before: float) -> bool:
        """Wait for the ends of a dead run's workers by their leases; whether one has powered itself off."""
        limit = not_before + LEASE_SECONDS + LEASE_MORE_SECONDS
        while True:
            workers = self._site.ask("workers", run=run)
            gone = all(each["state"] == "terminated" for each in workers)
            if (gone and time.monotonic() > not_before + 1.0) or time.monotonic() > limit:
                return any("InstanceInitiatedShutdown" in each["reason"] for each in workers)
            time.sleep(_LOOK_SECONDS)

    def forget_container(self) -> None:
        """What a container kept in its memory has gone with it."""
        for folder in self._site.state()["folder"]:
            self._site.clean_folder(folder)

    def _await_clean(self, operation: Operation, result: Result, began: float, hold_ends: float, *, soft: bool) -> None:
        """Until nothing of the operation is left; fills in when that was, and what is left after all patience."""
        limit = began + CLEAN_SECONDS[result.promise] + _MORE_SECONDS
        had_workers = soft and bool(self._up(operation.run))
        while True:
            now = time.monotonic()
            if soft and result.shutting_down is None and now >= hold_ends:
                up = self._up(operation.run)
                had_workers = had_workers or bool(up)
                if not up and (had_workers or not operation.alive()):
                    result.shutting_down = time.monotonic() - began if had_workers else None
                    soft = False
            if now >= hold_ends and not operation.alive() and not self._left(operation, everywhere=False):
                seconds = time.monotonic() - began
                if not self._left(operation, everywhere=True):
                    result.seconds = seconds
                    break
            if now > limit:
                result.leaks = self._left(operation, everywhere=True)
                result.seconds = None if result.leaks else now - began
                break
            time.sleep(_LOOK_SECONDS if not soft else 0.2)

    def _up(self, run: str) -> list[dict[str, Any]]:
        return [each for each in self._site.ask("workers", run=run) if each["state"] in _UP]

    def _left(self, operation: Operation, *, everywhere: bool) -> list[str]:
        left = self._site.differences(everywhere=everywhere, run=operation.run, folder=operation.folder)
        given = self._given(operation)
        return [each for each in left if each.split()[1] not in given]

    def _given(self, operation: Operation) -> set[str]:
        """The volumes that a restore has handed over: they are the user's."""
        return set(self._site.ask("handed_over", run=operation.run)) if operation.name == RESTORE else set()

    def _judge_restored(self, case: Case, run: str, given: set[str], result: Result) -> None:
        """All volumes were handed over, with their bytes, or none is left; what the user had is still there."""
        kept = set(self._site.ask("handed_over", run=run))
        found = self._site.lab.digests(*kept) if kept else {}
        whole = sorted(found.values()) == sorted(self._site.digests.values())
        result.restore = given <= kept and (whole or (not kept and case.expect != "Succeeded"))
        result.outcome += f", {len(kept)} volumes are the user's" if kept else ", no volume is left"
        self._site.ask("remove", things=[f"volume {each} (production, us-east-1)" for each in kept])

    def _tell(self, case: Case, operation: Operation, result: Result, *, reaped: int, powered_off: bool) -> None:
        report = self._site.report(operation.run)
        swept = any(self._site.lab.runs.glob(f"{operation.run}-reap-*"))
        log = self._site.log(operation.run)
        result.layer = layer(report, log, swept_by_runner=swept, powered_off=powered_off, reaped=reaped)
        statuses = sorted({entry["status"] for entry in ((report or {}).get("resources") or {}).values()})
        status = ", ".join(statuses) or "not begun"
        result.outcome = status
        if case.expect:
            good = (status in ("Succeeded", "Warning")) if case.expect == "Succeeded" else status == case.expect
            result.expected = good
            if not good:
                errors = [
                    str(each) for entry in (report or {}).get("resources", {}).values() for each in entry["errors"]
                ]
                result.outcome = f"{status}, not {case.expect}: {' '.join(errors)[:500]}"
        if operation.gave_up is not None:
            result.expected = operation.gave_up
            result.outcome += (
                ", nobody waited" if operation.gave_up else f", STILL WAITED FOR: {operation.said()[-400:]}"
            )
        if result.reached is False:
            result.outcome = f"the moment did not come: {status}: {operation.said()[-400:]}".replace("\n", " ")

    def _afterwards(self, result: Result, *, next_backup: bool, restore: bool) -> None:
        """Whether the repository and the source are as good as before."""
        self._site.heal()
        if next_backup:
            result.next_backup, text = self.whole_backup()
            result.outcome += ", next backup succeeded" if result.next_backup else f", NEXT BACKUP FAILED: {text}"
        result.points, result.bad_points = self._site.new_points()
        if result.bad_points:
            result.outcome += f", DAMAGED: {'; '.join(result.bad_points)}"
        if restore:
            result.restore, text = self.whole_restore()
            result.outcome += ", restored" if result.restore else f", RESTORE FAILED: {text}"

    def whole_backup(self) -> tuple[bool, str]:
        """(whether a backup that nobody hurts succeeds, why not); it goes on from whatever point there is."""
        before = set(self._site.ask("points"))
        operation = Operation(self._site, self.new_run(), mayfly_full_backup=False)
        if not operation.wait(_WHOLE_RUN_SECONDS):
            operation.abandon()
            return False, f"it hangs: {operation.said()[-300:]}"
        operation.close()
        new = set(self._site.ask("points")) - before
        good = operation.code() == 0 and len(new) == 1
        return good, "" if good else operation.said()[-500:].replace("\n", " ")

    def whole_restore(self) -> tuple[bool, str]:
        """(whether a real restore gives the very same volumes, why not)"""
        site, run = self._site, self.new_run()
        operation = Operation(site, run, name="volume_restore", inventory="restore_points.yml")
        if not operation.wait(_WHOLE_RUN_SECONDS):
            operation.abandon()
            return False, f"it hangs: {operation.said()[-300:]}"
        operation.close()
        entry = ((site.report(run) or {}).get("resources") or {}).get(site.host, {})
        volumes: dict[str, str] = entry.get("restored_volumes") or {}
        found = site.lab.digests(*volumes.values()) if volumes else {}
        good = operation.code() == 0 and {old: found[new] for old, new in volumes.items()} == site.digests
        site.ask("remove", things=[f"volume {each} (production, us-east-1)" for each in volumes.values()])
        return good, "" if good else operation.said()[-500:].replace("\n", " ")

    def _make_clean(self, result: Result) -> None:
        """The next case begins as the first one did, whatever this one has left."""
        try:
            self._site.heal()
            left = self._settled()
            if left:
                result.leaks += [each for each in left if each not in result.leaks]
                failed = self._site.clean(left)
                if failed:
                    result.outcome += f", not removed: {'; '.join(failed)[:300]}"
        except Exception as error:
            result.error = f"{result.error} cleaning failed: {type(error).__name__}: {error}"[:600]

    def _settled(self) -> list[str]:
        """What is left, once things that only go slowly have gone."""
        ends = time.monotonic() + 15
        while (left := self._site.differences()) and time.monotonic() < ends:
            time.sleep(1.0)
        return left


def _runner(action: str) -> str:
    """How an operation is started that this is done to."""
    if "runner" not in action:
        return ""
    return "command" if action in GIVEN_UP else "start"
