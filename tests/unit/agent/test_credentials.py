# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials that the controller renews, or does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mayfly_agent.credentials import file_credentials
from mayfly_agent.errors import AgentError


def write(path: Path, key: str, seconds: float) -> Path:
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    value = {"access_key": key, "secret_key": "s", "token": "t", "expiry_time": ends.isoformat()}
    path.write_text(json.dumps(value))
    return path


def test_credentials_that_are_about_to_end_are_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "source.json", "first", 300)
    credentials = file_credentials(path)
    assert credentials.get_frozen_credentials().access_key == "first"
    write(path, "second", 3600)
    assert credentials.get_frozen_credentials().access_key == "second"


def test_credentials_that_nobody_renews_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "source.json", "first", 30)
    credentials = file_credentials(path)
    write(path, "first", -1)
    with pytest.raises(AgentError, match=r"source\.json have expired") as raised:
        credentials.get_frozen_credentials()
    assert raised.value.code == "CredentialsExpired"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"expiry_time": "soon"}'])
def test_credentials_that_cannot_be_read_are_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "source.json"
    path.write_text(text)
    with pytest.raises(AgentError, match=r"source\.json cannot be read"):
        file_credentials(path)
