# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry one operation out with ansible-runner, and tell what became of every resource."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from ansible_runner import interface

from mayfly import project
from mayfly.progress import Event, Watch, read_report
from mayfly.results import Failure, ResourceResult, RunResult, Status, overall, reported_failures, resource_result

# ansible-playbook ends its own tasks on SIGINT; one that has not after this time is killed, with its process group.
GRACE_SECONDS = 15.0
# Terminating a worker takes AWS a minute or two; the keeper bounds its own work below this.
KEEPER_SECONDS = 300.0
_POLL_SECONDS = 0.3


def run(
    operation: str,
    *,
    inventory: project.Inventory,
    limit: str | None = None,
    extra_vars: Mapping[str, Any] | None = None,
    on_event: Callable[[Event], None] | None = None,
    timeout: float | None = None,
    check: bool = False,
) -> RunResult:
    """Run ``operation`` (a playbook's name) over the hosts of ``inventory`` and wait for its end.

    ``limit`` is Ansible's host pattern, ``extra_vars`` are settings for this run, ``timeout`` is in seconds: after it
    the run is canceled, as by SIGINT and SIGTERM. ``on_event`` is called in this thread, as things happen; what it
    raises cancels the run and is raised again when everything of it is gone. ``check`` shows what would be done.
    Raises BadInput, with nothing launched, when the operation is unknown, the inventory cannot be read, or no host of
    it matches.
    """
    playbook = project.playbook(operation)
    sources = project.inventory_sources(inventory)
    started = datetime.now(UTC)
    name = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    folder = project.runs_folder() / name
    errors: list[BaseException] = []

    def tell(event: Event) -> None:
        if on_event is None or errors:
            return
        try:
            on_event(event)
        except Exception as error:  # a caller's error must not leave workers behind: raised again below
            errors.append(error)

    watch = Watch(folder, tell)
    stop = _Stop(watch, errors, timeout)
    with _private_folder() as private, stop.signals():
        # A file, not an argument: arguments can be read by every user of the machine.
        variables = private / "extra-vars.json"
        variables.write_text(json.dumps(dict(extra_vars or {})))
        words = ["-e", f"@{variables}", *(["--check"] if check else []), *(["--limit", limit] if limit else [])]
        output = _play(playbook, sources=sources, words=words, name=name, private=private, watch=watch, stop=stop)
    ended = _await_keeper(folder, watch)
    if errors:
        raise errors[0]
    if not watch.began and not stop.reason:
        raise project.BadInput(_why_nothing_began(watch, output, limit))
    return _result(
        operation,
        name,
        folder,
        started=started,
        watch=watch,
        canceled=stop.reason,
        output=output,
        keeper_ended=ended,
    )


def _play(
    playbook: str,
    *,
    sources: list[str],
    words: list[str],
    name: str,
    private: Path,
    watch: Watch,
    stop: _Stop,
) -> _Output:
    def canceled() -> bool:
        watch.report()
        return stop.now()

    def handle(event: dict[str, Any]) -> bool:
        watch.ansible(event)
        return False  # nothing of it is kept

    # As a file: ansible-runner forgets settings that are given to it when there is none.
    (private / "env").mkdir()
    (private / "env/settings").write_text(json.dumps({"pexpect_timeout": _POLL_SECONDS}))
    runner = interface.run(
        private_data_dir=str(private),
        project_dir=str(Path.cwd()),
        playbook=playbook,
        inventory=sources,
        cmdline=shlex.join(words),
        envvars=_environment(name),
        suppress_env_files=True,
        event_handler=handle,
        cancel_callback=canceled,
        quiet=True,
    )
    text = runner.stdout.read() if runner.stdout else ""
    return _Output(runner.rc if runner.rc is not None else -1, text)


class _Output:
    """How ansible-playbook ended, and what it printed."""

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    def errors(self) -> str:
        """The lines that say what is wrong, or the last ones."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        starts = [index for index, line in enumerate(lines) if line.startswith(("ERROR!", "[ERROR]"))]
        return "\n".join(lines[starts[0] :][:12] if starts else lines[-6:])


class _Stop:
    """Decides when a run has to end early, gently first."""

    def __init__(self, watch: Watch, errors: list[BaseException], timeout: float | None) -> None:
        self.reason: str | None = None
        self._watch = watch
        self._errors = errors
        self._timeout = timeout
        self._ends = None if timeout is None else time.monotonic() + timeout
        self._hard_at: float | None = None

    def now(self) -> bool:
        """Whether ansible-playbook has to be killed now. Interrupts it first, and gives it its grace."""
        if self.reason is None and self._errors:
            self.reason = f"on_event raised {self._errors[0]!r}"
        if self.reason is None and self._ends is not None and time.monotonic() > self._ends:
            self.reason = f"the time-out of {self._timeout:.0f} s has passed"
        if self.reason is None:
            return False
        if self._hard_at is None:
            self._hard_at = time.monotonic() + GRACE_SECONDS
            if self._watch.process is None:
                return True  # it has not begun: nothing to be gentle with
            try:
                os.kill(self._watch.process, signal.SIGINT)
            except ProcessLookupError:
                return False  # it has just ended by itself
        return time.monotonic() > self._hard_at

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as a wish to cancel; the caller's handlers are back afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def wish(number: int, _frame: FrameType | None) -> None:
            self.reason = self.reason or f"canceled by {signal.Signals(number).name}"

        before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder in memory that only this user can read: it holds settings and output until the run's end."""
    candidates = ["/dev/shm", os.environ.get("XDG_RUNTIME_DIR", "")]  # noqa: S108  a 0700 folder is made in it
    memory = next((place for place in candidates if place and os.access(place, os.W_OK)), None)
    folder = Path(tempfile.mkdtemp(prefix="mayfly-run-", dir=memory))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _environment(name: str) -> dict[str, str]:
    return {
        "ANSIBLE_CONFIG": str(project.root() / "ansible.cfg"),
        # ansible-runner turns it off unless told
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_FORCE_COLOR": "False",
        "ANSIBLE_NOCOLOR": "True",
        "MAYFLY_RUN_ID": name,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def _await_keeper(folder: Path, watch: Watch) -> bool:
    """Wait until the keeper has said its last word; False when it did not in time, True when there never was one."""
    limit = time.monotonic() + KEEPER_SECONDS
    while folder.exists():
        watch.report()
        if (read_report(folder) or {}).get("ended"):
            return True
        if time.monotonic() > limit:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _why_nothing_began(watch: Watch, output: _Output, limit: str | None) -> str:
    if watch.no_hosts or (output.code == 0 and not watch.hosts):
        of = f" for the limit {limit!r}" if limit else ""
        return f"The inventory has no resource for this operation{of}.\n{output.errors()}".strip()
    return f"Nothing was started: {output.errors()}"


def _result(
    operation: str,
    name: str,
    folder: Path,
    *,
    started: datetime,
    watch: Watch,
    canceled: str | None,
    output: _Output,
    keeper_ended: bool,
) -> RunResult:
    report = read_report(folder) or {}
    entries: Mapping[str, Mapping[str, Any]] = report.get("resources") or {}
    resources = {
        host: _resource(host, entries.get(host) or {}, watch, canceled)
        for host in sorted(watch.hosts | set(entries))
        if host in entries or host != "localhost"
    }
    failures = []
    if canceled:
        failures.append(Failure("Canceled", f"The run was canceled: {canceled}."))
    if not keeper_ended:
        failures.append(
            Failure(
                "KeeperUnfinished",
                f"The keeper of run {name} had not finished {KEEPER_SECONDS:.0f} s after the playbook's end.",
                f"See {folder}/keeper.log; what it left ends with its lease.",
            )
        )
    statuses: list[Status] = [result.status for result in resources.values()]
    if canceled:
        statuses.append("Canceled")
    elif output.code != 0 and overall(statuses) not in ("Failed", "Canceled"):
        failures.append(Failure("PlaybookFailed", f"ansible-playbook ended with {output.code}: {output.errors()}"))
    if failures:
        statuses.append("Failed")
    return RunResult(
        status=overall(statuses),
        run=name,
        operation=operation,
        started=started,
        ended=datetime.now(UTC),
        resources=resources,
        errors=tuple(failures),
    )


def _resource(host: str, entry: Mapping[str, Any], watch: Watch, canceled: str | None) -> ResourceResult:
    """A resource's end: the keeper's word, unless Ansible saw the host fail after it."""
    status: Status = entry.get("status") or ("Canceled" if canceled else "Succeeded")
    if host in watch.failed_hosts and status not in ("Failed", "Canceled"):
        status = "Failed"
    failures = reported_failures(entry)
    if not failures and status in ("Failed", "Canceled"):
        failures = watch.failures.get(host, [])
    return resource_result(entry, status, failures)
