# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository's key, its wraps, and the keys that come of it."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ..errors import AgentError
from .layout import ResourceName
from .seal import derive

KEY_BYTES = 32
# 128 MiB and about 0.4 s for one guess (https://datatracker.ietf.org/doc/html/rfc7914 gives the parameters' meaning).
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 2**17, 8, 1

Encrypt = Callable[[bytes, dict[str, str]], bytes]
Wrap = dict[str, Any]


def new_key() -> bytes:
    """A random key, for a repository or for its recovery."""
    return os.urandom(KEY_BYTES)


def resource_key(master: bytes, resource: ResourceName) -> bytes:
    """The key of one resource: all that a worker ever gets."""
    return derive(master, b"mayfly resource 1\0" + resource.path.encode())


def wrap_with_passphrase(master: bytes, passphrase: str, repository_id: str) -> Wrap:
    """The key sealed with a passphrase."""
    salt = os.urandom(16)
    numbers = {"n": _SCRYPT_N, "r": _SCRYPT_R, "p": _SCRYPT_P, "salt": _text(salt)}
    return {"kind": "passphrase", "scrypt": numbers, **_sealed(_stretched(passphrase, numbers), master, repository_id)}


def unwrap_with_passphrase(wrap: Mapping[str, Any], passphrase: str, repository_id: str) -> bytes:
    """The reverse; raises AgentError WrongPassphrase."""
    return _opened(_stretched(passphrase, wrap["scrypt"]), wrap, repository_id, "WrongPassphrase", "passphrase")


def wrap_with_recovery_key(master: bytes, recovery: bytes, repository_id: str) -> Wrap:
    """The key sealed with a key that is kept on paper."""
    return {"kind": "recovery", **_sealed(recovery, master, repository_id)}


def unwrap_with_recovery_key(wrap: Mapping[str, Any], recovery: bytes, repository_id: str) -> bytes:
    """The reverse; raises AgentError WrongRecoveryKey."""
    return _opened(recovery, wrap, repository_id, "WrongRecoveryKey", "recovery key")


def wrap_with_kms(master: bytes, key_arn: str, encrypt: Encrypt, repository_id: str) -> Wrap:
    """The key encrypted by KMS; ``encrypt`` takes the bytes and the encryption context."""
    sealed = encrypt(master, {"mayfly:repository": repository_id})
    return {"kind": "kms", "key_arn": key_arn, "ciphertext": _text(sealed)}


def unwrap_with_kms(wrap: Mapping[str, Any], decrypt: Encrypt, repository_id: str) -> bytes:
    """The reverse; raises what ``decrypt`` raises."""
    return decrypt(_bytes(wrap["ciphertext"]), {"mayfly:repository": repository_id})


def recovery_text(recovery: bytes) -> str:
    """A recovery key as people write it down: groups of four letters and digits."""
    letters = base64.b32encode(recovery).decode().rstrip("=")
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def recovery_bytes(text: str) -> bytes:
    """The reverse; raises AgentError when it is no such key."""
    letters = text.replace("-", "").replace(" ", "").upper()
    try:
        key = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError as error:
        raise AgentError("WrongRecoveryKey", "The recovery key has letters that no such key has.") from error
    if len(key) != KEY_BYTES:
        raise AgentError("WrongRecoveryKey", "The recovery key is too short or too long.")
    return key


def _stretched(passphrase: str, numbers: Mapping[str, Any]) -> bytes:
    scrypt = Scrypt(_bytes(numbers["salt"]), KEY_BYTES, int(numbers["n"]), int(numbers["r"]), int(numbers["p"]))
    return scrypt.derive(passphrase.encode())


def _sealed(key: bytes, master: bytes, repository_id: str) -> Wrap:
    nonce = os.urandom(12)
    sealed = AESGCM(key).encrypt(nonce, master, repository_id.encode())
    return {"nonce": _text(nonce), "ciphertext": _text(sealed)}


def _opened(key: bytes, wrap: Mapping[str, Any], repository_id: str, code: str, what: str) -> bytes:
    try:
        return AESGCM(key).decrypt(_bytes(wrap["nonce"]), _bytes(wrap["ciphertext"]), repository_id.encode())
    except InvalidTag as error:
        message = f"The {what} does not open the repository's key."
        raise AgentError(code, message, f"Give the {what} that the repository was made with.") from error


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(value: str) -> bytes:
    return base64.b64decode(value)
