# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests: what a restore point is. Written last, so that a point is there whole or not at all."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from ..blocks import BLOCKS_PER_GIB
from ..errors import AgentError
from ..objects import Lock
from . import layout, seal
from .compression import compress, decompress
from .layout import ResourceName
from .trees import Node, Place, Root

FORMAT = 1
# A controller opens the manifests of many resources: none may fill its memory.
MAXIMUM_BYTES = 16 * 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "float": (int, float),
    "dict[str, Any]": (dict,),
    "tuple[VolumeRecord, ...]": (tuple,),
}


@dataclass(frozen=True)
class VolumeRecord:
    """A volume in a restore point: ``root`` is the hexadecimal id of its tree, None when all is zeros.

    ``sealed_as`` names the volume whose id its blocks and nodes are sealed with, when that is another one: a volume
    that has taken another's place goes on with that one's tree.

    ``method`` says what was read: "full", all written blocks; "compared", all of them, and stored were those that are
    not in the parent; "changed", what EBS named as changed since the parent's snapshot. ``reason`` says why it was not
    less. ``blocks_stored`` of the volume's ``blocks`` were written for this point, and ``blocks_resumed`` by a backup
    that did not come to its end.
    """

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
    sealed_as: str | None = None
    method: str = "full"
    reason: str = ""
    blocks_stored: int = 0
    blocks_resumed: int = 0

    @classmethod
    def from_dict(cls, value: Any) -> VolumeRecord:
        """From a manifest; fields that are not known are left out. Raises ValueError when it is no such record."""
        record = _record(cls, value)
        if not all(layout.is_part(each) for each in (record.volume_id, record.sealed_as or record.volume_id)):
            raise ValueError(f"{record.volume_id!r} or {record.sealed_as!r} cannot be a volume's id")
        if not all(_DIGEST.fullmatch(each) for each in (record.digest, record.root or record.digest)):
            raise ValueError(f"{record.volume_id} has no digest or no root")
        tree = record.tree()
        least = 0 if record.root is None else 1
        if record.levels != tree.levels or not least <= record.blocks <= least * tree.size:
            raise ValueError(f"{record.volume_id} has a tree of {record.levels} levels and {record.blocks} blocks")
        if record.digest != tree.digest:
            raise ValueError(f"{record.volume_id} has no blocks and another digest than that of none")
        return record

    def tree(self) -> Root:
        """The tree's root."""
        size = self.size_gib * BLOCKS_PER_GIB
        if self.root is None:
            return Root(None, size)
        return Root(Node(bytes.fromhex(self.root), self.blocks, bytes.fromhex(self.digest)), size)


@dataclass(frozen=True)
class Manifest:
    """A restore point. ``time`` is that of its snapshots, ISO 8601 UTC; ``resource`` has its name for people too.

    Of one that is locked, ``locked_until`` says until when in ``lock_mode``, and ``objects_locked_until`` until when at
    least all packs and nodes are that it refers to; ISO 8601 UTC.
    """

    id: str
    time: str
    run: str
    agent: str
    resource: dict[str, Any]
    settings: dict[str, Any]
    volumes: tuple[VolumeRecord, ...]
    parent: str | None = None
    locked_until: str | None = None
    lock_mode: str | None = None
    objects_locked_until: str | None = None

    @property
    def lock(self) -> Lock | None:
        """How the manifest is locked; raises ValueError when that is no time."""
        return _lock(self.locked_until, self.lock_mode)

    @property
    def objects_lock(self) -> Lock | None:
        """How at least all is that it refers to; raises ValueError when that is no time."""
        return _lock(self.objects_locked_until, self.lock_mode)

    @property
    def name(self) -> ResourceName:
        """Whose it is."""
        return ResourceName.from_dict(self.resource)

    def place(self, volume: VolumeRecord) -> Place:
        """Where a volume's tree belongs."""
        return Place(self.name, volume.sealed_as or volume.volume_id)

    def to_dict(self) -> dict[str, Any]:
        """The form that is sealed, and shown."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, value: Any) -> Manifest:
        """The reverse; fields that are not known are left out.

        Raises ValueError when it is none, AgentError RepositoryFormat when it is one of another format.
        """
        if not isinstance(value, dict) or not isinstance(value.get("volumes"), list):
            raise ValueError("it is no manifest")
        if value.get("format") != FORMAT:
            raise _other_format(f"has format {value.get('format')}; only {FORMAT} can be read")
        if value.get("needs"):  # what a reader must know; a sweeper that did not would take its objects for dead
            raise _other_format(f"needs {value['needs']}, which this version does not know")
        volumes = tuple(VolumeRecord.from_dict(each) for each in value["volumes"])
        if len({each.volume_id for each in volumes}) != len(volumes):
            raise ValueError("it names a volume twice")
        manifest = _record(cls, {**value, "volumes": volumes})
        if not manifest.resource.keys() >= {"account", "region", "kind", "id"}:
            raise ValueError("it does not say whose it is")
        _ = manifest.lock, manifest.objects_lock
        return manifest


def seal_manifest(manifest: Manifest, resource_key: bytes, key: str) -> bytes:
    """The object for ``key``; raises ValueError for a manifest that could not be read again."""
    return seal_value(manifest.to_dict(), resource_key, key)


def open_manifest(body: bytes, resource_key: bytes, key: str) -> Manifest:
    """The reverse.

    Raises SealBroken, also when it was sealed for another key, ValueError when what was sealed is no manifest, and
    AgentError RepositoryFormat.
    """
    return open_with_value(body, resource_key, key)[0]


def open_with_value(body: bytes, resource_key: bytes, key: str) -> tuple[Manifest, dict[str, Any]]:
    """As open_manifest, with all that was sealed: fields too that this version does not know."""
    packed = seal.open_object("manifest", resource_key, body, _place(key), what=key)
    plain = decompress(packed, MAXIMUM_BYTES, key)
    return _parse(plain, key), json.loads(plain)


def seal_value(value: dict[str, Any], resource_key: bytes, key: str) -> bytes:
    """The object for ``key`` of what open_with_value gave, changed; raises as seal_manifest."""
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    _parse(plain, key)
    return seal.seal_object("manifest", resource_key, seal.new_id(), compress(plain), _place(key))


def _parse(plain: bytes, key: str) -> Manifest:
    if len(plain) > MAXIMUM_BYTES:
        raise ValueError(f"a manifest of {len(plain)} bytes is too long")
    try:
        manifest = Manifest.from_dict(json.loads(plain))
    except RecursionError as error:
        raise ValueError("its values lie too deep in one another") from error
    point = layout.parse_point(key.rpartition("/")[2])
    if point is None or point[0] != manifest.id or key != layout.point_key(manifest.name, *point):
        raise ValueError(f"it is the manifest of {manifest.id} of {manifest.name.path}")
    return manifest


def _lock(until: str | None, mode: str | None) -> Lock | None:
    if until is None:
        return None
    time = datetime.fromisoformat(until)
    if time.tzinfo is None:
        raise ValueError(f"{until} is no time of a lock")
    return Lock(time, mode or "")


def _other_format(how: str) -> AgentError:
    return AgentError("RepositoryFormat", f"The manifest {how}.", "Use a newer version of mayfly.")


def _place(key: str) -> bytes:
    return seal.fields(b"manifest", key.encode())


Record = TypeVar("Record", VolumeRecord, Manifest)


def _record(cls: type[Record], value: Any) -> Record:
    """An instance of a dataclass; raises ValueError when a field lacks or is of another type, or it is nothing such."""
    try:
        record = cls(**{each.name: value[each.name] for each in fields(cls) if each.name in value})
    except TypeError as error:
        raise ValueError(f"a field lacks: {error}") from error
    for each in fields(cls):
        found = getattr(record, each.name)
        if not isinstance(found, _TYPES[str(each.type)]) or isinstance(found, bool):
            raise ValueError(f"{each.name} is {found!r}")
    return record
