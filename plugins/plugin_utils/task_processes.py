# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of tasks that died or were stopped: told to the play as failed tasks.

Ansible forks a process for each task of each host. When one is killed (out of memory), the strategy ``host_pinned``
waits for its result for ever; here, in the playbook's own process, a result is put in its place, so that the host
fails, its ``always`` block runs and its worker ends. Neither Ansible's processes nor their queue are documented:
tests kill and stop processes on every version of ansible-core that is supported.
"""

from __future__ import annotations

import importlib
import multiprocessing.process
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.executor.process.worker import WorkerProcess

_LOOK_SECONDS = 0.5
# A result may still be on its way when its process has ended.
_SETTLE_SECONDS = 5.0
# A process that has a debugger or an operator on it may be stopped for a moment.
_STOPPED_SECONDS = 20.0
# Between the word that a task begins and the fork there is no process yet.
_FORK_SECONDS = 30.0
_QUEUE_SECONDS = 10.0
_ABORTED = 250


@dataclass
class _Task:
    """A task under way on a host, by Ansible's ids; times are of the monotonic clock."""

    host: Any
    task: Any
    since: float
    process: Any = None
    popen: Any = None
    pid: int | None = None
    stopped: float | None = None
    gone: float | None = None


class TaskProcesses:
    """Watches the processes of tasks from a thread of the playbook's own process, from ``start`` to ``stop``."""

    def __init__(self, warn: Callable[[str], None], beside: Callable[[], None] = lambda: None) -> None:
        """``warn`` shows a line to the user; ``beside`` is called at every look, in the same thread."""
        self._warn = warn
        self._beside = beside
        self._tasks: dict[tuple[str, str], _Task] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="task-processes", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def begun(self, host: Any, task: Any) -> None:
        """A task begins on a host."""
        with self._lock:
            self._tasks[str(host.get_name()), str(task._uuid)] = _Task(host, task, time.monotonic())

    def ended(self, host: Any, task: Any) -> None:
        """Its result has come."""
        with self._lock:
            self._tasks.pop((str(host.get_name()), str(task._uuid)), None)

    def _loop(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            try:
                for each, reason in self.look(time.monotonic()):
                    self._tell(each, reason)
                self._beside()
            except Exception as error:  # without this watch, a run could hang for ever
                self._warn(f"The processes of tasks cannot be watched ({error!r}). The run's keeper ends its workers.")
                os._exit(_ABORTED)

    def look(self, now: float) -> list[tuple[_Task, str]]:
        """The tasks that will have no result, each once, and why."""
        _match(self._tasks, self._lock, _children())
        lost = []
        with self._lock:
            for key, each in list(self._tasks.items()):
                reason = _fate(each, now)
                if reason:
                    del self._tasks[key]
                    lost.append((each, reason))
        return lost

    def _tell(self, lost: _Task, reason: str) -> None:
        message = f"The process of this task {reason}, so the host has failed."
        queue = lost.process._final_q if lost.process is not None else None
        if queue is None or not _free(queue._wlock):
            # Whoever was killed while it wrote its result has left the queue of all results unusable.
            self._warn(f"{lost.host.get_name()}: {message} The run cannot go on; its keeper ends its workers.")
            os._exit(_ABORTED)
        with suppress(AttributeError):
            lost.process._popen.returncode = 0  # told: at its end, a strategy gives up when it finds a dead process
        _send_failure(queue, lost, {"failed": True, "msg": message, "error_code": "TaskProcessDied"})


def _children() -> list[Any]:
    """The processes of tasks that have not been waited for."""
    with suppress(RuntimeError):  # changed by the playbook's own thread meanwhile; the next look sees them
        children = list(vars(multiprocessing.process)["_children"])
        return [each for each in children if isinstance(each, WorkerProcess)]
    return []


def _match(tasks: dict[tuple[str, str], _Task], lock: threading.Lock, processes: Iterable[Any]) -> None:
    with lock:
        for each in processes:
            known = tasks.get((str(each._host.get_name()), str(each._task._uuid)))
            if known is not None and known.process is None and each.pid is not None:
                # What has waited for it keeps its exit code, also when Ansible has closed the process meanwhile.
                known.process, known.popen, known.pid = each, each._popen, each.pid


def _fate(each: _Task, now: float) -> str | None:
    """Why a task will have no result, None while it may."""
    if each.pid is None:
        return "was never seen" if now - each.since > _FORK_SECONDS else None
    state = _state(each.pid)
    if state == "T":
        each.stopped = each.stopped or now
        if now - each.stopped > _STOPPED_SECONDS:
            with suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)  # it leads a group of its own: what it started goes with it
    else:
        each.stopped = each.stopped if state in ("", "Z") else None
    ended = state in ("", "Z") and _exit_code(each) != 0  # with 0, its result is on its way, however long that takes
    each.gone = (each.gone or now) if ended else None
    if each.gone is None or now - each.gone < _SETTLE_SECONDS:
        return None
    return "was stopped for too long and has been killed" if each.stopped else "died (out of memory?)"


def _state(pid: int) -> str:
    """The state letter of a process (proc(5)), empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _exit_code(each: _Task) -> int | None:
    """How a process has ended, without taking that from the playbook's own thread; None when it cannot be told."""
    assert each.pid is not None
    with suppress(ChildProcessError):
        found = os.waitid(os.P_PID, each.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
    code: int | None = each.popen.returncode
    return code


def _free(lock: Any) -> bool:
    """Whether nobody holds the lock for long."""
    if not lock.acquire(True, _QUEUE_SECONDS):
        return False
    lock.release()
    return True


def _send_failure(queue: Any, lost: _Task, data: dict[str, Any]) -> None:
    """Put a result in the place of a task's own, as this version of ansible-core writes it."""
    raw = getattr(importlib.import_module("ansible.executor.task_result"), "_RawTaskResult", None)
    if raw is not None:  # 2.19 and 2.20
        queue.send_task_result(raw(lost.host, lost.task, data, lost.task.dump_attrs()))
        return
    internal = importlib.import_module("ansible._internal._task")
    with internal.TaskContext.create(lost.task, {}, lost.host.get_name()) as context:
        result = internal.UnifiedTaskResult.from_action_result_dict(data)
        context._record_result(result)
        result.finalize_registered_values()
    queue.send_task_result(lost.host, lost.task, result)
