# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs about a whole repository, which is the resource of each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .job import Job, LockJob, RepositoryPlace, keys_from
from .repository.layout import ResourceName
from .repository.seal import ResourceKey

HEALTH_CHECKS = ("quick", "sample", "full")


@dataclass(frozen=True)
class Chosen:
    """A resource of a repository, the key of its data, and the ids of the restore points that are to go."""

    resource: ResourceName
    key: bytes
    remove: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Chosen:
        """From what was sent; raises as Job.common does."""
        return cls(ResourceName.from_dict(value), keys_from(value), frozenset(map(str, value["remove"])))


@dataclass(frozen=True, kw_only=True)
class RetentionJob(Job):
    """Retention of a repository, which is the job's ``resource``.

    ``live_share``: packs of which less than so many percent are in use are written anew. ``concurrency``: requests that
    are under way at once.
    """

    resources: tuple[Chosen, ...]
    live_share: int
    concurrency: int

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> RetentionJob:
        """From what was sent; raises as common does."""
        share = int(value["live_share"])
        if not 0 <= share <= 90:
            raise ValueError(f"live_share is {share}, not 0 to 90")
        return cls(
            **cls.common(value),
            resources=tuple(Chosen.parse(each) for each in value["resources"]),
            live_share=share,
            concurrency=int(value["concurrency"]),
        )


@dataclass(frozen=True)
class Copied:
    """A resource, the keys of its data in both repositories, and the ids of the restore points to copy.

    ``failed``: of those of them that could not be copied before, how often that was tried.
    """

    resource: ResourceName
    key: ResourceKey = field(repr=False)
    target_key: ResourceKey = field(repr=False)
    points: frozenset[str] = frozenset()
    failed: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Copied:
        """From what was sent; raises as Job.common does."""
        keys = keys_from(value), keys_from(value["target_keys"])
        failed = {str(point): int(times) for point, times in value.get("failed", {}).items()}
        return cls(ResourceName.from_dict(value), *keys, points=frozenset(map(str, value["points"])), failed=failed)


@dataclass(frozen=True, kw_only=True)
class CopyJob(Job):
    """A copy of restore points from the job's repository, which is its ``resource``, to another one.

    ``lock``: how they are locked there, None for no lock.
    """

    resources: tuple[Copied, ...]
    target: RepositoryPlace
    concurrency: int
    lock: LockJob | None = None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> CopyJob:
        """From what was sent; raises as common does."""
        return cls(
            **cls.common(value),
            resources=tuple(Copied.parse(each) for each in value["resources"]),
            target=RepositoryPlace.parse(value["target"]),
            concurrency=int(value["concurrency"]),
            lock=LockJob.of(value),
        )


@dataclass(frozen=True)
class Checked:
    """A resource whose restore points are checked, and the key of its data."""

    name: ResourceName
    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Checked:
        """From what was sent; raises as Job.common does."""
        return cls(ResourceName.from_dict(value), keys_from(value, "key"))


@dataclass(frozen=True, kw_only=True)
class HealthCheckJob(Job):
    """A check of all restore points of ``resources``; the job's own resource is the repository.

    ``mode`` "quick" looks whether everything is there, "sample" reads ``percent`` of the blocks too, those that
    ``seed`` chooses, and "full" reads all.
    """

    resources: tuple[Checked, ...]
    mode: str
    concurrency: int
    percent: float = 0.0
    seed: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in HEALTH_CHECKS:
            raise ValueError(f"mode is {self.mode!r}, not {' or '.join(HEALTH_CHECKS)}")
        if self.mode == "sample" and not (0 < self.percent <= 100 and self.seed):
            raise ValueError(f"a sample of {self.percent} % chosen by {self.seed!r} is none")

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> HealthCheckJob:
        """From what was sent; raises as common does."""
        return cls(
            **cls.common(value),
            resources=tuple(
                Checked(ResourceName.from_dict(each), keys_from(each, "key")) for each in value["resources"]
            ),
            mode=value["mode"],
            concurrency=int(value["concurrency"]),
            percent=float(value.get("percent") or 0),
            seed=str(value.get("seed") or ""),
        )


@dataclass(frozen=True)
class Archived:
    """A restore point to archive, or a set to bring back, by its name; ``key`` is that of its resource's data."""

    resource: ResourceName
    key: bytes = field(repr=False)
    name: str = ""

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Archived:
        """From what was sent; raises as Job.common does."""
        return cls(ResourceName.from_dict(value), keys_from(value, "key"), str(value["name"]))


@dataclass(frozen=True, kw_only=True)
class ArchiveJob(Job):
    """Copies of restore points into sets, or of sets into the repository; the job's own resource is that.

    ``storage_class`` is what the packs of new sets are put in, ``lock`` how what is made is locked, None for no lock.
    """

    points: tuple[Archived, ...]
    concurrency: int
    storage_class: str = ""
    lock: LockJob | None = None

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> ArchiveJob:
        """From what was sent; raises as common does."""
        return cls(
            **cls.common(value),
            points=tuple(Archived.parse(each) for each in value["points"]),
            concurrency=int(value["concurrency"]),
            storage_class=str(value.get("storage_class") or ""),
            lock=LockJob.of(value),
        )
