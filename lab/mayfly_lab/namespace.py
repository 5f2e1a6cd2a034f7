# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's home: network, mount and process namespaces that end, with all that is in them, with their process 1."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from mayfly_lab.paths import Paths

_NAMESPACES = ("net", "mnt", "pid")
_MAKING_SECONDS = 10.0
_DOWN = "the lab of {} is down: `lab up` starts it"


class LabDown(RuntimeError):
    """There is no lab to enter."""


def create(where: Paths) -> None:
    """Start process 1 of a new lab, detached from the caller; it writes to log/supervisor.log.

    The process that will hold the namespaces is written down before it makes them, so that whatever becomes of the
    caller the lab can be ended. Raises LabDown.
    """
    # Waits to be written down, and ends when its caller does not live to do so.
    command = [
        "sh",
        "-c",
        'read -r go && exec "$@" </dev/null',
        "lab",
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        "-m",
        "mayfly_lab.init",
    ]
    environment = {**os.environ, "MAYFLY_LAB_STATE": str(where.state), "MAYFLY_LAB_CACHE": str(where.cache)}
    with (where.logs / "supervisor.log").open("ab") as output:
        holder = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=environment,
            cwd="/",
        )
    try:
        _write_down(where, holder.pid)
        assert holder.stdin is not None
        with holder.stdin as gate:
            gate.write(b"go\n")
        limit = time.monotonic() + _MAKING_SECONDS
        while time.monotonic() < limit and holder.poll() is None:
            children = _children(holder.pid)
            if children:
                _write_down(where, holder.pid, children[0])
                return
            time.sleep(0.01)
        raise LabDown(f"no namespaces could be made: {(where.logs / 'supervisor.log').read_text()[-2000:]}")
    except BaseException:
        try:
            destroy(where)
        finally:
            holder.kill()  # if it could not even be written down
        raise


def first_process(where: Paths) -> int:
    """The process id (as this machine sees it) of the lab's process 1; raises LabDown."""
    alive = _processes(where)[1:]
    if not alive:
        raise LabDown(_DOWN.format(where.state))
    return alive[0]


def destroy(where: Paths) -> None:
    """End every process of the lab; raises TimeoutError when some still live after 20 s."""
    found = _processes(where)
    # Process 1 may not be written down yet: the holder stands still while it is looked for.
    for pid in found:
        _signal(pid, signal.SIGSTOP)
    for pid in dict.fromkeys(child for each in found[:1] for child in _children(each)):
        _signal(pid, signal.SIGKILL)
    for pid in reversed(found):
        _signal(pid, signal.SIGKILL)
    limit = time.monotonic() + 20
    while _processes(where):
        if time.monotonic() > limit:
            raise TimeoutError(f"processes {_processes(where)} of the lab do not end")
        time.sleep(0.02)


def execute(where: Paths, command: list[str], environment: dict[str, str]) -> int:
    """Run a command in the lab, in the current folder; its exit code (128 + n for signal n). Signals are passed on."""
    first = first_process(where)
    try:
        handles = [os.open(f"/proc/{first}/ns/{name}", os.O_RDONLY) for name in _NAMESPACES]
    except (FileNotFoundError, ProcessLookupError):
        # It was on its way out when it was looked for.
        raise LabDown(_DOWN.format(where.state)) from None
    folder = Path.cwd()
    libc = ctypes.CDLL(None, use_errno=True)
    for handle in handles:
        if libc.setns(handle, 0):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(handle)
    child = os.fork()
    if child == 0:
        try:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        except OSError as error:
            print(f"lab exec: {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        # A terminal sends SIGINT to the whole group itself; a second one would look like a second Ctrl-C.
        forward = number != signal.SIGINT or os.getpgrp() != os.getpgid(child)
        signal.signal(number, (lambda n, _: os.kill(child, n)) if forward else signal.SIG_IGN)
    while True:
        try:
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        except InterruptedError:
            continue


def _write_down(where: Paths, *pids: int) -> None:
    """Keep [holder, process 1], as a whole."""
    unfinished = where.home.with_suffix(".new")
    unfinished.write_text(json.dumps([{"pid": pid, "started": _started(pid)} for pid in pids]))
    unfinished.replace(where.home)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    """The children of a process, none when it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _started(pid: int) -> str:
    """The start time of a process, so that a number used again is not taken for it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _processes(where: Paths) -> list[int]:
    """Which of [holder, process 1] live (order kept; a zombie does not)."""
    try:
        recorded = json.loads(where.home.read_text())
    except FileNotFoundError:
        return []
    found = []
    for entry in recorded:
        try:
            fields = Path(f"/proc/{entry['pid']}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[19] == entry["started"] and fields[0] != "Z":
            found.append(entry["pid"])
    return found
