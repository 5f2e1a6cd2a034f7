# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of the objects of a repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

REPOSITORY = "repository.json"
KEYS = "keys/"
_POINT = re.compile(r"^(?P<id>[0-9]{8}T[0-9]{6}Z-[A-Za-z0-9-]+)(?:\.(?P<generation>[0-9]+))?$")
_PART = re.compile(r"^[A-Za-z0-9._-]+$")


@dataclass(frozen=True)
class ResourceName:
    """Which resource: its data all lie below ``path``."""

    account: str
    region: str
    kind: str
    id: str

    def __post_init__(self) -> None:
        for part in (self.account, self.region, self.kind, self.id):
            if not _PART.match(part):
                raise ValueError(f"{part!r} cannot be a part of a resource's name")

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ResourceName:
        """From a dictionary that may hold more, as the resource's name for people."""
        return cls(str(value["account"]), str(value["region"]), str(value["kind"]), str(value["id"]))

    @property
    def path(self) -> str:
        """account/region/kind/id"""
        return f"{self.account}/{self.region}/{self.kind}/{self.id}"


def pack_key(resource: ResourceName, pack_id: bytes) -> str:
    """Key of a pack."""
    name = pack_id.hex()
    return f"{resource.path}/packs/{name[:2]}/{name}"


def node_key(resource: ResourceName, node_id: bytes) -> str:
    """Key of a tree's node."""
    name = node_id.hex()
    return f"{resource.path}/trees/{name[:2]}/{name}"


def points_prefix(resource: ResourceName) -> str:
    """What the keys of a resource's manifests begin with."""
    return f"{resource.path}/points/"


def point_id(time: datetime, run: str) -> str:
    """Id of the restore point of a time (of the snapshots) and a run."""
    return f"{time.astimezone(UTC):%Y%m%dT%H%M%SZ}-{run}"


def point_time(identity: str) -> datetime:
    """The time in a restore point's id."""
    return datetime.strptime(identity.split("-", 1)[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def parse_point(name: str) -> tuple[str, int] | None:
    """(id, generation) of the last part of a manifest's key, None when it is something else."""
    match = _POINT.match(name)
    return (match["id"], int(match["generation"] or 0)) if match else None


def point_key(resource: ResourceName, identity: str, generation: int = 0) -> str:
    """Key of a manifest."""
    return f"{points_prefix(resource)}{identity}" + (f".{generation}" if generation else "")
