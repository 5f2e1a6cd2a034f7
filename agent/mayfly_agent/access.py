# SPDX-License-Identifier: GPL-3.0-or-later
"""The services that operations use, each with the credentials that the controller has sent for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .credentials import FileCredentials
from .ebs import DirectSnapshots
from .job import CheckJob, CopyJob, Job, RepositoryPlace
from .probing import Rights
from .progress import Progress
from .quick import QuickClient
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


def _store(place: RepositoryPlace, name: str, progress: Progress) -> S3Objects:
    """What is at a place, with the credentials of that name."""
    credentials = FileCredentials(_CREDENTIALS / f"{name}.json")
    endpoint, before = place.endpoint, progress.check_deadline
    if endpoint is not None:
        from .clients import client_at

        trusted = _TRUSTED / f"{name}.pem" if endpoint.authorities else None  # botocore takes a file alone
        if trusted:
            trusted.write_text(endpoint.authorities)
        elsewhere = client_at(endpoint, credentials, place.region, before, trusted)
        return S3Objects(elsewhere, place.bucket, place.prefix, None, progress, endpoint_url=endpoint.url)

    def others() -> Any:
        from .clients import client_of

        return client_of(credentials, place.region, before)

    client = QuickClient(credentials, place.region, place.bucket, others, clock=progress.clock, before=before)
    return S3Objects(client, place.bucket, place.prefix, place.owner, progress)


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
