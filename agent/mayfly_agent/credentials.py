# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS credentials that the controller writes into memory, and renews there before they end."""

from __future__ import annotations

import json
from pathlib import Path

import botocore.session
from botocore.credentials import RefreshableCredentials

from .errors import AgentError


def file_credentials(path: Path) -> RefreshableCredentials:
    """Credentials from ``path``, read again when they are about to end; raises AgentError NoCredentials."""

    def read() -> dict[str, str]:
        try:
            value: dict[str, str] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise AgentError("NoCredentials", f"The credentials {path.name} cannot be read: {error}") from error
        return value

    return RefreshableCredentials.create_from_metadata(
        metadata=read(), refresh_using=read, method="mayfly-file", advisory_timeout=600, mandatory_timeout=60
    )


def session_of(credentials: RefreshableCredentials) -> botocore.session.Session:
    """A session that uses these credentials and nothing else of the machine."""
    session = botocore.session.Session()
    session._credentials = credentials  # type: ignore[attr-defined]  # botocore has no way to set refreshable ones
    return session
