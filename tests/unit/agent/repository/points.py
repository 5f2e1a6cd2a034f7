# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore points written and read with the library's parts alone, one object after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache

from mayfly_agent.blocks import BLOCK_SIZE, BLOCKS_PER_GIB, VolumeDigest
from mayfly_agent.objects import IfNoneMatch
from mayfly_agent.repository import keys, layout, repository
from mayfly_agent.repository.compression import compress
from mayfly_agent.repository.layout import ResourceName
from mayfly_agent.repository.manifest import Manifest, VolumeRecord, seal_manifest
from mayfly_agent.repository.packs import PackReader, PackWriter
from mayfly_agent.repository.trees import Entry, Place, TreeReader, TreeWriter

from tests.unit.agent.memory import MemoryObjects

MASTER = bytes(range(32))
RESOURCE = ResourceName("111122223333", "eu-central-1", "ec2", "i-0abc")
OTHER = ResourceName("111122223333", "eu-central-1", "ec2", "i-0def")
KEY = keys.resource_key(MASTER, RESOURCE)
TIME = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
RUN = "20261124T012950Z-a1b2c3"

Volumes = Mapping[str, Mapping[int, int]]
"""Of each volume, the number that fills each block: block(number) is the block."""


@lru_cache(maxsize=64)
def block(number: int) -> bytes:
    """A block that differs from those of other numbers."""
    return number.to_bytes(8, "big") * (BLOCK_SIZE // 8)


@cache
def digest(number: int) -> bytes:
    """Its SHA-256."""
    return hashlib.sha256(block(number)).digest()


def key_of(resource: ResourceName) -> bytes:
    """The resource's key in the tests' repository."""
    return keys.resource_key(MASTER, resource)


def record(volume_id: str = "vol-1", **parts: object) -> VolumeRecord:
    """A volume without blocks, but for what is named."""
    common = {
        "snapshot_id": "snap-1",
        "device": "/dev/xvdf",
        "size_gib": 1,
        "root": None,
        "levels": 2,
        "blocks": 0,
        "digest": VolumeDigest(2048).hexdigest(),
        "bytes_read": 0,
        "bytes_stored": 0,
        "seconds": 0.0,
    }
    return VolumeRecord(volume_id=volume_id, **{**common, **parts})


def manifest(resource: ResourceName = RESOURCE, *, hours: int = 0, **parts: object) -> Manifest:
    """A restore point so many hours after TIME, without volumes but for what is named."""
    time = TIME + timedelta(hours=hours)
    whose = {"account": resource.account, "region": resource.region, "kind": resource.kind, "id": resource.id}
    common = {
        "id": layout.point_id(time, RUN),
        "time": time.isoformat(),
        "run": RUN,
        "agent": "0",
        "resource": {**whose, "name": "web-1"},
        "settings": {},
        "volumes": (),
    }
    return Manifest(**{**common, **parts})


def write_volume(
    store: MemoryObjects,
    resource: ResourceName,
    volume_id: str,
    blocks: Mapping[int, int],
    *,
    size_gib: int = 1,
    blocks_a_pack: int = 2,
) -> VolumeRecord:
    """Packs and nodes of a volume."""
    tree = TreeWriter(Place(resource, volume_id), key_of(resource), size_gib * BLOCKS_PER_GIB, store.put)
    pack = PackWriter(resource, key_of(resource))
    held = 0
    for index in sorted(blocks):
        number = blocks[index]
        location = pack.add(volume_id, index, digest(number), compress(block(number)))
        tree.add(Entry(index, digest(number), location))
        held += 1
        if held == blocks_a_pack:
            store.put(*pack.finish())
            pack, held = PackWriter(resource, key_of(resource)), 0
    if held:
        store.put(*pack.finish())
    root = tree.finish()
    tree_record = {"root": root.id, "levels": root.levels, "blocks": root.blocks, "digest": root.digest}
    return record(volume_id, size_gib=size_gib, **tree_record)


def write_point(
    store: MemoryObjects,
    resource: ResourceName,
    volumes: Volumes,
    *,
    hours: int = 0,
    generation: int = 0,
    size_gib: int = 1,
) -> str:
    """A whole restore point; the key of its manifest."""
    written = tuple(write_volume(store, resource, each, blocks, size_gib=size_gib) for each, blocks in volumes.items())
    made = manifest(resource, hours=hours, volumes=written)
    if not generation:
        return repository.commit(store, made, key_of(resource))[0]
    key = layout.point_key(resource, made.id, generation)
    store.put(key, seal_manifest(made, key_of(resource), key), IfNoneMatch())
    return key


def read_point(store: MemoryObjects, resource: ResourceName, key: str) -> dict[str, dict[int, bytes]]:
    """{volume: {index: block}} of a restore point, everything verified. Raises AgentError."""
    resource_key = key_of(resource)
    opened = repository.read_manifest(store, key, resource_key)
    found: dict[str, dict[int, bytes]] = {}
    for volume in opened.volumes:
        place = opened.place(volume)
        blocks: dict[int, bytes] = {}
        for entry in TreeReader(place, resource_key, volume.tree(), store).entries():
            at = entry.location
            frame = store.get_range(layout.pack_key(resource, at.pack), at.offset, at.length)
            reader = PackReader(resource, resource_key, at.pack)
            blocks[entry.index] = reader.block(at, frame, place.volume_id, entry.index, entry.digest)
        found[volume.volume_id] = blocks
    return found


def expected(volumes: Volumes) -> dict[str, dict[int, bytes]]:
    """What read_point gives for what write_point was given."""
    return {each: {index: block(number) for index, number in blocks.items()} for each, blocks in volumes.items()}
