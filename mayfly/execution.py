# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry one operation out, and tell what became of every resource."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from mayfly import playing, project
from mayfly.playing import Order, Output
from mayfly.progress import Event, Watch, read_report
from mayfly.results import Failure, ResourceResult, RunResult, Status, overall, reported_failures, resource_result
from mayfly.settling import settle
from mayfly.stopping import Stop

OnEvent = Callable[[Event], None]


def run(
    operation: str,
    *,
    inventory: project.Inventory,
    limit: str | None = None,
    extra_vars: Mapping[str, Any] | None = None,
    on_event: OnEvent | None = None,
    timeout: float | None = None,
    check: bool = False,
) -> RunResult:
    """Run ``operation`` (a playbook's name) over the hosts of ``inventory`` and wait for its end.

    ``limit`` is Ansible's host pattern, ``extra_vars`` are settings for this run, ``timeout`` is in seconds: after it
    the run is canceled, as by SIGINT and SIGTERM; a second SIGINT gives up waiting (KeyboardInterrupt), while the
    run's keeper goes on to end what is left. ``on_event`` is called in this thread, as things happen; what it
    raises cancels the run and is raised again when everything of it is gone. ``check`` shows what would be done.
    Raises BadInput, with nothing launched, when the operation is unknown, the inventory cannot be read, or no host of
    it matches.
    """
    made = Run(_order(operation, inventory, limit, extra_vars, check=check), on_event, timeout)
    with made._stop.signals():
        made._carry_out()
    return made.wait()


def start(
    operation: str,
    *,
    inventory: project.Inventory,
    limit: str | None = None,
    extra_vars: Mapping[str, Any] | None = None,
    on_event: OnEvent | None = None,
    timeout: float | None = None,
    check: bool = False,
) -> Run:
    """As :func:`run`, in a thread of its own, where ``on_event`` is called too. No signal is handled.

    Raises BadInput when the operation is unknown or the inventory does not exist; what is found later, ``wait`` raises.
    """
    made = Run(_order(operation, inventory, limit, extra_vars, check=check), on_event, timeout)
    # Not a daemon: a program that ends waits for its workers' end.
    threading.Thread(target=made._carry_out, name=f"mayfly-{made.id}").start()
    return made


class Run:
    """An operation under way, made by :func:`start`. Everything of it may be called from any thread.

    As a context manager it is canceled when the block is left by an exception, and waited for in any case.
    """

    def __init__(self, order: Order, on_event: OnEvent | None, timeout: float | None) -> None:
        self.id = order.run
        self.operation = order.operation
        self._order = order
        self._on_event = on_event
        self._started = datetime.now(UTC)
        self._stop = Stop(timeout)
        self._ended = threading.Event()
        self._result: RunResult | None = None
        self._error: BaseException | None = None

    @property
    def status(self) -> Status | Literal["Running", "BadInput"]:
        """Running until everything of the run has ended, then the result's; BadInput when nothing could be begun."""
        if not self._ended.is_set():
            return "Running"
        if isinstance(self._error, project.BadInput):
            return "BadInput"
        return self._result.status if self._result else "Failed"

    def cancel(self, reason: str = "canceled by its caller") -> None:
        """End the run early. Returns at once; ``wait`` returns when its workers are gone."""
        self._stop.wish(reason)

    def wait(self, timeout: float | None = None) -> RunResult:
        """The result, when everything of the run has ended.

        Raises TimeoutError after ``timeout`` seconds (the run goes on), BadInput when nothing could be begun, and what
        ``on_event`` raised.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError(f"the run {self.id} goes on after {timeout:.0f} s")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.cancel(f"its caller failed: {error!r}")
            self._ended.wait()  # the caller's own error is the one to be raised
            return
        self.wait()

    def _carry_out(self) -> None:
        try:
            self._result = self._played()
        except BaseException as error:  # raised again by wait, in the thread of whoever waits
            self._error = self._error or error
        finally:
            self._ended.set()

    def _played(self) -> RunResult:
        order = self._order
        watch = Watch(project.runs_folder() / order.run, self._tell)
        output = None
        try:
            output = playing.play(order, watch, self._stop)
        except BaseException as error:  # raised again when nothing of the run is left
            self._error = self._error or error
        failures = settle(order, watch, self._tell, self._stop)
        if self._stop.given_up:
            message = f"Nobody waits for the end of the run {order.run} any more."
            how = f"Its keeper goes on to end what is left: {watch.folder}/report.json tells how."
            raise KeyboardInterrupt(f"{message} {how}")
        if output is None or self._error is not None:
            assert self._error is not None
            raise self._error
        if not watch.began and not self._stop.reason:
            raise project.BadInput(_why_nothing_began(watch, output, order.limit))
        return _result(order, self._started, watch, canceled=self._stop.reason, output=output, failures=failures)

    def _tell(self, event: Event) -> None:
        if self._on_event is None or self._error is not None:
            return
        try:
            self._on_event(event)
        except BaseException as error:  # nor SystemExit may leave workers behind: raised again by wait
            self._error = error
            self._stop.wish(f"on_event raised {error!r}")


def _order(
    operation: str,
    inventory: project.Inventory,
    limit: str | None,
    extra_vars: Mapping[str, Any] | None,
    *,
    check: bool,
) -> Order:
    project.playbook(operation)
    return Order(
        operation=operation,
        run=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
        sources=tuple(project.inventory_sources(inventory)),
        limit=limit,
        check=check,
        variables=dict(extra_vars or {}),
    )


def _why_nothing_began(watch: Watch, output: Output, limit: str | None) -> str:
    of = f" for the limit {limit!r}" if limit else ""
    if watch.no_hosts or (output.code == 0 and not watch.hosts):
        return f"The inventory has no resource for this operation{of}.\n{output.errors()}".strip()
    return f"Nothing was started{of}: {output.errors()}"


def _result(
    order: Order,
    started: datetime,
    watch: Watch,
    *,
    canceled: str | None,
    output: Output,
    failures: list[Failure],
) -> RunResult:
    report = read_report(project.runs_folder() / order.run) or {}
    entries: Mapping[str, Mapping[str, Any]] = report.get("resources") or {}
    resources = {
        host: _resource(host, entries.get(host) or {}, watch, canceled)
        for host in sorted(watch.hosts | set(entries))
        if host in entries or host != "localhost"
    }
    if canceled:
        failures = [Failure("Canceled", f"The run was canceled: {canceled}."), *failures]
    statuses: list[Status] = [result.status for result in resources.values()]
    if canceled:
        statuses.append("Canceled")
    elif output.code != 0 and not failures and overall(statuses) not in ("Failed", "Canceled"):
        failures.append(Failure("PlaybookFailed", f"ansible-playbook ended with {output.code}: {output.errors()}"))
    if failures:
        statuses.append("Failed")
    return RunResult(
        status=overall(statuses),
        run=order.run,
        operation=order.operation,
        started=started,
        ended=datetime.now(UTC),
        resources=resources,
        errors=tuple(failures),
    )


def _resource(host: str, entry: Mapping[str, Any], watch: Watch, canceled: str | None) -> ResourceResult:
    """A resource's end: the keeper's word, unless Ansible saw the host fail after it."""
    status: Status = entry.get("status") or ("Canceled" if canceled else "Succeeded")
    if entry.get("status") == "Running":  # its keeper died
        status = "Canceled" if canceled else "Failed"
    if host in watch.failed_hosts and status not in ("Failed", "Canceled"):
        status = "Failed"
    failures = reported_failures(entry)
    if not failures and status in ("Failed", "Canceled"):
        failures = watch.failures.get(host, [])
    return resource_result(entry, status, failures)
