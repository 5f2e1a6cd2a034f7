# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealing: AES-256-GCM under a key that each object has for itself, derived from the resource's key and its id."""

from __future__ import annotations

import hmac
import os
from hashlib import sha256
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import AgentError

Kind = Literal["pack", "node", "manifest", "mark"]

MAGIC = b"MAYFLY1"
_KINDS: dict[str, bytes] = {"pack": b"P", "node": b"N", "manifest": b"M", "mark": b"K"}
ID_BYTES = 16
TAG_BYTES = 16


class SealBroken(AgentError):
    """An object is not what it claims to be: truncated, changed, swapped, or sealed with another key."""

    def __init__(self, what: str) -> None:
        super().__init__("ObjectDamaged", f"{what} was changed or is sealed with another key.")


def derive(key: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    """A subkey of 32 bytes (HKDF-SHA256)."""
    return HKDF(SHA256(), 32, salt, info).derive(key)


def new_id() -> bytes:
    """A random id for a pack or a manifest."""
    return os.urandom(ID_BYTES)


def node_id(resource_key: bytes, plain: bytes, place: bytes) -> bytes:
    """A node's id: the same content in the same place has the same, and nobody without the key can guess it."""
    return hmac.new(derive(resource_key, b"names"), place + b"\0" + plain, sha256).digest()


def header(kind: Kind, identity: bytes) -> bytes:
    """The plain beginning of a sealed object."""
    return MAGIC + _KINDS[kind] + identity


def header_bytes(identity_bytes: int) -> int:
    """Length of the beginning."""
    return len(MAGIC) + 1 + identity_bytes


class Sealer:
    """Seals and opens the parts of one object; each counter may be sealed once."""

    def __init__(self, kind: Kind, resource_key: bytes, identity: bytes) -> None:
        self._cipher = AESGCM(derive(resource_key, kind.encode(), identity))

    def seal(self, counter: int, plain: bytes, associated: bytes) -> bytes:
        """The sealed part, 16 bytes longer."""
        return self._cipher.encrypt(counter.to_bytes(12, "big"), plain, associated)

    def open(self, counter: int, sealed: bytes, associated: bytes, what: str) -> bytes:
        """The plain part; raises SealBroken naming ``what``."""
        try:
            return self._cipher.decrypt(counter.to_bytes(12, "big"), sealed, associated)
        except InvalidTag as error:
            raise SealBroken(what) from error


def seal_object(kind: Kind, resource_key: bytes, identity: bytes, plain: bytes, associated: bytes) -> bytes:
    """A whole object of one part."""
    return header(kind, identity) + Sealer(kind, resource_key, identity).seal(0, plain, associated)


def open_object(kind: Kind, resource_key: bytes, body: bytes, associated: bytes, *, what: str, id_bytes: int) -> bytes:
    """The reverse; raises SealBroken."""
    start = header_bytes(id_bytes)
    identity = body[start - id_bytes : start]
    if len(body) < start + TAG_BYTES or body[:start] != header(kind, identity):
        raise SealBroken(what)
    return Sealer(kind, resource_key, identity).open(0, body[start:], associated, what)
