# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens while a run goes on: Ansible's events and the keeper's report, told as short lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mayfly.results import Failure, total_bytes

_REPORT_SECONDS = 1.0
# Ansible's own check of a role's options, once a role and host
_NOISE = "Validating arguments against arg spec"


@dataclass(frozen=True)
class Event:
    """One thing that happened. ``host`` is None when it concerns the whole run.

    Kinds: ``task`` (a task begins on a host), ``stage`` (a resource enters a stage), ``bytes`` (how far its transfer
    is; in ``data`` are ``read``, ``stored``, ``blocks_done``, ``blocks_total`` and ``speed``, bytes read a second),
    ``failed``, ``warning``.
    """

    kind: Literal["task", "stage", "bytes", "failed", "warning"]
    text: str
    host: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def read_report(folder: Path) -> dict[str, Any] | None:
    """The keeper's report of a run, None when there is none yet. It is replaced as a whole, never half written."""
    try:
        report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    except FileNotFoundError:
        return None
    return report


class Watch:
    """Turns Ansible's events and changes of the report into Events, and remembers what the result needs."""

    def __init__(self, folder: Path, tell: Callable[[Event], None]) -> None:
        self.failures: dict[str, list[Failure]] = {}
        self.hosts: set[str] = set()
        self.failed_hosts: set[str] = set()
        self.skipped_all = True
        self.process: int | None = None
        self.began = False
        self.no_hosts = False
        self.folder = folder
        self._tell = tell
        self._stages: dict[str, int] = {}
        self._bytes: dict[str, tuple[int, int]] = {}
        self._next = 0.0

    def ansible(self, event: Mapping[str, Any]) -> None:
        """Take one event of ansible-runner."""
        data: Mapping[str, Any] = event.get("event_data") or {}
        kind = event.get("event")
        if event.get("pid"):
            self.process = int(event["pid"])
        if kind == "playbook_on_task_start":
            self.began = True
        elif kind == "runner_on_start":
            task = str(data.get("task") or data.get("name") or "").rpartition(" : ")[2]
            if not task.startswith(_NOISE):
                self._tell(Event("task", task, str(data["host"])))
        elif kind in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            self._failure(str(data["host"]), data)
        elif kind == "playbook_on_no_hosts_matched":
            self.no_hosts = True
        elif kind == "playbook_on_stats":
            self.hosts.update(data.get("processed") or {})
            self.failed_hosts.update(data.get("failures") or {}, data.get("dark") or {})
        elif kind in ("warning", "system_warning"):
            text = str(event.get("stdout") or "").strip()
            if text:
                self._tell(Event("warning", text))

    def report(self, *, now: float | None = None) -> None:
        """Look into the keeper's report, at most once a second."""
        moment = time.monotonic() if now is None else now
        if moment < self._next:
            return
        self._next = moment + _REPORT_SECONDS
        report = read_report(self.folder)
        for host, entry in (report or {}).get("resources", {}).items():
            stages = entry.get("stages") or []
            for stage in stages[self._stages.get(host, 0) :]:
                self._tell(Event("stage", str(stage["name"]), host))
            self._stages[host] = len(stages)
            self._transferred(host, entry.get("volumes") or {})

    def _transferred(self, host: str, volumes: Mapping[str, Mapping[str, Any]]) -> None:
        done = sum(int(volume.get("blocks_done") or 0) for volume in volumes.values())
        total = sum(int(volume.get("blocks_total") or 0) for volume in volumes.values())
        if not total or self._bytes.get(host) == (done, total):
            return
        self._bytes[host] = (done, total)
        read, stored = total_bytes(volumes).values()
        seconds = sum(float(volume.get("seconds") or 0) for volume in volumes.values())
        speed = read / seconds if seconds else 0.0
        data = {"read": read, "stored": stored, "blocks_done": done, "blocks_total": total, "speed": speed}
        text = f"{done}/{total} blocks, {read / 2**20:.0f} MiB read, {stored / 2**20:.0f} MiB stored"
        text += f", {speed / 2**20:.0f} MiB/s"
        self._tell(Event("bytes", text, host, data))

    def _failure(self, host: str, data: Mapping[str, Any]) -> None:
        result: Mapping[str, Any] = data.get("res") or {}
        task = str(data.get("name") or data.get("task") or "a task")
        message = str(result.get("msg") or result.get("stderr") or result.get("exception") or "no message")
        if any(known.message.endswith(f": {message}") for known in self.failures.get(host, ())):
            return  # told once more by the rescue that mends other failures
        failure = Failure(str(result.get("error_code") or "TaskFailed"), f"{task}: {message}")
        self.hosts.add(host)
        self.failures.setdefault(host, []).append(failure)
        self._tell(Event("failed", str(failure), host, {"code": failure.code}))
