# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository's key: opened by each of its wraps, by nothing else, and a key of its own for every resource."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mayfly_agent.errors import AgentError
from mayfly_agent.repository import keys

from tests.unit.agent.repository.points import MASTER
from tests.unit.agent.repository.test_layout import names

REPOSITORY, ANOTHER = "0" * 32, "1" * 32
RECOVERY = bytes(range(100, 132))
secrets = st.binary(min_size=32, max_size=32)


class Kms:
    """Refuses what was not encrypted with the same context."""

    def encrypt(self, plain: bytes, context: dict[str, str]) -> bytes:
        return repr(sorted(context.items())).encode() + b"\0" + plain

    def decrypt(self, sealed: bytes, context: dict[str, str]) -> bytes:
        about, _, plain = sealed.partition(b"\0")
        if about != repr(sorted(context.items())).encode():
            raise PermissionError("InvalidCiphertextException")
        return plain


def code_of(error: pytest.ExceptionInfo[AgentError]) -> str:
    return error.value.code


@pytest.fixture(scope="module")
def passphrase_wrap() -> keys.Wrap:
    """Made once: scrypt takes 0.4 s each time."""
    return keys.wrap_with_passphrase(MASTER, "pass\u00e9 partout", REPOSITORY)


@pytest.mark.parametrize("typed", ["pass\u00e9 partout", "passe\u0301 partout"])
def test_a_passphrase_opens_its_wrap_however_it_is_typed(passphrase_wrap: keys.Wrap, typed: str) -> None:
    assert keys.unwrap_with_passphrase(passphrase_wrap, typed, REPOSITORY) == MASTER


@pytest.mark.parametrize(("typed", "repository"), [("Pass\u00e9 partout", REPOSITORY), ("pass\u00e9 partout", ANOTHER)])
def test_another_passphrase_or_repository(passphrase_wrap: keys.Wrap, typed: str, repository: str) -> None:
    with pytest.raises(AgentError, match="The passphrase does not open") as raised:
        keys.unwrap_with_passphrase(passphrase_wrap, typed, repository)
    assert code_of(raised) == "WrongPassphrase"


@pytest.mark.parametrize(
    "numbers",
    [
        {"n": 2**21, "r": 8, "p": 1},
        {"n": 2**60, "r": 8, "p": 1},
        {"n": 2**17, "r": 2**20, "p": 1},
        {"n": 2**17, "r": 8, "p": 1000},
        {"n": 3, "r": 8, "p": 1},
        {"n": 0, "r": 0, "p": 0},
        {"n": "many", "r": 8, "p": 1},
        {"n": None, "r": 8, "p": 1},
        {"n": 2**17},
    ],
)
def test_absurd_numbers_for_scrypt_are_refused(passphrase_wrap: keys.Wrap, numbers: dict[str, Any]) -> None:
    wrap = {**passphrase_wrap, "scrypt": {"salt": "AAAA", **numbers}}
    with pytest.raises(AgentError) as raised:
        keys.unwrap_with_passphrase(wrap, "passphrase", REPOSITORY)
    assert code_of(raised) == "RepositoryDamaged"


@given(secrets, secrets)
def test_a_recovery_key_opens_its_wrap(master: bytes, recovery: bytes) -> None:
    wrap = keys.wrap_with_recovery_key(master, recovery, REPOSITORY)
    assert keys.unwrap_with_recovery_key(wrap, recovery, REPOSITORY) == master


@given(secrets.filter(lambda key: key != RECOVERY), st.just(REPOSITORY) | st.just(ANOTHER))
def test_another_recovery_key(recovery: bytes, repository: str) -> None:
    wrap = keys.wrap_with_recovery_key(MASTER, RECOVERY, REPOSITORY)
    with pytest.raises(AgentError, match="The recovery key does not open") as raised:
        keys.unwrap_with_recovery_key(wrap, recovery, repository)
    assert code_of(raised) == "WrongRecoveryKey"


def test_a_wrap_opens_in_its_repository_only() -> None:
    wrap = keys.wrap_with_recovery_key(MASTER, RECOVERY, REPOSITORY)
    with pytest.raises(AgentError) as raised:
        keys.unwrap_with_recovery_key(wrap, RECOVERY, ANOTHER)
    assert code_of(raised) == "WrongRecoveryKey"


def test_a_wrap_of_one_kind_does_not_open_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even under the same key."""
    monkeypatch.setattr(keys, "_stretched", lambda _passphrase, _numbers: RECOVERY)
    wrap = keys.wrap_with_passphrase(MASTER, "", REPOSITORY)
    with pytest.raises(AgentError):
        keys.unwrap_with_recovery_key(wrap, RECOVERY, REPOSITORY)


def test_a_wrap_is_bound_to_its_keys_number(passphrase_wrap: keys.Wrap) -> None:
    recovery = keys.wrap_with_recovery_key(MASTER, RECOVERY, REPOSITORY, 2)
    kms = keys.wrap_with_kms(MASTER, "arn:aws:kms:x", Kms().encrypt, REPOSITORY, 2)
    assert keys.unwrap_with_recovery_key(recovery, RECOVERY, REPOSITORY, 2) == MASTER
    assert keys.unwrap_with_kms(kms, Kms().decrypt, REPOSITORY, 2) == MASTER
    with pytest.raises(AgentError, match="key 3"):
        keys.unwrap_with_recovery_key(recovery, RECOVERY, REPOSITORY, 3)
    with pytest.raises(AgentError, match="key 2"):
        keys.unwrap_with_passphrase(passphrase_wrap, "pass\u00e9 partout", REPOSITORY, 2)
    with pytest.raises(PermissionError):
        keys.unwrap_with_kms(kms, Kms().decrypt, REPOSITORY)


@given(st.data())
def test_a_flipped_bit_in_a_wrap_is_told(data: st.DataObject) -> None:
    wrap = keys.wrap_with_recovery_key(MASTER, RECOVERY, REPOSITORY)
    field = data.draw(st.sampled_from(["nonce", "ciphertext"]))
    value = bytearray(base64.b64decode(wrap[field]))
    value[data.draw(st.integers(0, len(value) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(AgentError) as raised:
        keys.unwrap_with_recovery_key({**wrap, field: base64.b64encode(value).decode()}, RECOVERY, REPOSITORY)
    assert code_of(raised) == "WrongRecoveryKey"


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "AA=="},
        {"nonce": ""},
        {"nonce": None},
        {"nonce": "not base64!"},
        {"nonce": 5},
        {"ciphertext": None},
        {"ciphertext": "no\nbase64"},
        {"ciphertext": []},
    ],
)
def test_a_wrap_of_nonsense_is_damage(wrong: dict[str, Any]) -> None:
    wrap = {**keys.wrap_with_recovery_key(MASTER, RECOVERY, REPOSITORY), **wrong}
    with pytest.raises(AgentError) as raised:
        keys.unwrap_with_recovery_key({each: value for each, value in wrap.items() if value is not None}, RECOVERY, "")
    assert code_of(raised) == "RepositoryDamaged"


@given(st.binary(max_size=64).filter(lambda key: len(key) != 32))
def test_a_key_of_another_length_is_damage(short: bytes) -> None:
    wraps = keys.wrap_with_recovery_key(short, RECOVERY, REPOSITORY), keys.wrap_with_kms(short, "a", Kms().encrypt, "")
    with pytest.raises(AgentError) as raised:
        keys.unwrap_with_recovery_key(wraps[0], RECOVERY, REPOSITORY)
    assert code_of(raised) == "RepositoryDamaged"
    with pytest.raises(AgentError) as raised:
        keys.unwrap_with_kms(wraps[1], Kms().decrypt, "")
    assert code_of(raised) == "RepositoryDamaged"


@given(secrets)
def test_kms_opens_its_wrap_for_its_repository_only(master: bytes) -> None:
    wrap = keys.wrap_with_kms(master, "arn:aws:kms:eu-central-1:111122223333:key/1", Kms().encrypt, REPOSITORY)
    assert keys.unwrap_with_kms(wrap, Kms().decrypt, REPOSITORY) == master
    with pytest.raises(PermissionError):
        keys.unwrap_with_kms(wrap, Kms().decrypt, ANOTHER)


@given(secrets, st.sampled_from(["", " ", "-", "\n", "\t"]), st.booleans())
def test_a_recovery_key_is_read_however_it_is_written(recovery: bytes, between: str, small: bool) -> None:
    text = keys.recovery_text(recovery)
    assert [len(group) for group in text.split("-")] == [4] * 13
    typed = text.replace("-", between)
    assert keys.recovery_bytes(typed.lower() if small else typed) == recovery


@given(secrets, st.integers(0, 51), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_another_letter_is_another_recovery_key_or_none(recovery: bytes, at: int, letter: str) -> None:
    text = keys.recovery_text(recovery).replace("-", "")
    typed = text[:at] + letter + text[at + 1 :]
    if at == 51 and letter not in "AQ":  # the last letter carries one bit
        with pytest.raises(AgentError) as raised:
            keys.recovery_bytes(typed)
        assert code_of(raised) == "WrongRecoveryKey"
    else:
        assert (keys.recovery_bytes(typed) == recovery) == (typed == text)


@pytest.mark.parametrize(
    "text", ["", "A", "AAAA", "A" * 51, "A" * 53, "A" * 60, "0" * 52, "1" * 52, "é" * 52, "A" * 51 + "B"]
)
def test_what_is_no_recovery_key_is_refused(text: str) -> None:
    with pytest.raises(AgentError) as raised:
        keys.recovery_bytes(text)
    assert code_of(raised) == "WrongRecoveryKey"


@given(st.lists(names, min_size=2, max_size=20, unique=True), secrets)
def test_every_resource_has_a_key_of_its_own(resources: list[Any], master: bytes) -> None:
    derived = {keys.resource_key(master, each) for each in resources}
    assert len(derived | {master}) == len(resources) + 1
    assert derived == {keys.resource_key(master, each) for each in reversed(resources)}
