# SPDX-License-Identifier: GPL-3.0-or-later
"""The last two layers by themselves: the lease with nobody to reap, and the reaper with leases that do not end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mayfly_lab import rpc

from . import moments
from .cases import KILLS, Case, LabFault, matches
from .conduct import Conductor
from .harms import living
from .moments import BACKUP_MOMENTS, MOMENTS, REFUSED_TERMINATE
from .operation import Operation, reap
from .promises import LEASE_SECONDS, Result
from .site import Site, SiteError

_CONTAINER = "SIGKILL to every process"
# Leases that do not end while anybody looks; no worker is launched when less than its lease is left to the run.
_LONG = {"mayfly_lease": 7200, "mayfly_deadline": 86400}
# The schedule's own rules: a deadline that a run can just reach its transfer in, and the least grace there is.
_DEADLINE_SECONDS = 150
_SHORT = {"mayfly_lease": 60, "mayfly_deadline": _DEADLINE_SECONDS}
_GRACE_SECONDS = 300
_BY_LEASE = ("launch after it", "boot", "configure", "transfer", "commit", REFUSED_TERMINATE)
_FROZEN = "frozen host, transfer"
_MUTE = "never reaches user data, boot"
_REBOOTED = "rebooted worker, transfer"
# Transfer last: the agent of a dead run goes on for its lease, and would use up what holds the next one open.
_BY_SCHEDULE = ("snapshot", "boot", _FROZEN, "transfer")

Job = Callable[[Conductor, Site], list[Result]]


def names(*, fast: bool = False) -> list[tuple[str, Job]]:
    """Every job of these two phases, with its name."""
    if fast:
        return [("lease alone: transfer", _lease_job("transfer"))]
    jobs = [(f"lease alone: {moment}", _lease_job(moment)) for moment in (*_BY_LEASE, _REBOOTED, _FROZEN, _MUTE)]
    jobs += [(f"reaper alone: {moment}", _reaper_job(moment)) for moment in (*BACKUP_MOMENTS, _FROZEN, _MUTE)]
    return jobs


def scheduled(only: str) -> list[tuple[str, Job]]:
    """The one that takes the real grace of the reaper, which is minutes: it begins first, beside the others."""
    name = "reaper alone: by schedule"
    return [(name, _schedule)] if matches(name, only) else []


def _lease_job(moment: str) -> Job:
    def job(conductor: Conductor, site: Site) -> list[Result]:
        lease = Result(f"lease alone: {moment}", "lease", "lease alone", moment)
        rest = Result(f"the rest, by the reaper: {moment}", "reaper", "reaper alone", moment)
        return conductor.guarded([lease, rest], lambda: _lease_alone(conductor, site, moment, lease, rest))

    return job


def _lease_alone(conductor: Conductor, site: Site, moment: str, lease: Result, rest: Result) -> None:
    run, killed = _killed(conductor, site, moment, lease)
    hopeless = moment in (_FROZEN, _MUTE)
    counts_on = _rebooted(site, run) if moment == _REBOOTED else True
    workers = site.ask("workers", run=run)
    lease.reached = lease.reached and bool(workers)
    powered_off = False if hopeless else conductor.await_lease(run, killed)
    seconds = time.monotonic() - killed
    living = _living(site, run)
    volumes = {f"volume {each}" for worker in workers for each in worker["volumes"]}
    if hopeless:
        lease.seconds, lease.layer, lease.expected = 0.0, "none: it cannot", bool(living)
        lease.outcome = "the worker lives: no lease runs on it"
    else:
        kept = [each for each in site.differences() if any(each.startswith(volume) for volume in volumes)]
        lease.leaks = [f"instance {each}" for each in living] + kept
        lease.seconds, lease.layer = (None if living else seconds), "lease" if powered_off else ""
        lease.expected = powered_off and counts_on
        lease.outcome = "the worker has ended with its volumes" + ("" if counts_on else ", ITS DEADLINE BEGAN ANEW")
    _reaped(conductor, site, run, rest)


def _reaper_job(moment: str) -> Job:
    def job(conductor: Conductor, site: Site) -> list[Result]:
        result = Result(f"reaper alone: {moment}", "reaper", "reaper alone", moment)

        def work() -> None:
            run, _killed_at = _killed(conductor, site, moment, result, **_LONG)
            time.sleep(1.0)
            _reaped(conductor, site, run, result)

        return conductor.guarded([result], work)

    return job


def _schedule(conductor: Conductor, site: Site) -> list[Result]:
    """Dead runs whose tags and ages alone tell so, beside one that lives and must be left alone."""
    dead = [Result(f"reaper alone, by schedule: {moment}", "reaper", "reaper alone", moment) for moment in _BY_SCHEDULE]
    live = Result("a live run beside it", "reaper", "reaper alone", "transfer")

    def work() -> None:
        runs = []
        for result in dead:
            runs.append(_killed(conductor, site, result.moment, result, **_SHORT)[0])
        time.sleep(_DEADLINE_SECONDS + _GRACE_SECONDS + 5.0)
        for kind, times, options in moments.holds("transfer", late=True):
            site.faults.add(kind, times, **options)
        operation = Operation(site, conductor.new_run())
        live.reached = conductor.await_stage(operation, "Transferring")
        began = time.monotonic()
        reaped = reap(site, mayfly_reap_grace=_GRACE_SECONDS)
        seconds = time.monotonic() - began
        for result, run in zip(dead, runs, strict=True):
            own = [each for each in reaped if each["run"] == run]
            result.seconds, result.layer = seconds, "reaper"
            result.outcome = f"{len(own)} things removed: {own[0]['reason'] if own else 'nothing'}"
            result.expected = bool(own)
        site.heal()
        operation.wait(300)
        operation.close()
        live.seconds, live.layer = 0.0, "always block"
        live.expected = operation.code() == 0 and not [each for each in reaped if each["run"] == operation.run]
        live.outcome = "untouched, Succeeded" if live.expected else operation.said()[-400:]
        for worker in {each["id"] for each in reaped if each["kind"] == "instance"}:
            with suppress(rpc.RpcError):
                site.supervisor("thaw_host", instance_id=worker)

    return conductor.guarded([*dead, live], work)


def _killed(conductor: Conductor, site: Site, moment: str, result: Result, **settings: Any) -> tuple[str, float]:
    """(id of a run all of whose processes were killed at a moment, when what was held is done). Nothing is reaped."""
    where = moment.rpartition(", ")[2]
    faults = (LabFault("no-ssh"),) if moment == _MUTE else ()
    case = Case(moment, result.phase, "container", _CONTAINER, where, faults=faults)
    assert _CONTAINER in KILLS
    operation = Operation(site, conductor.new_run(), **settings)
    result.reached = conductor.reach(case, operation)
    if moment == _FROZEN:
        for each in _living(site, operation.run):
            site.supervisor("freeze_host", instance_id=each)
    operation.kill(_CONTAINER)
    killed = time.monotonic()
    site.faults.clear()
    operation.close()
    conductor.forget_container()
    time.sleep(MOMENTS[where].seconds + 0.5)
    if moment == _MUTE:  # as long as a lease that ran would take
        time.sleep(LEASE_SECONDS + 10.0 if result.phase == "lease" else 5.0)
    if moment == _FROZEN and result.phase == "lease":
        time.sleep(LEASE_SECONDS + 10.0)
    return operation.run, killed


def _rebooted(site: Site, run: str) -> bool:
    """Reboot a dead run's worker; whether the unit of its lease is back and counts the seconds before on."""
    worker = living(site, run)
    lived = int(_until(lambda: site.on_host(worker, "cat", "/var/lib/mayfly/lived")))
    before = site.on_host(worker, "cat", "/run/mayfly/started")
    site.ask("reboot", instance=worker)
    started = _until(lambda: _other(site.on_host(worker, "cat", "/run/mayfly/started"), before))
    site.on_host(worker, "systemctl", "is-active", "mayfly-lease.service")
    uptime = float(site.on_host(worker, "cat", "/proc/uptime").split()[0])
    return lived > 0 and uptime - int(started) >= lived


def _other(text: str, before: str) -> str:
    if text == before:
        raise SiteError(f"it is still {text}")
    return text


def _until(look: Callable[[], str], seconds: float = 25.0) -> str:
    """What can be seen in the end: a host that reboots answers nothing for a while."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return look()
        except SiteError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.3)


def _reaped(conductor: Conductor, site: Site, run: str, result: Result) -> None:
    """One reap of a run that is known to have ended, and the time until nothing is left."""
    began = time.monotonic()
    things = reap(site, run)
    result.layer = "reaper"
    result.outcome = f"{len(things)} things removed" if things else "nothing was left"
    conductor.await_nothing(result, began)
    result.reached = True if result.reached is None else result.reached


def _living(site: Site, run: str) -> list[str]:
    return [each["id"] for each in site.ask("workers", run=run) if each["state"] != "terminated"]
