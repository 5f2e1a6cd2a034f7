# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/repository-format.md is enough to read a repository, and its examples are right."""

from __future__ import annotations

from pathlib import Path

import pytest
from mayfly_agent.blocks import VolumeDigest
from mayfly_agent.repository import keys, repository, seal
from mayfly_agent.repository.packs import Location
from mayfly_agent.repository.trees import Entry, Place, TreeWriter

from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository import by_the_book
from tests.unit.agent.repository.points import (
    KEY,
    MASTER,
    RESOURCE,
    Volumes,
    block,
    digest,
    expected,
    manifest,
    write_point,
    write_volume,
)

KEYS = {seal.key_id(KEY): KEY}
VOLUMES: Volumes = {"vol-1": {0: 1, 1: 2, 1023: 3, 1024: 4, 2047: 5}, "vol-2": {}, "vol-3": {5: 1}}


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs/repository-format.md").read_text()


def test_a_reader_written_from_the_page_reads_what_the_agent_writes() -> None:
    store = MemoryObjects()
    words = "correct horse"
    repository.create(store, lambda identity: [keys.wrap_with_passphrase(MASTER, words, identity)])
    write_point(store, RESOURCE, {"vol-1": {9: 9}})
    for generation in (0, 9, 10):
        write_point(store, RESOURCE, VOLUMES, hours=1, generation=generation)
    found = by_the_book.keys_of(RESOURCE.path, by_the_book.repository_keys(store.objects, words))
    point = by_the_book.newest_point(store.objects, RESOURCE.path)
    assert point.endswith(f"{manifest(hours=1).id}.10")
    read = by_the_book.read_manifest(store.objects, found, point)
    volumes = {
        each["volume_id"]: by_the_book.read_volume(store.objects, found, RESOURCE.path, each)
        for each in read["volumes"]
    }
    assert volumes == expected(VOLUMES)


def test_it_reads_a_large_volume_and_one_that_took_anothers_place() -> None:
    """Three levels; sealed under the id of the volume before."""
    store, blocks = MemoryObjects(), {0: 1, 2**20: 2, 2**27 - 1: 3}
    written = write_volume(store, RESOURCE, "vol-before", blocks, size_gib=65_536)
    now = {**written.__dict__, "volume_id": "vol-now", "sealed_as": "vol-before"}
    made = manifest(volumes=(type(written)(**now),))
    key, _ = repository.commit(store, made, KEY)
    (volume,) = by_the_book.read_manifest(store.objects, KEYS, key)["volumes"]
    found = by_the_book.read_volume(store.objects, KEYS, RESOURCE.path, volume)
    assert found == {index: block(number) for index, number in blocks.items()}
    assert made.place(made.volumes[0]) == Place(RESOURCE, "vol-before")


def test_it_reads_the_lists_of_packs() -> None:
    store = MemoryObjects()
    write_point(store, RESOURCE, VOLUMES)
    found: dict[str, dict[int, bytes]] = {}
    for key, body in store.objects.items():
        if "/packs/" in key:
            pack = bytes.fromhex(key.rpartition("/")[2])
            for volume, index, sha256, *_ in by_the_book.read_list(KEY, RESOURCE.path, pack, body):
                found.setdefault(volume, {})[index] = sha256
    wanted = {each: {index: digest(number) for index, number in blocks.items()} for each, blocks in VOLUMES.items()}
    assert found == {each: blocks for each, blocks in wanted.items() if blocks}


def test_the_examples_on_the_page(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, key = b"\1" * 16, seal.key_id(KEY)
    monkeypatch.setattr(seal, "new_id", lambda: b"\3" * 16)
    nodes = MemoryObjects()
    tree = TreeWriter(Place(RESOURCE, "vol-0abc"), KEY, 1024, nodes.put)
    tree.add(Entry(5, b"\2" * 32, Location(pack, key, 0, 32, 100)))
    root = tree.finish()
    (body,) = nodes.objects.values()
    values = [
        KEY.hex(),
        key.hex(),
        seal.derive(KEY, b"mayfly names 1").hex(),
        seal.derive(KEY, b"mayfly object 1\0P" + pack).hex(),
        keys.recovery_text(MASTER),
        root.id,
        body.hex(),
        root.digest,
        by_the_book.node_digest(1, [(0, bytes.fromhex(root.digest))]).hex(),
    ]
    text = page.replace("\n", "")
    assert [each for each in values if each not in text] == []
    assert by_the_book.hkdf(MASTER, b"mayfly resource 1\0" + RESOURCE.path.encode()) == KEY
    (entry,) = by_the_book.Tree(nodes.objects, KEYS, RESOURCE.path, "vol-0abc").entries(
        0, 0, bytes.fromhex(root.id), 1, bytes.fromhex(root.digest)
    )
    assert entry == (5, b"\2" * 32, (pack, key), 0, 32, 100)


def test_the_page_names_every_field_of_a_manifest(page: str) -> None:
    volume = write_volume(MemoryObjects(), RESOURCE, "vol-1", {})
    assert volume.digest == VolumeDigest(2048).hexdigest()
    value = manifest(volumes=(volume,)).to_dict()
    names = [*value, *value["volumes"][0]]
    assert [each for each in names if f"| `{each}` |" not in page] == []
