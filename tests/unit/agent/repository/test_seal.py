# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing: what is sealed opens in its place with its key, and nowhere else; no counter is used twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mayfly_agent.repository import seal

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
KINDS = ("pack", "node", "manifest")
PLACE = b"a place"
kinds = st.sampled_from(KINDS)


def identity_of(kind: seal.Kind) -> bytes:
    return bytes(range(seal.NODE_ID_BYTES if kind == "node" else seal.ID_BYTES))


def sealed(kind: seal.Kind, plain: bytes = b"something plain", place: bytes = PLACE) -> bytes:
    return seal.seal_object(kind, KEY, identity_of(kind), plain, place)


@given(kinds, st.binary(max_size=300), st.binary(max_size=80))
def test_what_was_sealed_is_opened(kind: seal.Kind, plain: bytes, place: bytes) -> None:
    body = sealed(kind, plain, place)
    assert seal.open_object(kind, KEY, body, place, what="it") == plain
    assert seal.open_object(kind, KEY, body, place, what="it", identity=identity_of(kind)) == plain


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_bit_is_told(kind: seal.Kind) -> None:
    body = sealed(kind)
    for bit in range(len(body) * 8):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(seal.SealBroken):
            seal.open_object(kind, KEY, bytes(changed), PLACE, what="it")


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_and_addition_is_told(kind: seal.Kind) -> None:
    body = sealed(kind)
    for changed in [body[:length] for length in range(len(body))] + [body + b"\0", b"\0" + body]:
        with pytest.raises(seal.SealBroken):
            seal.open_object(kind, KEY, changed, PLACE, what="it")


@given(kinds, st.binary(max_size=200))
def test_arbitrary_bytes_are_no_object(kind: seal.Kind, body: bytes) -> None:
    with pytest.raises(seal.SealBroken):
        seal.open_object(kind, KEY, body, PLACE, what="it")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opened_as", KINDS)
def test_an_object_of_one_kind_opens_as_no_other(kind: seal.Kind, opened_as: seal.Kind) -> None:
    if kind == opened_as:
        return
    with pytest.raises(seal.SealBroken):
        seal.open_object(opened_as, KEY, sealed(kind), PLACE, what="it")


@pytest.mark.parametrize("kind", KINDS)
def test_another_place_another_id_another_key(kind: seal.Kind) -> None:
    body = sealed(kind)
    with pytest.raises(seal.SealBroken):
        seal.open_object(kind, KEY, body, b"another place", what="it")
    with pytest.raises(seal.SealBroken):
        seal.open_object(kind, KEY, body, PLACE, what="it", identity=bytes(len(identity_of(kind))))
    with pytest.raises(seal.OtherKey, match=f"{seal.key_id(KEY).hex()}, not with {seal.key_id(OTHER_KEY).hex()}"):
        seal.open_object(kind, OTHER_KEY, body, PLACE, what="it")


def test_the_keys_id_is_no_beginning_of_a_key_in_use() -> None:
    used = [KEY, seal.derive(KEY, b"mayfly names 1")]
    assert not any(key.startswith(seal.key_id(KEY)) for key in used)
    assert seal.key_id(KEY) != seal.key_id(OTHER_KEY)


def test_an_object_is_sealed_under_a_key_of_its_own() -> None:
    """The same text, counter and place give another ciphertext for each kind and id, and for each key."""
    parts = {
        seal.Sealer(kind, key, identity).seal(0, b"text", PLACE)
        for kind in KINDS
        for key in (KEY, OTHER_KEY)
        for identity in (b"1" * 16, b"2" * 16, b"1" * 32, b"1" * 16 + bytes(16))
    }
    assert len(parts) == len(KINDS) * 2 * 4


@given(st.lists(st.integers(0, 2**64 - 1), unique=True), st.integers(0, 2**64 - 1))
def test_no_counter_is_sealed_twice(counters: list[int], next_one: int) -> None:
    """Only what is above all that were sealed can be sealed."""
    sealer = seal.Sealer("pack", KEY, b"i" * 16)
    for counter in sorted(counters):
        sealer.seal(counter, b"text", b"")
    if next_one > max(counters, default=-1):
        assert sealer.seal(next_one, b"text", b"")
    else:
        with pytest.raises(ValueError, match="was to be sealed after part"):
            sealer.seal(next_one, b"text", b"")


lists = st.lists(st.binary(max_size=6), max_size=4)


@given(lists, lists)
def test_different_fields_never_give_the_same_bytes(first: list[bytes], second: list[bytes]) -> None:
    assert (seal.fields(*first) == seal.fields(*second)) == (first == second)


@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 20))
def test_a_nodes_id_tells_its_place_from_its_text(place: bytes, plain: bytes, moved: int) -> None:
    """Bytes that wander from the text to the place make another id."""
    other_place, other_plain = place + plain[:moved], plain[moved:]
    same = (other_place, other_plain) == (place, plain)
    assert (seal.node_id(KEY, place, plain) == seal.node_id(KEY, other_place, other_plain)) == same
    assert seal.node_id(KEY, place, plain) != seal.node_id(OTHER_KEY, place, plain)
