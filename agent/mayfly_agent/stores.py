# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of stores that speak S3: AWS's own, and others by their endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.credentials import Credentials

from .credentials import session_of
from .s3 import CONFIG


@dataclass(frozen=True)
class Endpoint:
    """A store that is not AWS's: its ``url``, https and without a path.

    ``path_style``: buckets stand in the path of a request and not in the name of the host. ``authorities``: the
    certificates that its own must come from, PEM; "" for those that the machine trusts.
    """

    url: str
    path_style: bool = True
    authorities: str = ""


def client_of(credentials: Credentials, region: str, endpoint: Endpoint | None, trusted: Path | None = None) -> Any:
    """An S3 client of botocore's; requests are signed for ``region``, and repeated by S3Objects alone.

    ``trusted`` is the file that holds the endpoint's authorities, None when it has none of its own.
    """
    session = session_of(credentials)
    if endpoint is None:
        return session.create_client("s3", region_name=region, config=CONFIG)
    return session.create_client(
        "s3",
        region_name=region,
        endpoint_url=endpoint.url,
        verify=str(trusted) if trusted else None,
        config=CONFIG.merge(_elsewhere(path_style=endpoint.path_style)),
    )


def _elsewhere(*, path_style: bool) -> Config:
    """Bodies that go there are vouched for by the request's signature, which every store verifies.

    Not every one knows the checksums that AWS has added; what is read is verified by its seal.
    """
    return Config(
        s3={"addressing_style": "path" if path_style else "virtual", "payload_signing_enabled": True},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
