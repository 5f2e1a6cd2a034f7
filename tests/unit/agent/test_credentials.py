# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials that the controller renews, or does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mayfly_agent.clients import session_of
from mayfly_agent.credentials import FileCredentials, expired
from mayfly_agent.errors import AgentError


def write(path: Path, key: str, hours: float = 1) -> Path:
    """As the controller does: another file takes the place."""
    ends = datetime.now(UTC) + timedelta(hours=hours)
    value = {"access_key": key, "secret_key": "s", "token": "t", "expiry_time": ends.isoformat()}
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value))
    return new.replace(path)


@pytest.mark.parametrize("hours", [1, -1], ids=["of this hour", "ended by this machine's clock"])
def test_credentials_are_read_again_when_they_are_others(tmp_path: Path, hours: float) -> None:
    """Whatever this machine's clock says: it may be wrong, and AWS still take what is signed."""
    path = write(tmp_path / "source.json", "first", hours)
    credentials = FileCredentials(path)
    assert credentials.get_frozen_credentials() == ("first", "s", "t")
    write(path, "second", hours)
    assert credentials.get_frozen_credentials().access_key == "second"


def test_a_client_signs_with_those_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "repository.json", "first")
    client = session_of(FileCredentials(path)).create_client("sts", region_name="us-east-1")
    write(path, "second")
    url = client.generate_presigned_url("get_caller_identity")
    assert "X-Amz-Credential=second%2F" in url
    assert "X-Amz-Security-Token=t" in url


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"access_key": "a", "secret_key": "s"}'])
def test_credentials_that_cannot_be_read_are_told(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "source.json", "first")
    credentials = FileCredentials(path)
    path.write_text(text)
    for read in (lambda: FileCredentials(path), credentials.get_frozen_credentials):
        with pytest.raises(AgentError, match=r"source\.json cannot be read") as raised:
            read()
        assert raised.value.code == "NoCredentials"


def test_credentials_that_are_gone_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "source.json", "first")
    credentials = FileCredentials(path)
    path.unlink()
    with pytest.raises(AgentError, match=r"source\.json cannot be read"):
        credentials.get_frozen_credentials()


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException"])
def test_what_has_ended_is_told_as_such(code: str) -> None:
    error = expired(code, "EBS refused it.")
    assert error is not None
    assert (error.code, error.message) == ("CredentialsExpired", "EBS refused it.")
    assert "controller" in error.remedy


@pytest.mark.parametrize("code", ["AccessDenied", "RequestExpired", "InvalidToken"])
def test_all_else_is_something_else(code: str) -> None:
    assert expired(code, "no") is None
