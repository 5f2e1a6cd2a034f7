# SPDX-License-Identifier: GPL-3.0-or-later
"""S3's clients: botocore's own takes half a second to load, and is made where it is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.credentials import ReadOnlyCredentials

from .job import Endpoint
from .signing import Credentials

# The client tries once: it would not repeat what breaks in mid-body, and stops six tries after the first 503.
CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
    retries={"mode": "standard", "total_max_attempts": 1},
    user_agent_extra="mayfly",
)


class _Asked(BotocoreCredentials):
    """Credentials as botocore wants them; requests are signed with the frozen ones."""

    def __init__(self, own: Credentials) -> None:
        super().__init__("", "", None, method="mayfly-file")
        self._own = own

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Those to sign the next request with."""
        keys = self._own.get_frozen_credentials()
        return ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.token)


def session_of(credentials: Credentials) -> botocore.session.Session:
    """A session that uses these credentials and nothing else of the machine."""
    session = botocore.session.Session()
    session._credentials = _Asked(credentials)  # type: ignore[attr-defined]  # it has no way to set such of one's own
    return session


def client_of(credentials: Credentials, region: str, before: Callable[[], None]) -> Any:
    """A client of AWS's S3; ``before`` as of SignedRequests."""
    client = session_of(credentials).create_client("s3", region_name=region, config=CONFIG)
    client.meta.events.register_last("before-send.s3", lambda **_request: before())
    return client


def client_at(
    endpoint: Endpoint, credentials: Credentials, region: str, before: Callable[[], None], trusted: Path | None
) -> Any:
    """A client of a store that is not AWS's, as client_of; ``trusted`` is the file with its own authorities.

    Bodies that go there are vouched for by the request's signature, which every store verifies: not every one knows the
    checksums that AWS has added. What is read is verified by its seal.
    """
    ways = Config(
        s3={"addressing_style": "path" if endpoint.path_style else "virtual", "payload_signing_enabled": True},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = session_of(credentials).create_client(
        "s3",
        region_name=region,
        endpoint_url=endpoint.url,
        verify=str(trusted) if trusted else None,
        config=CONFIG.merge(ways),
    )
    client.meta.events.register_last("before-send.s3", lambda **_request: before())
    return client
