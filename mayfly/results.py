# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a run, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Status = Literal["Succeeded", "Warning", "Failed", "Canceled", "Skipped"]
_WORST: tuple[Status, ...] = ("Canceled", "Failed", "Warning", "Succeeded", "Skipped")
_GOOD = ("Succeeded", "Warning", "Skipped")
# Codes of what is wrong with a resource, a setting or a right, when it is found before a worker is launched
_BAD_INPUT = frozenset({
    "AccessDenied", "AmbiguousSubnet", "AmbiguousVpc", "BadAccounts", "BadControlNode", "BadImage", "BadOptions",
    "BadRepository", "BadResource", "BadSetting", "BadTags", "BadWorkerAccount", "DeadlinePassed", "DefaultRetention",
    "DuplicateResource", "GroupUnknown", "InstanceNotFound", "KeyNotShareable", "KeyUnusable", "NoControlNode",
    "NoCredentials", "NoDefaultVpc", "NoImage", "NoInstanceType", "NoNetwork", "NoRepositoryKey", "NoSuchBucket",
    "NothingToCheck",
    "AutoScaling", "DeviceInUse", "InstanceBusy", "NoDevice", "NoGroups", "NoInstanceProfile", "NoKeyPair",
    "NoRootVolume", "NoSubnet", "NothingAttached", "SpotInstance", "StopProtection", "VolumeMissing",
    "NoVolumes", "NoWorkerRole", "ProductCode", "RepositoryDamaged", "RepositoryFormat", "RepositoryMissing",
    "RestorePointDamaged", "RestorePointMissing", "UnauthorizedOperation", "UnknownAccount",
    "UnknownAvailabilityZone", "UnknownOperation", "UnknownSecurityGroup", "UnknownSubnet", "UnknownVpc",
    "WrongAccount", "WrongConnection", "WrongRecoveryKey", "WrongTier", "WrongWorkerAccount",
})  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One stage of a resource's way; ``end`` is None when the run ended within it."""

    name: str
    start: datetime | None
    end: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took, when it came to its end."""
        return (self.end - self.start).total_seconds() if self.start and self.end else None


@dataclass(frozen=True)
class Failure:
    """One error: a code for programs, a message and its remedy for people."""

    code: str
    message: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True)
class ResourceResult:
    """What one resource's operation did.

    ``bytes`` has ``read`` and ``stored``, summed over ``volumes`` (by volume id, as the transfer agent counted them:
    ``blocks_total``, ``blocks_done``, ``bytes_read``, ``bytes_stored``, ``seconds``; of a backup ``blocks_read`` and
    ``blocks_stored`` too, ``blocks_resumed``, which an attempt that died had stored and were used again, and its
    ``method``, "full", "changed" or "compared", with the ``reason`` why it was not "changed"). ``parent`` is the
    restore point that a backup went on from. ``restored_volumes`` maps an original volume's id to the new one's,
    ``restored_instance`` is the id of the instance that has them, ``replaced_volumes`` those that it had, by device;
    ``digests`` maps a volume's id to the digest over its blocks. ``retention`` is what was deleted, ``health_check``
    what was found, ``archive`` what was copied, as the module ``transfer`` returns them.
    """

    status: Status
    resource: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    worker: Mapping[str, Any] | None = None
    bytes: Mapping[str, int] = field(default_factory=dict)
    restore_point: str | None = None
    parent: str | None = None
    restored_volumes: Mapping[str, str] = field(default_factory=dict)
    restored_instance: str | None = None
    replaced_volumes: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    retention: Mapping[str, Any] = field(default_factory=dict)
    copied: Mapping[str, Any] = field(default_factory=dict)
    health_check: Mapping[str, Any] = field(default_factory=dict)
    archive: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class RunResult:
    """What one run did: ``resources`` by the inventory's host names, ``errors`` of the run as a whole."""

    status: Status
    run: str
    operation: str
    started: datetime
    ended: datetime
    resources: Mapping[str, ResourceResult]
    errors: tuple[Failure, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether every resource came through."""
        return self.status in _GOOD

    @property
    def bad_input(self) -> bool:
        """Whether every resource was refused for what was given, before a worker was launched for it."""
        return bool(self.resources) and all(
            each.worker is None and any(failure.code in _BAD_INPUT for failure in each.errors)
            for each in self.resources.values()
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; times in ISO 8601."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


def resource_result(entry: Mapping[str, Any], status: Status, errors: Iterable[Failure]) -> ResourceResult:
    """A resource's part of the keeper's report, with the status and errors that hold in the end."""
    volumes: Mapping[str, Mapping[str, Any]] = entry.get("volumes") or {}
    return ResourceResult(
        status=status,
        resource=entry.get("resource") or {},
        stages=tuple(
            Stage(stage["name"], _time(stage.get("start")), _time(stage.get("end")))
            for stage in entry.get("stages") or ()
        ),
        worker=entry.get("worker") or None,
        bytes=total_bytes(volumes),
        restore_point=entry.get("restore_point"),
        parent=entry.get("parent"),
        restored_volumes=entry.get("restored_volumes") or {},
        restored_instance=entry.get("restored_instance"),
        replaced_volumes=entry.get("replaced_volumes") or {},
        volumes=volumes,
        digests=entry.get("digests") or {},
        retention=entry.get("retention") or {},
        copied=entry.get("copied") or {},
        health_check=entry.get("health_check") or {},
        archive=entry.get("archive") or {},
        errors=tuple(errors),
    )


def total_bytes(volumes: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Bytes read and stored, over all volumes."""
    return {
        name: sum(int(volume.get(f"bytes_{name}") or 0) for volume in volumes.values()) for name in ("read", "stored")
    }


def reported_failures(entry: Mapping[str, Any]) -> list[Failure]:
    """The errors that the keeper's report holds for a resource."""
    return [
        Failure(error.get("code", "Error"), error.get("message", ""), error.get("remedy") or None)
        for error in entry.get("errors") or ()
    ]


def overall(statuses: Iterable[Status]) -> Status:
    """The status of a run from those of its resources: the worst one."""
    seen = set(statuses)
    return next((status for status in _WORST if status in seen), "Failed")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, datetime) else value
