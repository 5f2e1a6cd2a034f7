# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests: what a restore point is. Written last, so that a point is there whole or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import zstandard

from . import seal
from .layout import ResourceName
from .trees import Place, Root

FORMAT = 1


@dataclass(frozen=True)
class VolumeRecord:
    """A volume in a restore point: ``root`` is the hexadecimal id of its tree, None when all is zeros."""

    volume_id: str
    snapshot_id: str
    device: str
    size_gib: int
    root: str | None
    levels: int
    blocks: int
    digest: str
    bytes_read: int
    bytes_stored: int
    seconds: float
    attributes: dict[str, Any] = field(default_factory=dict)

    def tree(self) -> Root:
        """The tree's root."""
        return Root(bytes.fromhex(self.root) if self.root else None, self.levels, self.blocks)


@dataclass(frozen=True)
class Manifest:
    """A restore point. ``time`` is that of its snapshots, ISO 8601 UTC; ``resource`` has its name for people too."""

    id: str
    time: str
    run: str
    agent: str
    resource: dict[str, Any]
    settings: dict[str, Any]
    volumes: tuple[VolumeRecord, ...]
    parent: str | None = None

    @property
    def name(self) -> ResourceName:
        """Whose it is."""
        return ResourceName.from_dict(self.resource)

    def place(self, volume: VolumeRecord) -> Place:
        """Where a volume's tree belongs."""
        return Place(self.name, volume.volume_id)

    def to_dict(self) -> dict[str, Any]:
        """The form that is sealed, and shown."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Manifest:
        """The reverse; raises TypeError or KeyError when it is none."""
        known = {key: inner for key, inner in value.items() if key not in ("format", "volumes")}
        return cls(volumes=tuple(VolumeRecord(**each) for each in value["volumes"]), **known)


def seal_manifest(manifest: Manifest, resource_key: bytes, key: str) -> bytes:
    """The object for ``key``."""
    plain = json.dumps(manifest.to_dict(), sort_keys=True, separators=(",", ":")).encode()
    packed = zstandard.ZstdCompressor().compress(plain)
    return seal.seal_object("manifest", resource_key, seal.new_id(), packed, key.encode())


def open_manifest(body: bytes, resource_key: bytes, key: str) -> Manifest:
    """The reverse; raises SealBroken, also when it was sealed for another key."""
    packed = seal.open_object("manifest", resource_key, body, key.encode(), what=key, id_bytes=seal.ID_BYTES)
    return Manifest.from_dict(json.loads(zstandard.ZstdDecompressor().decompress(packed)))
