# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent can do: of each operation, how its job is read and what carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from . import access
from .archives import Archiving
from .backup import Backup
from .copies import Copies
from .health import HealthCheck
from .job import BackupJob, CheckJob, Job, RestoreJob, bad_job
from .probing import Probe
from .repository_jobs import ArchiveJob, CopyJob, HealthCheckJob, RetentionJob
from .restore import Restore
from .retention import Retention
from .status import Status

J = TypeVar("J", bound=Job)
Result = dict[str, object]


@dataclass(frozen=True)
class Operation(Generic[J]):
    """``parse`` raises ValueError, KeyError or TypeError for what is no such job, ``run`` AgentError."""

    parse: Callable[[Mapping[str, Any]], J]
    run: Callable[[J, Status], Result]


def carry_out(value: Mapping[str, Any], status: Status, arrived: float) -> Result:
    """Do what a job says that arrived at that time of the status's clock; raises AgentError, BadJob for what is none.

    Nothing is asked of AWS before all of the job has been understood.
    """
    operation = OPERATIONS.get(str(value.get("operation")))
    if operation is None:
        raise bad_job(ValueError(f"its operation is {value.get('operation')!r}, not {' or '.join(OPERATIONS)}"))
    try:
        job = operation.parse(value)
        job.name  # noqa: B018 - raises ValueError for what cannot be a resource
    except (ValueError, KeyError, TypeError) as error:
        raise bad_job(error) from error
    status.progress.retry_timeout = job.retry_timeout
    status.progress.deadline = arrived + job.seconds_left
    return operation.run(job, status)


def _back_up(job: BackupJob, status: Status) -> Result:
    snapshots = access.open_snapshots(job.source_region, job.concurrency, status.progress)
    return Backup(job, snapshots, access.open_store(job, status.progress), status).run()


def _restore(job: RestoreJob, status: Status) -> Result:
    snapshots = access.open_snapshots(job.target.region, job.concurrency, status.progress)
    return Restore(job, snapshots, access.open_store(job, status.progress), status).run()


def _check(job: CheckJob, status: Status) -> Result:
    status.stage("Probing")
    return {"checks": [asdict(each) for each in Probe(job, access.rights(job, status.progress)).run()]}


def _retain(job: RetentionJob, status: Status) -> Result:
    return Retention(job, access.open_store(job, status.progress), status).run()


def _check_health(job: HealthCheckJob, status: Status) -> Result:
    return HealthCheck(job, access.open_store(job, status.progress), status).run()


def _copy(job: CopyJob, status: Status) -> Result:
    source, target = access.open_store(job, status.progress), access.open_target(job, status.progress)
    return Copies(job, source, target, status).run()


def _archive(job: ArchiveJob, status: Status) -> Result:
    return _archiving(job, status, back=False)


def _bring_back(job: ArchiveJob, status: Status) -> Result:
    return _archiving(job, status, back=True)


def _archiving(job: ArchiveJob, status: Status, *, back: bool) -> Result:
    store, sets = access.open_store(job, status.progress), access.open_sets(job, status.progress)
    return Archiving(job, store, sets, status, back=back).run()


OPERATIONS: dict[str, Operation[Any]] = {
    "backup": Operation(BackupJob.parse, _back_up),
    "restore": Operation(RestoreJob.parse, _restore),
    "check": Operation(CheckJob.parse, _check),
    "retention": Operation(RetentionJob.parse, _retain),
    "health_check": Operation(HealthCheckJob.parse, _check_health),
    "repository_copy": Operation(CopyJob.parse, _copy),
    "archive": Operation(ArchiveJob.parse, _archive),
    "archive_return": Operation(ArchiveJob.parse, _bring_back),
}
