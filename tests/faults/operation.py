# SPDX-License-Identifier: GPL-3.0-or-later
"""An operation under way in a lab, and all that can be done to its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tests.labs import ROOT

from . import processes
from .cases import GIVEN_UP
from .layers import CLEANS_UP
from .site import Site, SiteError

_BEGIN_SECONDS = 60.0
_FIND_SECONDS = 20.0
# Sooner, a second interrupt is taken for the first one (mayfly/stopping.py).
_BETWEEN_SECONDS = 1.2
_GIVES_UP_SECONDS = 3.0


class Operation:
    """A playbook; or a program that runs it, through ``mayfly.start`` (``runner`` is "start") or as the command line
    does (``runner`` is "command"). Its output goes to a file.
    """

    def __init__(
        self,
        site: Site,
        run: str,
        *,
        runner: str = "",
        name: str = "ec2_backup",
        inventory: str = "ec2.yml",
        **settings: Any,
    ) -> None:
        self.run = run
        self.name = name
        self.began = time.monotonic()
        self.folder = ""
        #: After two interrupts: whether nobody waited any more while the keeper went on to clean up.
        self.gave_up: bool | None = None
        self._site = site
        self._settings = site.settings(**settings)
        self.output = site.lab.state / f"{run}.log"
        hosts = str(site.inventory / inventory)
        variables = site.lab.variables()
        before = processes.runs_of(str(site.lab.state))
        if runner == "start":
            words = ["python", "-m", "tests.faults.runner_child", name, hosts, str(self._settings)]
        elif runner == "command":
            words = ["python", "runner.py", name, "-i", hosts, "-e", f"@{self._settings}", "--quiet"]
        else:
            words = ["ansible-playbook", "-i", hosts, f"playbooks/{name}.yml", "-e", f"@{self._settings}"]
            variables["MAYFLY_RUN_ID"] = run
        with self.output.open("w") as output:
            self._process = subprocess.Popen(
                site.lab.words("exec", "--", *words), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                text=True, cwd=ROOT, env=variables, start_new_session=True,
            )  # fmt: skip
        if runner == "start":
            self.run = self._first_line()
        elif runner == "command":
            self.run = self._new_run(before)

    def kill(self, action: str) -> None:
        """Do it. Raises SiteError when there is no such process, although the operation is under way."""
        self._note_folder()
        what, _, whom = action.partition(" to ")
        if action in ("SIGKILL to every process", "SIGKILL to all but the runner"):
            processes.kill_all(self.run)
        elif action in GIVEN_UP:
            self._interrupt_twice(whom)
        elif whom in ("ansible-playbook", "its process group", "the keeper", "a task's process"):
            find: Callable[[str], processes.Process | None] = {
                "the keeper": processes.keeper,
                "a task's process": processes.task,
            }.get(whom, processes.playbook)
            process = self._found(find, whom)
            if process is None:
                return
            if whom == "its process group":
                with suppress(ProcessLookupError):
                    os.killpg(os.getpgid(process.pid), signal.SIGKILL)
            else:
                processes.send(process.pid, signal.Signals[what])
        elif action == "SIGKILL to the runner":
            for child in _children(self._process.pid):
                processes.send(child, signal.SIGKILL)
        else:
            stream: IO[str] | None = self._process.stdin
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.write({"runner cancel": "cancel\n", "runner time-out": "time-out\n"}[action])
                stream.flush()

    def _interrupt_twice(self, whom: str) -> None:
        """The second time when the keeper cleans up; whoever waits for it must end then, and the keeper must not."""
        if whom == "ansible-playbook":
            process = self._found(processes.playbook, whom)
            pids = [] if process is None else [process.pid]
        else:
            pids = _children(self._process.pid)
        for pid in pids:
            processes.send(pid, signal.SIGINT)
        ends = time.monotonic() + _FIND_SECONDS
        while CLEANS_UP not in self._site.log(self.run) and time.monotonic() < ends:
            time.sleep(0.05)
        time.sleep(_BETWEEN_SECONDS)
        for pid in pids:
            processes.send(pid, signal.SIGINT)
        ends = time.monotonic() + _GIVES_UP_SECONDS
        while not self.ended() and time.monotonic() < ends:
            time.sleep(0.02)
        self.gave_up = self.ended() and processes.keeper(self.run) is not None

    def ended(self) -> bool:
        """Whether what was started here has ended; its keeper may live on."""
        return self._process.poll() is not None

    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def alive(self) -> bool:
        """Whether any process of it is left."""
        return not self.ended() or bool(processes.of_run(self.run))

    def wait(self, seconds: float) -> bool:
        """Until nothing of it runs any more; False when it still does after that time."""
        ends = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > ends:
                return False
            time.sleep(0.3)
        return True

    def abandon(self) -> None:
        """End all of it by force, and forget its files."""
        with suppress(TimeoutError):
            processes.kill_all(self.run)
        for child in _children(self._process.pid):
            processes.send(child, signal.SIGKILL)
        processes.send(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._settings.unlink(missing_ok=True)

    def close(self) -> None:
        """Forget what it was started with."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._settings.unlink(missing_ok=True)

    def said(self) -> str:
        """The end of its output."""
        return self.output.read_text(errors="replace")[-3000:]

    def _found(self, find: Callable[[str], processes.Process | None], whom: str) -> processes.Process | None:
        """The process, which may be just about to be started; None when the operation has ended meanwhile."""
        ends = time.monotonic() + _FIND_SECONDS
        while not self.ended():
            process = find(self.run)
            if process is not None:
                return process
            if time.monotonic() > ends:
                raise SiteError(f"{whom} of {self.run} was not found")
            time.sleep(0.01)
        return None

    def _note_folder(self) -> None:
        top = processes.playbook(self.run)
        self.folder = top.folder if top is not None else ""

    def _new_run(self, before: set[str]) -> str:
        ends = time.monotonic() + _BEGIN_SECONDS
        while time.monotonic() < ends and not self.ended():
            for run in processes.runs_of(str(self._site.lab.state)) - before:
                return run
            time.sleep(0.05)
        raise SiteError(f"the command did not begin: {self.said()}")

    def _first_line(self) -> str:
        ends = time.monotonic() + _BEGIN_SECONDS
        while time.monotonic() < ends and not self.ended():
            text = self.output.read_text()
            if "\n" in text:
                return text.splitlines()[0]
            time.sleep(0.05)
        raise SiteError(f"the runner did not begin: {self.said()}")


def reap(site: Site, run: str = "", seconds: float = 120.0, **settings: Any) -> list[dict[str, Any]]:
    """What the playbook reap removes: of one run that is known to have ended, or by tags and age alone."""
    name = f"r-{time.monotonic_ns():x}"
    given = {"mayfly_reap_run": run} if run else {}
    operation = Operation(site, name, name="reap", **given, **settings)
    if not operation.wait(seconds):
        operation.abandon()
        raise SiteError(f"the reap has not ended after {seconds:.0f} s: {operation.said()}")
    operation.close()
    report = json.loads((site.lab.runs / name / "report.json").read_text())
    if operation.code() != 0:
        raise SiteError(f"the reap has failed: {json.dumps(report)[-1500:]}")
    return [each for entry in report["resources"].values() for each in entry.get("reaped") or ()]


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
