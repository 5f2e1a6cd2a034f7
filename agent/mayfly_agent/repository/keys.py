# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository's key, its wraps, and the keys that come of it."""

from __future__ import annotations

import base64
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ..errors import AgentError
from .layout import ResourceName
from .seal import ResourceKey, derive, fields

KEY_BYTES = 32
# Wraps are bound to the number of their key: who rotates adds the next, and no old key can be passed off as the newest.
FIRST_KEY = 1
# 128 MiB and about 0.4 s for one guess (https://datatracker.ietf.org/doc/html/rfc7914 gives the parameters' meaning).
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**17, 8, 1
# 1 GiB: what a wrap may ask for at most, since anybody who can write to the bucket can ask.
_SCRYPT_MAXIMUM = 2**20 * 8

Encrypt = Callable[[bytes, dict[str, str]], bytes]
Wrap = dict[str, Any]


def new_key() -> bytes:
    """A random key, for a repository or for its recovery."""
    return os.urandom(KEY_BYTES)


def resource_key(master: bytes, resource: ResourceName) -> bytes:
    """The key of one resource: all that a worker ever gets."""
    return derive(master, b"mayfly resource 1\0" + resource.path.encode())


def resource_keys(masters: Mapping[int, bytes], resource: ResourceName) -> ResourceKey:
    """A resource's keys, one of each of the repository's by their numbers: the highest is the newest."""
    newest, *before = (resource_key(masters[number], resource) for number in sorted(masters, reverse=True))
    return ResourceKey(newest, reversed(before))


def wrap_with_passphrase(master: bytes, passphrase: str, repository_id: str, number: int = FIRST_KEY) -> Wrap:
    """The key sealed with a passphrase."""
    salt = os.urandom(16)
    numbers = {"n": _SCRYPT_N, "r": _SCRYPT_R, "p": _SCRYPT_P, "salt": _text(salt)}
    key = _stretched(passphrase, numbers)
    return {"kind": "passphrase", "scrypt": numbers, **_sealed("passphrase", key, master, repository_id, number)}


def unwrap_with_passphrase(
    wrap: Mapping[str, Any], passphrase: str, repository_id: str, number: int = FIRST_KEY
) -> bytes:
    """The reverse; raises AgentError WrongPassphrase, or RepositoryDamaged when it is no wrap."""
    with _well_formed():
        key = _stretched(passphrase, wrap["scrypt"])
    return _opened("passphrase", key, wrap, repository_id, number)


def wrap_with_recovery_key(master: bytes, recovery: bytes, repository_id: str, number: int = FIRST_KEY) -> Wrap:
    """The key sealed with a key that is kept on paper."""
    return {"kind": "recovery", **_sealed("recovery", recovery, master, repository_id, number)}


def unwrap_with_recovery_key(
    wrap: Mapping[str, Any], recovery: bytes, repository_id: str, number: int = FIRST_KEY
) -> bytes:
    """The reverse; raises AgentError WrongRecoveryKey, or RepositoryDamaged when it is no wrap."""
    return _opened("recovery", recovery, wrap, repository_id, number)


def wrap_with_kms(master: bytes, key_arn: str, encrypt: Encrypt, repository_id: str, number: int = FIRST_KEY) -> Wrap:
    """The key encrypted by KMS; ``encrypt`` takes the bytes and the encryption context."""
    sealed = encrypt(master, _context(repository_id, number))
    return {"kind": "kms", "key_arn": key_arn, "ciphertext": _text(sealed)}


def unwrap_with_kms(wrap: Mapping[str, Any], decrypt: Encrypt, repository_id: str, number: int = FIRST_KEY) -> bytes:
    """The reverse; raises what ``decrypt`` raises, or AgentError RepositoryDamaged when it is no wrap.

    ``decrypt`` must name to KMS the key of its own settings, not the wrap's: else who can write to the bucket could
    give a key of his own.
    """
    with _well_formed():
        ciphertext = _bytes(wrap["ciphertext"])
    return _of_right_length(decrypt(ciphertext, _context(repository_id, number)))


def recovery_text(recovery: bytes) -> str:
    """A recovery key as people write it down: groups of four letters and digits."""
    letters = base64.b32encode(recovery).decode().rstrip("=")
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def recovery_bytes(text: str) -> bytes:
    """The reverse, whatever the spaces and the case; raises AgentError WrongRecoveryKey when it is no such key."""
    letters = "".join(text.replace("-", "").split()).upper()
    try:
        key = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError as error:
        raise AgentError("WrongRecoveryKey", "The recovery key has letters that no such key has.") from error
    if len(key) != KEY_BYTES:
        raise AgentError("WrongRecoveryKey", "The recovery key is too short or too long.")
    if recovery_text(key).replace("-", "") != letters:  # the last letter holds one bit alone
        raise AgentError("WrongRecoveryKey", "The recovery key's last letter is wrong.")
    return key


def _stretched(passphrase: str, numbers: Mapping[str, Any]) -> bytes:
    n, r, p = (int(numbers[each]) for each in ("n", "r", "p"))
    if n * r > _SCRYPT_MAXIMUM or p > 1:
        raise ValueError(f"scrypt with n {n}, r {r}, p {p} takes too much")
    # The same words typed on two keyboards can be two texts: one form of them counts.
    return Scrypt(_bytes(numbers["salt"]), KEY_BYTES, n, r, p).derive(unicodedata.normalize("NFC", passphrase).encode())


def _sealed(kind: str, key: bytes, master: bytes, repository_id: str, number: int) -> Wrap:
    nonce = os.urandom(12)
    sealed = AESGCM(key).encrypt(nonce, master, _place(kind, repository_id, number))
    return {"nonce": _text(nonce), "ciphertext": _text(sealed)}


def _opened(kind: str, key: bytes, wrap: Mapping[str, Any], repository_id: str, number: int) -> bytes:
    try:
        with _well_formed():
            cipher, nonce, ciphertext = AESGCM(key), _bytes(wrap["nonce"]), _bytes(wrap["ciphertext"])
            return _of_right_length(cipher.decrypt(nonce, ciphertext, _place(kind, repository_id, number)))
    except InvalidTag as error:
        code, what = {"passphrase": ("WrongPassphrase", kind), "recovery": ("WrongRecoveryKey", "recovery key")}[kind]
        message = f"The {what} does not open the repository's key {number}."
        remedy = f"Give the {what} that the repository was made with, or one that was added."
        raise AgentError(code, message, remedy) from error


@contextmanager
def _well_formed() -> Iterator[None]:
    """Anybody who can write to the bucket can write a wrap: it may hold anything."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise AgentError("RepositoryDamaged", f"A wrap of the repository's key cannot be read: {error!r}.") from error


def _of_right_length(master: bytes) -> bytes:
    if len(master) != KEY_BYTES:
        raise AgentError("RepositoryDamaged", f"A wrap of the repository's key holds {len(master)} bytes.")
    return master


def _place(kind: str, repository_id: str, number: int) -> bytes:
    return fields(b"wrap", kind.encode(), repository_id.encode(), str(number).encode())


def _context(repository_id: str, number: int) -> dict[str, str]:
    return {"mayfly:repository": repository_id, "mayfly:key": str(number)}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(value: str) -> bytes:
    return base64.b64decode(value, validate=True)
