# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run: what became of each resource, kept in a file that is whole at any moment."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import KeeperError

log = logging.getLogger(__name__)

_WRITE_SECONDS = 0.5


def now() -> str:
    """The time in ISO 8601 UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class ResourceReport:
    """One host's part. ``status`` is Running until it ends."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._values: dict[str, Any] = {}
        self._stages: list[dict[str, str | None]] = []
        self._errors: list[dict[str, str]] = []
        self._warned = False
        self.status = "Running"

    def resume(self, entry: Mapping[str, Any]) -> None:
        """Go on with what another keeper has written."""
        values = dict(entry)
        self.status = str(values.pop("status", "Running"))
        self._stages = list(values.pop("stages", ()))
        self._errors = list(values.pop("errors", ()))
        self._values = values

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The time of a stage: from now until the block is left, however that happens."""
        self.begin(name)
        try:
            yield
        finally:
            self.end(name)

    def begin(self, name: str) -> None:
        """Begin a stage, and end the one before."""
        with self._report.lock:
            self._end_open()
            self._stages.append({"name": name, "start": now(), "end": None})
        self._report.changed()

    def end(self, name: str) -> None:
        """End a stage, if it is the one that goes on."""
        with self._report.lock:
            if self._stages and self._stages[-1]["name"] == name:
                self._end_open()
        self._report.changed()

    def set(self, **values: Any) -> None:
        """Set any of resource, worker, parent, volumes, restore_point, restored_volumes, restored_instance,
        replaced_volumes, snapshots, digests, checks, retention, health_check and archive.
        """
        with self._report.lock:
            self._values.update(values)
        self._report.changed()

    def lost(self, worker: Mapping[str, Any], why: str) -> None:
        """Add a worker that was lost, with the reason and how far it was. What failed with it has not failed yet."""
        with self._report.lock:
            volumes = self._values.pop("volumes", {})
            more = {"instance_id": worker["instance_id"], "reason": why, "volumes": volumes}
            self.attempt({**worker, "instance_type": worker["type"]}, "WorkerLost", **more)
            self._errors.clear()
            self.status = "Running"
        self._report.changed()

    def attempt(self, candidate: Mapping[str, Any], code: str, **more: Any) -> None:
        """Add a launch that came to nothing, and AWS's code for it."""
        names = ("account", "region", "availability_zone", "subnet_id", "instance_type", "market")
        with self._report.lock:
            attempts = self._values.setdefault("attempts", [])
            attempts.append({**{name: candidate.get(name) for name in names}, "code": code, **more, "time": now()})
        self._report.changed()

    def error(self, error: KeeperError) -> None:
        """Add an error: the resource has failed. The same one is told once."""
        with self._report.lock:
            if error.as_dict() not in self._errors:
                self._errors.append(error.as_dict())
            self.status = "Failed"
        self._report.changed()

    def warning(self, error: KeeperError) -> None:
        """Add something that did not go well and has not harmed the resource."""
        with self._report.lock:
            self._errors.append(error.as_dict())
            self._warned = True
        self._report.changed()

    def ended(self, status: str) -> None:
        """Say how it ended, unless it has failed already."""
        with self._report.lock:
            self._end_open()
            if self.status != "Failed":
                self.status = "Warning" if self._warned and status == "Succeeded" else status
        self._report.changed()

    @property
    def failed(self) -> bool:
        """Whether an error was reported."""
        return self.status == "Failed"

    def as_dict(self) -> dict[str, Any]:
        """The form in report.json."""
        return {"status": self.status, **self._values, "stages": self._stages, "errors": self._errors}

    def _end_open(self) -> None:
        if self._stages and self._stages[-1]["end"] is None:
            self._stages[-1]["end"] = now()


class Report:
    """All of a run. Changes reach ``folder/report.json`` within about a second, the end at once.

    What cannot be written (a full disk) is logged and tried again: a report must not keep a worker from its end.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self.lock = threading.RLock()
        self._path = folder / "report.json"
        self._head: dict[str, Any] = {"run": run_id, "operation": None, "started": now(), "ended": None, "status": None}
        self._resources: dict[str, ResourceReport] = {}
        self._errors: list[dict[str, str]] = []
        self._written = 0.0
        self._late: threading.Timer | None = None

    def resume(self) -> None:
        """Go on with what another keeper of the run has written."""
        try:
            content = json.loads(self._path.read_text())
        except (OSError, ValueError):
            log.exception("the report of the keeper before this one cannot be read")
            return
        with self.lock:
            self._errors = list(content.get("errors") or ())
            self._head.update({name: content.get(name) for name in ("operation", "started")})
            for host, entry in (content.get("resources") or {}).items():
                self.resource(host).resume(entry)

    def set_operation(self, operation: str) -> None:
        """Name the operation; the first one holds."""
        with self.lock:
            self._head["operation"] = self._head["operation"] or operation

    def resource(self, host: str) -> ResourceReport:
        """A host's part, made when it is asked for first."""
        with self.lock:
            return self._resources.setdefault(host, ResourceReport(self))

    def resources(self) -> Mapping[str, ResourceReport]:
        """All parts by host."""
        with self.lock:
            return dict(self._resources)

    def error(self, error: KeeperError) -> None:
        """Add an error of the run as a whole."""
        with self.lock:
            self._errors.append(error.as_dict())

    def changed(self) -> None:
        """Write the file, a moment later if it was written a moment ago."""
        with self.lock:
            if time.monotonic() - self._written >= _WRITE_SECONDS:
                self._write()
            elif self._late is None:
                self._late = threading.Timer(_WRITE_SECONDS, self.flush)
                self._late.daemon = True
                self._late.start()

    def flush(self) -> None:
        """Write the file now."""
        with self.lock:
            self._write()

    def end(self) -> None:
        """Write the file for the last time, with the status of the whole run."""
        with self.lock:
            for resource in self._resources.values():
                resource.ended("Canceled" if resource.status == "Running" else resource.status)
            statuses = {resource.status for resource in self._resources.values()}
            worst = ("Canceled", "Failed", "Warning", "Succeeded", "Skipped")
            self._head["status"] = next((each for each in worst if each in statuses), "Skipped")
            if self._errors:
                self._head["status"] = "Failed"
            self._head["ended"] = now()
            self._write()
            if self._resources or self._errors:
                self._write_forms()

    def _write(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        unfinished = self._path.with_suffix(".new")
        self._written = time.monotonic()
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
                json.dump(self._content(), stream, indent=1, sort_keys=False)
            unfinished.replace(self._path)
        except OSError:
            log.exception("the report %s cannot be written", self._path)

    def _write_forms(self) -> None:
        from ..reports import writing  # Jinja is needed at the end alone

        try:
            writing.write(self._path.parent, self._content())
        except Exception:  # nothing must keep the keeper from its end, and report.json has it all
            log.exception("the report's other forms in %s cannot be written", self._path.parent)

    def _content(self) -> dict[str, Any]:
        resources = {host: each.as_dict() for host, each in self._resources.items()}
        return {**self._head, "errors": self._errors, "resources": resources}
