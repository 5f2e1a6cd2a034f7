# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS credentials that the controller writes into memory, and renews there before they end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import botocore.session
from botocore.credentials import RefreshableCredentials

from .errors import AgentError


def file_credentials(path: Path) -> RefreshableCredentials:
    """Credentials from ``path``, read again when they are about to end.

    Raises AgentError NoCredentials, and CredentialsExpired when nobody has renewed them.
    """

    def read() -> dict[str, str]:
        try:
            value: dict[str, str] = json.loads(path.read_text())
            ends = datetime.fromisoformat(value["expiry_time"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AgentError("NoCredentials", f"The credentials {path.name} cannot be read: {error!r}") from error
        if ends <= datetime.now(UTC):
            message = f"The credentials {path.name} have expired at {ends.isoformat()}, and were not renewed."
            raise AgentError("CredentialsExpired", message, "Was the controller cut off from its worker?")
        return value

    return RefreshableCredentials.create_from_metadata(
        metadata=read(), refresh_using=read, method="mayfly-file", advisory_timeout=600, mandatory_timeout=60
    )


def session_of(credentials: RefreshableCredentials) -> botocore.session.Session:
    """A session that uses these credentials and nothing else of the machine."""
    session = botocore.session.Session()
    session._credentials = credentials  # type: ignore[attr-defined]  # botocore has no way to set refreshable ones
    return session
