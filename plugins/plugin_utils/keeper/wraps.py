# SPDX-License-Identifier: GPL-3.0-or-later
"""What wraps a repository's keys and opens them: a KMS key, a passphrase, a recovery key, as the settings name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ..agent_library import ensure_agent_library
from .clients import SessionClients
from .errors import KeeperError

ensure_agent_library()

from mayfly_agent.errors import AgentError  # noqa: E402
from mayfly_agent.repository import keys  # noqa: E402

SEE = "group_vars/all/repositories.yml says what mayfly_repository holds."
# Of one kind and one key: who can write to the bucket can add wraps, and scrypt takes 0.4 s for each.
_WRAPS_TRIED = 32
NAMES = {"kms": "kms_key_id", "passphrase": "passphrase", "recovery": "recovery_key"}
Wraps = Mapping[int, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Means:
    """One way to wrap a key: ``wrap`` and ``open`` take (key or wrap, repository's id, number of the key).

    ``open`` raises AgentError, BotoCoreError or ClientError for a wrap that it does not open.
    """

    kind: str
    wrap: Callable[[bytes, str, int], dict[str, Any]]
    open: Callable[[Mapping[str, Any], str, int], bytes]


def means_of(clients: SessionClients, setting: Mapping[str, Any]) -> list[Means]:
    """Those that a repository's setting names; raises AgentError WrongRecoveryKey for what is none."""
    found = []
    if setting.get("kms_key_id"):
        found.append(_kms(clients, setting))
    if setting.get("passphrase"):
        found.append(_passphrase(str(setting["passphrase"])))
    if setting.get("recovery_key"):
        found.append(recovery(keys.recovery_bytes(str(setting["recovery_key"]))))
    return found


def wrapped(means: Sequence[Means], key: bytes, identity: str, number: int) -> list[dict[str, Any]]:
    """A key in a wrap of each; raises KeeperError BadRepository when there is none."""
    if not means:
        names = ", ".join(NAMES.values())
        message = f"mayfly_repository has none of {names}, and no recovery key is to be made: nothing would open it."
        raise KeeperError("BadRepository", message, SEE)
    return [each.wrap(key, identity, number) for each in means]


def opened(means: Sequence[Means], wraps: Wraps, identity: str) -> dict[int, bytes]:
    """All keys of a repository, by their numbers, each from any wrap that one of the means opens.

    Raises KeeperError NoRepositoryKey when there is nothing to try, or what the last one that was tried has raised.
    """
    return {number: _one(means, each, identity, number) for number, each in wraps.items()}


def opens(means: Means, wraps: Sequence[Mapping[str, Any]], identity: str, number: int) -> bytes | None:
    """What it opens a key's wraps to, None when it opens none of them."""
    try:
        return _one([means], wraps, identity, number)
    except (AgentError, BotoCoreError, ClientError, KeeperError):
        return None


def _one(means: Sequence[Means], wraps: Sequence[Mapping[str, Any]], identity: str, number: int) -> bytes:
    failure: Exception | None = None
    for each in means:
        for wrap in islice((wrap for wrap in wraps if wrap["kind"] == each.kind), _WRAPS_TRIED):
            try:
                return each.open(wrap, identity, number)
            except (AgentError, BotoCoreError, ClientError) as error:
                failure = error
    if failure is not None:
        raise failure
    kinds = sorted({str(wrap["kind"]) for wrap in wraps})
    named = " or ".join(NAMES.get(kind, kind) for kind in kinds)
    message = f"Key {number} of the repository is wrapped by {', '.join(kinds)}, and the settings open none of these."
    raise KeeperError("NoRepositoryKey", message, f"Set {named} of mayfly_repository.")


def _kms(clients: SessionClients, setting: Mapping[str, Any]) -> Means:
    """With the setting's own key: whoever can write to the bucket must not choose another one for us."""
    kms = clients.client(str(setting["account"]), str(setting["region"]), "kms")
    named = setting["kms_key_id"]

    def wrap(key: bytes, identity: str, number: int) -> dict[str, Any]:
        arn = kms.describe_key(KeyId=named)["KeyMetadata"]["Arn"]

        def encrypt(plain: bytes, about: dict[str, str]) -> bytes:
            return bytes(kms.encrypt(KeyId=arn, Plaintext=plain, EncryptionContext=about)["CiphertextBlob"])

        return keys.wrap_with_kms(key, arn, encrypt, identity, number)

    def decrypt(sealed: bytes, about: dict[str, str]) -> bytes:
        return bytes(kms.decrypt(CiphertextBlob=sealed, EncryptionContext=about, KeyId=named)["Plaintext"])

    return Means("kms", wrap, lambda each, identity, number: keys.unwrap_with_kms(each, decrypt, identity, number))


def _passphrase(text: str) -> Means:
    return Means(
        "passphrase",
        lambda key, identity, number: keys.wrap_with_passphrase(key, text, identity, number),
        lambda wrap, identity, number: keys.unwrap_with_passphrase(wrap, text, identity, number),
    )


def recovery(secret: bytes) -> Means:
    """A recovery key, which may be one that is made now."""
    return Means(
        "recovery",
        lambda key, identity, number: keys.wrap_with_recovery_key(key, secret, identity, number),
        lambda wrap, identity, number: keys.unwrap_with_recovery_key(wrap, secret, identity, number),
    )
