# SPDX-License-Identifier: GPL-3.0-or-later
"""The services that operations use, each with the credentials that the controller has sent for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .archives import Sets
from .credentials import FileCredentials
from .ebs import DirectSnapshots
from .job import CheckJob, Job, RepositoryPlace
from .probing import Rights
from .progress import Progress
from .quick import QuickClient
from .repository_jobs import ArchiveJob, CopyJob
from .s3 import S3Objects
from .signed import SignedRequests

_CREDENTIALS = Path("/run/mayfly/credentials")
_TRUSTED = Path("/run/mayfly/transfer")


def open_store(job: Job, progress: Progress) -> S3Objects:
    """The job's repository; raises AgentError NoCredentials."""
    return _store(job.repository, "repository", progress)


def open_target(job: CopyJob, progress: Progress) -> S3Objects:
    """The repository that a job copies to; raises as open_store."""
    return _store(job.target, "target", progress)


def open_sets(job: ArchiveJob, progress: Progress) -> Sets:
    """What opens the archived sets of the job's repository, which is in AWS's S3; raises AgentError NoCredentials."""
    place = job.repository
    client = _client(place, "repository", progress)

    def open_set(folder: str) -> S3Objects:
        prefix = "/".join(part for part in (place.prefix.strip("/"), folder) if part)
        return S3Objects(client, place.bucket, prefix, place.owner, progress, packs_class=job.storage_class)

    return open_set


def _store(place: RepositoryPlace, name: str, progress: Progress) -> S3Objects:
    """What is at a place, with the credentials of that name."""
    if place.endpoint is None:
        return S3Objects(_client(place, name, progress), place.bucket, place.prefix, place.owner, progress)
    from .clients import client_at

    endpoint, credentials = place.endpoint, FileCredentials(_CREDENTIALS / f"{name}.json")
    trusted = _TRUSTED / f"{name}.pem" if endpoint.authorities else None  # botocore takes a file alone
    if trusted:
        trusted.write_text(endpoint.authorities)
    elsewhere = client_at(endpoint, credentials, place.region, progress.check_deadline, trusted)
    return S3Objects(elsewhere, place.bucket, place.prefix, None, progress, endpoint_url=endpoint.url)


def _client(place: RepositoryPlace, name: str, progress: Progress) -> QuickClient:
    """A client of AWS's S3, with the credentials of that name."""
    credentials, before = FileCredentials(_CREDENTIALS / f"{name}.json"), progress.check_deadline

    def others() -> Any:
        from .clients import client_of

        return client_of(credentials, place.region, before)

    return QuickClient(credentials, place.region, place.bucket, others, clock=progress.clock, before=before)


def open_snapshots(region: str, concurrency: int, progress: Progress) -> DirectSnapshots:
    """The snapshots of the source or of the target; raises AgentError NoCredentials."""
    return DirectSnapshots(FileCredentials(_CREDENTIALS / "source.json"), region, concurrency, progress)


def rights(job: CheckJob, progress: Progress) -> Rights:
    """What a check asks with the worker's own credentials, opened when it is asked for."""

    def ask_sts(url: str, region: str) -> SignedRequests:
        credentials = FileCredentials(_CREDENTIALS / "source.json")
        return SignedRequests(credentials, "sts", region, url, connections=1, clock=progress.clock)

    return Rights(
        store=lambda: open_store(job, progress),
        snapshots=lambda region: open_snapshots(region, 1, progress),
        sts=ask_sts,
    )
