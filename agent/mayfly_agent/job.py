# SPDX-License-Identifier: GPL-3.0-or-later
"""The job: what the controller sends over the connection into memory. Of those about a repository: repository_jobs."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import AgentError
from .progress import RETRY_TIMEOUT
from .repository.layout import ResourceName
from .repository.seal import ResourceKey

VERSION = 1
# The longest that one request may be repeated, in seconds: what AWS puts off for longer is no throttling.
LONGEST_RETRY = 900.0
# Seven days, in seconds: deletion from repositories rests on it.
LONGEST_RUN = 604_800.0
LOCK_MODES = ("GOVERNANCE", "COMPLIANCE")
# A repository's store that is not AWS's, among the services of a check.
STORE = "store"


@dataclass(frozen=True)
class Endpoint:
    """A store that is not AWS's: its ``url``, https and without a path.

    ``path_style``: buckets stand in the path of a request and not in the name of the host. ``authorities``: the
    certificates that its own must come from, PEM; "" for those that the machine trusts.
    """

    url: str
    path_style: bool = True
    authorities: str = ""


@dataclass(frozen=True)
class RepositoryPlace:
    """Where the repository is: ``region`` is what requests are signed for, ``endpoint`` None for AWS's own S3."""

    bucket: str
    prefix: str
    region: str
    owner: str | None = None
    endpoint: Endpoint | None = None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> RepositoryPlace:
        """From what was sent; raises TypeError for what is none."""
        endpoint = value.get("endpoint")
        return cls(**{**value, "endpoint": Endpoint(**endpoint) if endpoint else None})


@dataclass(frozen=True)
class JobVolume:
    """A volume to back up. ``parent_snapshot_id`` is the snapshot that the parent was made from, "" when it is gone."""

    volume_id: str
    snapshot_id: str
    device: str
    size_gib: int
    attributes: dict[str, Any] = field(default_factory=dict)
    parent_snapshot_id: str = ""


@dataclass(frozen=True)
class Target:
    """Where a restore writes snapshots to, and their tags.

    ``encryption``: {volume: ARN of a KMS key, "" for the account's default key}; a volume that is not in it is written
    unencrypted.
    """

    region: str
    tags: dict[str, str] = field(default_factory=dict)
    encryption: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, each in (("tags", self.tags), ("encryption", self.encryption)):
            texts = isinstance(each, dict) and all(isinstance(text, str) for text in each.values())
            if not texts:  # null for a key must not become a volume without encryption
                raise ValueError(f"{name} of the target is {each!r}")


@dataclass(frozen=True)
class Job:
    """What every operation is told.

    ``seconds_left`` until the run's deadline, counted from when the job arrives: no clock of the controller's is
    compared with one of the worker's. ``retry_timeout``: seconds that AWS may say "later" to one request. Raises
    ValueError when one of these is out of bounds.
    """

    run: str
    seconds_left: float
    resource: dict[str, Any]
    repository: RepositoryPlace
    retry_timeout: float = RETRY_TIMEOUT

    def __post_init__(self) -> None:
        if not 0 <= self.seconds_left <= LONGEST_RUN:
            raise ValueError(f"seconds_left is {self.seconds_left}, not 0 to {LONGEST_RUN:.0f}")
        if not 0 < self.retry_timeout <= LONGEST_RETRY:
            raise ValueError(f"retry_timeout is {self.retry_timeout}, not up to {LONGEST_RETRY:.0f}")

    @property
    def name(self) -> ResourceName:
        """Whose data it is about."""
        return ResourceName.from_dict(self.resource)

    @classmethod
    def common(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        """The fields above from what was sent; raises ValueError, KeyError or TypeError for what is none."""
        return {
            "run": value["run"],
            "seconds_left": float(value["seconds_left"]),
            "resource": value["resource"],
            "repository": RepositoryPlace.parse(value["repository"]),
            "retry_timeout": float(value["retry_timeout"]),
        }


@dataclass(frozen=True, kw_only=True)
class TransferJob(Job):
    """What every transfer is told: the key of the resource's data, and how many requests may be under way at once."""

    resource_key: bytes
    concurrency: int

    @classmethod
    def common(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        """The fields above and those of every job; raises as there."""
        return {
            **super().common(value),
            "resource_key": keys_from(value),
            "concurrency": int(value["concurrency"]),
        }


@dataclass(frozen=True)
class LockJob:
    """How a restore point is locked: in which mode, and for how many seconds from when its backup begins."""

    mode: str
    seconds: float

    def __post_init__(self) -> None:
        if self.mode not in LOCK_MODES or not self.seconds > 0:
            raise ValueError(f"a lock of {self.seconds} seconds in mode {self.mode!r} is none")

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> LockJob | None:
        """That of a job as it was sent, None without one; raises ValueError and TypeError."""
        return cls(**value["lock"]) if value.get("lock") else None


@dataclass(frozen=True, kw_only=True)
class BackupJob(TransferJob):
    """A backup of ``volumes`` in ``source_region``.

    ``parent`` is the id of the restore point whose data may be shared, "" for none; ``lock`` is None for no lock.
    """

    source_region: str
    restore_point_time: datetime
    volumes: tuple[JobVolume, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    parent: str = ""
    lock: LockJob | None = None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> BackupJob:
        """From what was sent; raises as common does."""
        return cls(
            **cls.common(value),
            source_region=value["source_region"],
            restore_point_time=datetime.fromisoformat(value["restore_point_time"]),
            volumes=tuple(JobVolume(**each) for each in value["volumes"]),
            settings=value.get("settings") or {},
            parent=value.get("parent") or "",
            lock=LockJob.of(value),
        )


@dataclass(frozen=True, kw_only=True)
class RestoreJob(TransferJob):
    """A restore of a restore point, named by its id. Each ``attempt`` of a run makes snapshots of its own.

    ``volumes`` are those of its volumes that are wanted; empty for all.
    """

    restore_point: str
    target: Target
    attempt: int
    volumes: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> RestoreJob:
        """From what was sent; raises as common does."""
        return cls(
            **cls.common(value),
            restore_point=value["restore_point"],
            target=Target(**value["target"]),
            attempt=int(value["attempt"]),
            volumes=frozenset(map(str, value.get("volumes") or ())),
        )


@dataclass(frozen=True)
class Service:
    """A service in a Region, by the host name that answers for it. ``private``: a VPC endpoint has that name.

    STORE is the repository's, where that is not AWS's.
    """

    name: str
    region: str
    host: str
    private: bool = False
    port: int = 443


@dataclass(frozen=True)
class Port:
    """A TCP port of a host that is to be reached."""

    host: str
    port: int

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError(f"{self.port} is no TCP port")


@dataclass(frozen=True, kw_only=True)
class CheckJob(Job):
    """A check of what the worker reaches; it gets no key of any data.

    ``snapshot_id`` is the id of a snapshot that there is not, and that its credentials may ask for.
    """

    services: tuple[Service, ...]
    ports: tuple[Port, ...] = ()
    snapshot_id: str

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> CheckJob:
        """From what was sent; raises as common does."""
        return cls(
            **cls.common(value),
            services=tuple(Service(**each) for each in value["services"]),
            ports=tuple(Port(each["host"], int(each["port"])) for each in value["ports"]),
            snapshot_id=value["snapshot_id"],
        )


def keys_from(value: Mapping[str, Any], newest: str = "resource_key") -> ResourceKey:
    """A resource's keys from what was sent: the newest, and ``keys_before`` it from before rotations, oldest first."""
    texts = value[newest], *value.get("keys_before", ())
    first, *before = (base64.b64decode(each, validate=True) for each in texts)
    return ResourceKey(first, before)


def read_job(path: Path) -> dict[str, Any]:
    """What was sent, of a version that is known here; raises AgentError BadJob."""
    try:
        value = json.loads(path.read_text())
        if value["version"] != VERSION:
            raise ValueError(f"its version is {value['version']}, not {VERSION}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise bad_job(error) from error
    return dict(value)


def bad_job(error: Exception) -> AgentError:
    """What the controller has sent is no job: it and the agent are not of one version, or one of them is wrong."""
    return AgentError("BadJob", f"The job that was sent cannot be carried out: {error!r}")
