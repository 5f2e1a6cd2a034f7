# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS credentials that the controller writes into memory, and renews there before they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from .errors import AgentError


class FileKeys(NamedTuple):
    """What a file says."""

    access_key: str
    secret_key: str
    token: str | None


class FixedCredentials(NamedTuple):
    """Keys that stay as they are."""

    access_key: str
    secret_key: str
    token: str | None = None

    def get_frozen_credentials(self) -> FileKeys:
        """Those to sign the next request with."""
        return FileKeys(*self)


class FileCredentials:
    """Credentials from a file, read again whenever it is another one.

    No clock of this machine says whether they have ended, which may be wrong: AWS does, see ``expired``. Raises
    AgentError NoCredentials.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = self._now()

    def get_frozen_credentials(self) -> FileKeys:
        """Those to sign the next request with."""
        try:
            if self._stamp() != self._read[0]:
                self._read = self._now()
        except OSError as error:
            raise self._unreadable(error) from error
        return self._read[1]

    def _stamp(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_ino, found.st_mtime_ns

    def _now(self) -> tuple[tuple[int, int], FileKeys]:
        try:
            stamp = self._stamp()
            value = json.loads(self._path.read_text())
            return stamp, FileKeys(value["access_key"], value["secret_key"], value["token"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> AgentError:
        return AgentError("NoCredentials", f"The credentials {self._path.name} cannot be read: {error!r}")


def expired(code: str, message: str) -> AgentError | None:
    """What it means when AWS's error ``code`` is about credentials that have ended; None for any other.

    It is worth another try: the file may hold newer ones than the request was signed with.
    """
    if not code.startswith("Expired"):
        return None
    return AgentError("CredentialsExpired", message, "Was the controller cut off from its worker?")
