# SPDX-License-Identifier: GPL-3.0-or-later
"""The job: what the controller sends over the connection into memory."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from .errors import AgentError
from .progress import RETRY_TIMEOUT
from .repository.layout import ResourceName

VERSION = 1


@dataclass(frozen=True)
class RepositoryPlace:
    """Where the repository is."""

    bucket: str
    prefix: str
    region: str
    owner: str | None = None


@dataclass(frozen=True)
class JobVolume:
    """A volume to back up."""

    volume_id: str
    snapshot_id: str
    device: str
    size_gib: int
    attributes: dict[str, Any] = field(default_factory=dict)


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
    """``deadline`` is when the run ends at the latest. Of backup and restore, the other's parts are empty.

    ``retry_timeout``: seconds that AWS may say "later" to one request.
    """

    operation: Literal["backup", "restore"]
    run: str
    deadline: datetime
    resource: dict[str, Any]
    repository: RepositoryPlace
    resource_key: bytes
    concurrency: int
    source_region: str
    retry_timeout: float = RETRY_TIMEOUT
    restore_point_time: datetime | None = None
    volumes: tuple[JobVolume, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    restore_point: str = ""
    target: Target | None = None

    @property
    def name(self) -> ResourceName:
        """Whose data it is about."""
        return ResourceName.from_dict(self.resource)


def read_job(path: Path) -> Job:
    """Parse job.json; raises AgentError BadJob."""
    try:
        value = json.loads(path.read_text())
        if value["version"] != VERSION:
            raise ValueError(f"its version is {value['version']}, not {VERSION}")
        time = value.get("restore_point_time")
        target = value.get("target")
        return Job(
            operation=value["operation"],
            run=value["run"],
            deadline=datetime.fromisoformat(value["deadline"]),
            resource=value["resource"],
            repository=RepositoryPlace(**value["repository"]),
            resource_key=base64.b64decode(value["resource_key"], validate=True),
            concurrency=int(value["concurrency"]),
            source_region=value["source_region"],
            retry_timeout=float(value["retry_timeout"]),
            restore_point_time=datetime.fromisoformat(time) if time else None,
            volumes=tuple(JobVolume(**each) for each in value.get("volumes", ())),
            settings=value.get("settings") or {},
            restore_point=value.get("restore_point") or "",
            target=Target(**target) if target else None,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AgentError("BadJob", f"The job {path} cannot be read: {error!r}") from error
