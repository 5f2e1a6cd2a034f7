# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of restore points to a second repository, one resource after the other, see copying."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .attempts import EVERY_SECONDS, Window
from .copying import UNIT, Done, ResourceCopy
from .errors import OF_ALL, AgentError
from .objects import ObjectStore
from .pipeline import pools
from .repository import repository
from .repository_jobs import CopyJob
from .status import Status
from .volumes import UPLOADS_AT_ONCE
from .writing import Means

_COUNTERS = (
    "resources_total",
    "resources_done",
    "points_total",
    "points_done",
    "blocks_done",
    "bytes_read",
    "bytes_stored",
)
# What is said of single resources; the sums are of all.
_RESOURCES_TOLD = 1000
_SUMS = ("blocks_copied", "blocks_reused", "bytes_stored")


class Copies:
    """One run of it."""

    def __init__(
        self,
        job: CopyJob,
        source: ObjectStore,
        target: ObjectStore,
        status: Status,
        notes_every: float = EVERY_SECONDS,
    ) -> None:
        """``notes_every``: seconds after which is noted down what was done."""
        self._notes_every = notes_every
        self._job = job
        self._source, self._target = source, target
        self._status = status

    def run(self) -> dict[str, object]:
        """Do it; {copied: {resources: {path: {points, failed, …, error}}, points_copied, failed, and the sums}}.

        What fails of one resource leaves the others alone. Raises AgentError for what is about all of them.
        """
        job, status = self._job, self._status
        status.begin("Copying", UNIT, _COUNTERS)
        total = sum(len(each.points) for each in job.resources)
        status.count(UNIT, resources_total=len(job.resources), points_total=total)
        origin = repository.open_info(self._source).id
        if repository.open_info(self._target).id == origin:
            raise AgentError("SameRepository", "The repository to copy to is the one to copy from.")
        means = Means(Window.of(self._target, status.progress), status.progress.clock, job.lock, self._notes_every)
        told: dict[str, Any] = {}
        sums = dict.fromkeys(("points_copied", "failed", *_SUMS), 0)
        with pools(status.progress, read=job.concurrency, write=UPLOADS_AT_ONCE) as (readers, writers):
            for chosen in job.resources:
                copy = ResourceCopy(chosen, self._source, self._target, means, status, readers=readers, writers=writers)
                error: AgentError | None = None
                try:
                    copy.run(origin)
                except AgentError as raised:
                    if raised.code in OF_ALL:
                        raise
                    error = raised
                _add(sums, copy.done, error)
                if len(told) < _RESOURCES_TOLD:
                    told[chosen.resource.path] = {**asdict(copy.done), "error": error and error.as_dict()}
                status.count(UNIT, resources_done=1)
        return {"copied": {"resources": told, **sums}}


def _add(sums: dict[str, int], done: Done, error: AgentError | None) -> None:
    sums["points_copied"] += len(done.points)
    sums["failed"] += len(done.failed) + int(error is not None)
    for name in _SUMS:
        sums[name] += getattr(done, name)
