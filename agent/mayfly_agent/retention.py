# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention of a repository: restore points that are to go are removed, what nobody needs any more is deleted, and
packs that are mostly dead are written anew, one resource after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import asdict
from typing import Any, TypeVar

from .compaction import Compaction
from .errors import OF_ALL, AgentError
from .objects import ObjectStore
from .pipeline import ordered, pools
from .repository_jobs import Chosen, RetentionJob
from .status import Status
from .sweep import Sweep, Swept
from .volumes import UPLOADS_AT_ONCE

# What is counted, under the one name that the status shows.
UNIT = "repository"
_COUNTERS = ("resources_total", "resources_done", "points_deleted", "objects_deleted", "bytes_deleted")
# What is said of single resources; the sums are of all.
_RESOURCES_TOLD = 1000

Item = TypeVar("Item")
Result = TypeVar("Result")


class Retention:
    """One run of it."""

    def __init__(self, job: RetentionJob, store: ObjectStore, status: Status) -> None:
        self._job = job
        self._store = store
        self._status = status

    def run(self) -> dict[str, object]:
        """Do it; {retention: {resources: {path: what was done, error}, failed, and the sums of what was done}}.

        What fails of one resource leaves the others alone. Raises AgentError for what is about all of them.
        """
        status, job = self._status, self._job
        status.begin("Sweeping", UNIT, _COUNTERS)
        status.count(UNIT, resources_total=len(job.resources))
        told: dict[str, Any] = {}
        sums = {name: 0 for name, value in asdict(Swept()).items() if isinstance(value, int)}
        sums |= {"points_deleted": 0, "failed": 0}
        with pools(status.progress, read=job.concurrency, write=UPLOADS_AT_ONCE) as (readers, writers):
            for chosen in job.resources:
                done, error = self._one(chosen, readers, writers)
                found = {**asdict(done), "locked_until": done.locked_until and done.locked_until.isoformat()}
                for name in sums:
                    value = found.get(name, 0)
                    sums[name] += len(value) if isinstance(value, list) else value
                sums["failed"] += int(error is not None)
                if (error or any(found.values())) and len(told) < _RESOURCES_TOLD:
                    told[chosen.resource.path] = {**found, "error": error and error.as_dict()}
                status.count(
                    UNIT,
                    resources_done=1,
                    points_deleted=len(done.points_deleted),
                    objects_deleted=done.objects_deleted,
                    bytes_deleted=done.bytes_deleted,
                )
        return {"retention": {"resources": told, **sums}}

    def _one(self, chosen: Chosen, readers: Executor, writers: Executor) -> tuple[Swept, AgentError | None]:
        """What was done of one resource, and what failed then."""

        def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
            return ordered(readers, function, items, self._job.concurrency)

        self._status.stage(f"Sweeping {chosen.resource.path}")
        share = self._job.live_share / 100
        sweep = Sweep(self._store, chosen, self._job.run, self._status.progress, each=ahead, live_share=share)
        try:
            sparse = sweep.run()
            if sparse.packs:
                self._status.stage(f"Compacting {chosen.resource.path}")
                compaction = Compaction(self._store, chosen, sparse, readers, writers)
                compaction.run()
                sweep.swept.packs_rewritten = len(compaction.packs)
                sweep.swept.points_damaged = compaction.damaged
        except AgentError as error:
            if error.code in OF_ALL:
                raise
            return sweep.swept, error
        return sweep.swept, None
