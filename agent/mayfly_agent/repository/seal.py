# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing: AES-256-GCM under a key that each object has for itself, derived from the resource's key and its id."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Literal, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import AgentError

Kind = Literal["pack", "node", "manifest", "mark", "lease"]

MAGIC = b"MAYFLY1"
_KINDS: dict[Kind, bytes] = {"pack": b"P", "node": b"N", "manifest": b"M", "mark": b"K", "lease": b"L"}
ID_BYTES = 16
NODE_ID_BYTES = 32
KEY_ID_BYTES = 8
TAG_BYTES = 16


class SealBroken(AgentError):
    """An object is not what it claims to be: truncated, changed, swapped, or sealed with another key."""

    def __init__(self, what: str, how: str = "was changed or is sealed with another key") -> None:
        super().__init__("ObjectDamaged", f"{what} {how}.")


class OtherKey(SealBroken):
    """An object says that another key than those at hand has sealed it."""

    def __init__(self, what: str, named: bytes, given: Iterable[bytes]) -> None:
        ids = " or ".join(each.hex() for each in given)
        super().__init__(what, f"is sealed with the key {named.hex()}, not with {ids}, or was changed")


class ResourceKey(bytes):
    """The newest key of a resource, which seals what is written, with those ``before`` it, which still open what they
    have sealed. Plain bytes in its place are a key that none was before.
    """

    before: tuple[bytes, ...]

    def __new__(cls, newest: bytes, before: Iterable[bytes] = ()) -> Self:
        made = super().__new__(cls, newest)
        made.before = tuple(before)
        return made


def fields(*parts: bytes) -> bytes:
    """The parts, each behind its length in 4 bytes: no other parts give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def derive(key: bytes, info: bytes) -> bytes:
    """A subkey of 32 bytes (HKDF-SHA256). Without a salt: every key that comes in is random or derived already."""
    return HKDF(SHA256(), 32, None, info).derive(key)


def key_id(resource_key: bytes) -> bytes:
    """What sealed objects call the key by: it tells the keys of a resource apart and says nothing about them."""
    return derive(resource_key, b"mayfly key id 1")[:KEY_ID_BYTES]


def every(resource_key: bytes) -> tuple[bytes, ...]:
    """All keys of a resource, the newest first."""
    before = resource_key.before if isinstance(resource_key, ResourceKey) else ()
    return (bytes(resource_key), *reversed(before))


def key_of(resource_key: bytes, named: bytes, what: str) -> bytes:
    """The one of a resource's keys that is called ``named``; raises OtherKey."""
    ids = {key_id(each): each for each in every(resource_key)}
    if named not in ids:
        raise OtherKey(what, named, ids)
    return ids[named]


def new_id() -> bytes:
    """A random id for a pack, a manifest or a mark."""
    return os.urandom(ID_BYTES)


def node_id(resource_key: bytes, place: bytes, plain: bytes) -> bytes:
    """A node's id: the same content in the same place has the same, and nobody without the key can guess it.

    ``plain`` must be the very bytes that are sealed under this id, else one key would seal two different texts.
    """
    return hmac.new(derive(resource_key, b"mayfly names 1"), fields(place, plain), sha256).digest()


def header(kind: Kind, resource_key: bytes, identity: bytes) -> bytes:
    """The plain beginning of a sealed object."""
    return MAGIC + _KINDS[kind] + key_id(resource_key) + identity


def header_bytes(kind: Kind) -> int:
    """Length of the beginning."""
    return len(MAGIC) + 1 + KEY_ID_BYTES + (NODE_ID_BYTES if kind == "node" else ID_BYTES)


def read_header(kind: Kind, resource_key: bytes, body: bytes, what: str) -> tuple[bytes, bytes]:
    """(key, id) by an object's beginning: the one of the resource's keys that has sealed it, and its own id.

    Raises SealBroken, or OtherKey when no key at hand can open it.
    """
    before = len(MAGIC) + 1
    if len(body) < header_bytes(kind) or body[:before] != MAGIC + _KINDS[kind]:
        raise SealBroken(what)
    key = key_of(resource_key, body[before : before + KEY_ID_BYTES], what)
    return key, body[before + KEY_ID_BYTES : header_bytes(kind)]


class Sealer:
    """Seals and opens the parts of one object. Counters must ascend, so that none is ever sealed twice."""

    def __init__(self, kind: Kind, resource_key: bytes, identity: bytes) -> None:
        self._cipher = AESGCM(derive(resource_key, b"mayfly object 1\0" + _KINDS[kind] + identity))
        self._sealed = -1

    def seal(self, counter: int, plain: bytes, associated: bytes) -> bytes:
        """The sealed part, 16 bytes longer; raises ValueError for a counter that is not above the last one."""
        if counter <= self._sealed:
            raise ValueError(f"part {counter} of an object was to be sealed after part {self._sealed}")
        self._sealed = counter
        return self._cipher.encrypt(counter.to_bytes(12, "big"), plain, associated)

    def open(self, counter: int, sealed: bytes, associated: bytes, what: str) -> bytes:
        """The plain part; raises SealBroken naming ``what``."""
        try:
            return self._cipher.decrypt(counter.to_bytes(12, "big"), sealed, associated)
        except InvalidTag as error:
            raise SealBroken(what) from error


def seal_object(kind: Kind, resource_key: bytes, identity: bytes, plain: bytes, associated: bytes) -> bytes:
    """A whole object of one part."""
    sealed = Sealer(kind, resource_key, identity).seal(0, plain, associated)
    return header(kind, resource_key, identity) + sealed


def open_object(
    kind: Kind, resource_key: bytes, body: bytes, associated: bytes, *, what: str, identity: bytes | None = None
) -> bytes:
    """The reverse; raises SealBroken, also when ``identity`` is given and the object bears another id.

    Raises OtherKey only when no key at hand opens it: the name of the key itself is not under the seal.
    """
    return open_with_key(kind, resource_key, body, associated, what=what, identity=identity)[1]


def open_with_key(
    kind: Kind, resource_key: bytes, body: bytes, associated: bytes, *, what: str, identity: bytes | None = None
) -> tuple[bytes, bytes]:
    """(the key that has sealed it, what open_object gives); raises as that."""
    try:
        key, found = read_header(kind, resource_key, body, what)
    except OtherKey:
        found = body[len(header(kind, resource_key, b"")) : header_bytes(kind)]
        if identity not in (None, found) or _opens(kind, resource_key, body, associated, found):
            raise SealBroken(what) from None
        raise
    if identity is not None and found != identity:
        raise SealBroken(what)
    return key, Sealer(kind, key, found).open(0, body[header_bytes(kind) :], associated, what)


def _opens(kind: Kind, resource_key: bytes, body: bytes, associated: bytes, identity: bytes) -> bool:
    """Whether any key at hand opens an object, whichever it names."""
    for key in every(resource_key):
        with suppress(SealBroken):
            Sealer(kind, key, identity).open(0, body[header_bytes(kind) :], associated, "")
            return True
    return False
