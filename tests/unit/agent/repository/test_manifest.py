# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests: what was committed is read back, under its own key only, and nothing else passes for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mayfly_agent.blocks import VolumeDigest, levels_of
from mayfly_agent.errors import AgentError
from mayfly_agent.repository import layout, repository, seal
from mayfly_agent.repository.compression import compress
from mayfly_agent.repository.manifest import MAXIMUM_BYTES, Manifest, VolumeRecord, open_manifest, seal_manifest
from mayfly_agent.repository.trees import Place

from tests.unit.agent.memory import MemoryObjects
from tests.unit.agent.repository.points import KEY, OTHER, RESOURCE, key_of, manifest, record
from tests.unit.agent.repository.test_layout import parts

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), values, max_size=4)
hexadecimal = st.binary(min_size=32, max_size=32).map(bytes.hex)


@st.composite
def volumes(draw: st.DrawFn) -> VolumeRecord:
    size_gib = draw(st.sampled_from([1, 511, 512, 513, 65_536, 524_288]) | st.integers(1, 524_288))
    root = draw(st.none() | hexadecimal)
    size = size_gib * 2048
    return record(
        draw(parts),
        device=draw(st.text()),
        size_gib=size_gib,
        levels=levels_of(size),
        root=root,
        blocks=draw(st.integers(1, size)) if root else 0,
        digest=draw(hexadecimal) if root else VolumeDigest(size).hexdigest(),
        seconds=draw(st.floats(0, 1e6) | st.integers(0, 10)),
        attributes=draw(objects),
        sealed_as=draw(st.none() | parts),
    )


manifests = st.builds(
    manifest,
    st.sampled_from([RESOURCE, OTHER]),
    hours=st.integers(0, 100),
    agent=st.text(),
    settings=objects,
    parent=st.none() | st.text(),
    volumes=st.lists(volumes(), max_size=3, unique_by=lambda each: each.volume_id).map(tuple),
)


def key_for(made: Manifest, generation: int = 0) -> str:
    return layout.point_key(made.name, made.id, generation)


@given(manifests, st.integers(0, 20))
def test_a_manifest_is_read_back(made: Manifest, generation: int) -> None:
    key = key_for(made, generation)
    assert open_manifest(seal_manifest(made, KEY, key), KEY, key) == made


@given(manifests)
def test_a_volumes_tree_lies_where_it_was_sealed(made: Manifest) -> None:
    for volume in made.volumes:
        assert made.place(volume) == Place(made.name, volume.sealed_as or volume.volume_id)
        assert volume.tree().levels == volume.levels


def stored(plain: Any, key: str | None = None, resource_key: bytes = KEY) -> MemoryObjects:
    """A store with one object at the place of manifest(): sealed properly, whatever is in it."""
    body = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
    store, at = MemoryObjects(), key_for(manifest())
    place = seal.fields(b"manifest", (key or at).encode())
    store.put(at, seal.seal_object("manifest", resource_key, bytes(16), compress(body), place))
    return store


def read(store: MemoryObjects) -> Manifest:
    return repository.read_manifest(store, key_for(manifest()), KEY)


def test_unknown_fields_are_left_out() -> None:
    value = manifest(volumes=(record(),)).to_dict()
    value |= {"new": 1, "volumes": [{**value["volumes"][0], "new": "full"}], "needs": []}
    assert read(stored(value)) == manifest(volumes=(record(),))


def test_what_is_not_written_yet_may_lack() -> None:
    value = manifest(volumes=(record(),)).to_dict()
    del value["parent"]
    for each in ("sealed_as", "attributes", "method", "reason", "blocks_stored"):
        del value["volumes"][0][each]
    assert read(stored(value)) == manifest(volumes=(record(),))


@pytest.mark.parametrize("wrong", [{"format": 2}, {"format": None}, {"format": "1"}, {"needs": ["streams"]}])
def test_a_manifest_of_another_format_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(AgentError, match=r"has format|needs") as raised:
        read(stored({**manifest().to_dict(), **wrong}))
    assert raised.value.code == "RepositoryFormat"


WRONG_VOLUMES: list[dict[str, Any]] = [
    {"volume_id": None},
    {"volume_id": ""},
    {"volume_id": "vol\0"},
    {"volume_id": "\ud800"},
    {"sealed_as": "a/b"},
    {"sealed_as": 5},
    {"size_gib": 0},
    {"size_gib": -1},
    {"size_gib": 524_289},
    {"size_gib": 1.0},
    {"size_gib": True},
    {"size_gib": 513},
    {"levels": 1},
    {"levels": 3},
    {"root": "ab" * 32},
    {"root": "ab" * 31, "blocks": 1},
    {"root": "AB" * 32, "blocks": 1},
    {"root": "ab" * 32, "blocks": 2049},
    {"root": "ab" * 32, "blocks": -1},
    {"root": 5},
    {"blocks": 1},
    {"digest": ""},
    {"digest": "ab" * 32},
    {"method": None},
    {"reason": 5},
    {"blocks_stored": "1"},
    {"digest": "ab" * 32 + "\n"},
    {"seconds": "1"},
    {"attributes": []},
]
WRONG: list[dict[str, Any]] = [
    {"id": "20261124T013000Z-other"},
    {"id": None},
    {"resource": {**manifest().resource, "id": "i-0def"}},
    {"resource": {**manifest().resource, "account": "1"}},
    {"resource": {"id": "i-0abc"}},
    {"resource": []},
    {"settings": None},
    {"time": 5},
    {"parent": []},
    *(
        {name: wrong}
        for name in ("locked_until", "objects_locked_until")
        for wrong in (5, "soon", "2026-11-24T01:30:00")
    ),
    {"lock_mode": 5},
    {"volumes": None},
    {"volumes": {}},
    {"volumes": [[]]},
    {"volumes": [5]},
    {"volumes": [None]},
    {"volumes": ["volume_id"]},
    {"volumes": [{}]},
    {"volumes": [record().__dict__, record().__dict__]},
    *({"volumes": [{**record().__dict__, **each}]} for each in WRONG_VOLUMES),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: repr(wrong)[:60].encode("ascii", "replace").decode())
def test_what_is_sealed_but_no_manifest_is_damage(wrong: dict[str, Any]) -> None:
    with pytest.raises(AgentError) as raised:
        read(stored({**manifest().to_dict(), **wrong}))
    assert raised.value.code == "RestorePointDamaged"


OPTIONAL = ("format", "parent", "locked_until", "lock_mode", "objects_locked_until")


@pytest.mark.parametrize("field", [each for each in manifest().to_dict() if each not in OPTIONAL])
def test_a_field_that_lacks_is_damage(field: str) -> None:
    value = manifest().to_dict()
    del value[field]
    with pytest.raises(AgentError) as raised:
        read(stored(value))
    assert raised.value.code == "RestorePointDamaged"


@pytest.mark.parametrize(
    "plain",
    [b"", b"no JSON", b"\xff", b"[]", b"null", b'"text"', b"[" * 100_000, b"1" * 10_000, bytes(MAXIMUM_BYTES + 1)],
    ids=["nothing", "text", "no text", "list", "null", "string", "deep", "long number", "too long"],
)
def test_nothing_that_can_be_sealed_raises_anything_else(plain: bytes) -> None:
    with pytest.raises(AgentError) as raised:
        read(stored(plain))
    assert raised.value.code == "RestorePointDamaged"


def test_a_frame_that_promises_a_terabyte_is_not_believed() -> None:
    """Only who has the resource's key, as a worker has, can seal one; the controller opens it."""
    promise = b"\x28\xb5\x2f\xfd\xe0" + (2**40).to_bytes(8, "little") + compress(b"x")[6:]
    store, key = MemoryObjects(), key_for(manifest())
    place = seal.fields(b"manifest", key.encode())
    store.put(key, seal.seal_object("manifest", KEY, bytes(16), promise, place))
    with pytest.raises(AgentError, match="does not give 1 to 16777216 bytes"):
        read(store)


@given(values)
def test_no_json_raises_anything_else(value: Any) -> None:
    with pytest.raises(AgentError) as raised:
        read(stored(value))
    assert raised.value.code in ("RestorePointDamaged", "RepositoryFormat")


@given(st.dictionaries(st.sampled_from(sorted(manifest().to_dict())), values, min_size=1, max_size=3))
def test_no_field_raises_anything_else(wrong: dict[str, Any]) -> None:
    try:
        opened = read(stored({**manifest().to_dict(), **wrong}))
    except AgentError as error:
        assert error.code in ("RestorePointDamaged", "RepositoryFormat")  # noqa: PT017 - either is right
    else:
        assert opened.id == manifest().id


def test_every_flipped_bit_and_truncation_is_told() -> None:
    store = MemoryObjects()
    key, _ = repository.commit(store, manifest(volumes=(record(),)), KEY)
    body = store.objects[key]
    flips = (
        body[: bit // 8] + bytes([body[bit // 8] ^ 1 << bit % 8]) + body[bit // 8 + 1 :] for bit in range(len(body) * 8)
    )
    for changed in (*flips, *(body[:length] for length in range(len(body))), body + b"\0"):
        store.objects[key] = changed
        with pytest.raises(AgentError) as raised:
            read(store)
        assert raised.value.code == "RestorePointDamaged"


@pytest.mark.parametrize(
    "elsewhere",
    [
        key_for(manifest(hours=1)),
        key_for(manifest(), 1),
        key_for(manifest(OTHER)),
        f"prefix/{key_for(manifest())}",
    ],
    ids=["time", "generation", "resource", "prefix"],
)
def test_a_manifest_opens_under_its_own_key_only(elsewhere: str) -> None:
    body = seal_manifest(manifest(), KEY, key_for(manifest()))
    with pytest.raises(seal.SealBroken):
        open_manifest(body, KEY, elsewhere)
    with pytest.raises(AgentError):
        read(stored(manifest().to_dict(), key=elsewhere))


def test_another_resources_key_is_said_to_be_another() -> None:
    with pytest.raises(AgentError, match="is sealed with the key"):
        read(stored(manifest().to_dict(), resource_key=key_of(OTHER)))


@pytest.mark.parametrize(
    ("made", "key"),
    [
        (manifest(), key_for(manifest(hours=1))),
        (manifest(), key_for(manifest(OTHER))),
        (manifest(), f"{RESOURCE.path}/points/latest"),
        (manifest(volumes=(record(levels=1),)), key_for(manifest())),
        (manifest(volumes=(record(), record())), key_for(manifest())),
        (manifest(settings={"text": "x" * MAXIMUM_BYTES}), key_for(manifest())),
        (manifest(volumes=(record(seconds=float("nan")),)), key_for(manifest())),
    ],
    ids=["time", "resource", "no point", "levels", "twice", "too long", "not a number"],
)
def test_what_could_not_be_read_again_is_never_written(made: Manifest, key: str) -> None:
    with pytest.raises(ValueError, match=r"manifest|tree|twice|too long|not JSON"):
        seal_manifest(made, KEY, key)
