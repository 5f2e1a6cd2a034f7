# SPDX-License-Identifier: GPL-3.0-or-later
"""Signature Version 4 of single requests (https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html).

botocore's own costs three times as much for each, and half a second to load.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Protocol
from urllib.parse import quote

# What a request says of its body: its SHA-256, or that nothing is said.
CONTENT = "x-amz-content-sha256"
UNSIGNED = "UNSIGNED-PAYLOAD"
_NOTHING = sha256().hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"


class Keys(Protocol):
    """What is signed with; ``token`` is None for keys that do not end."""

    @property
    def access_key(self) -> str: ...

    @property
    def secret_key(self) -> str: ...

    @property
    def token(self) -> str | None: ...


class Credentials(Protocol):
    """Keys that may be others for the next request; botocore's Credentials are such."""

    def get_frozen_credentials(self) -> Keys:
        """Those to sign the next request with."""


def query_string(query: Mapping[str, str]) -> str:
    """A query as it is sent and signed: all but letters, digits and ``-_.~`` escaped, then sorted."""
    escaped = ((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in sorted(escaped))


def payload_hash(body: bytes) -> str:
    """A body's SHA-256, in hexadecimal digits."""
    return sha256(body).hexdigest() if body else _NOTHING


def signed(
    keys: Keys,
    service: str,
    region: str,
    *,
    method: str,
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    payload: str,
    now: float | None = None,
) -> dict[str, str]:
    """The headers to send, those given among them.

    ``host`` with its port where that is not the usual one, ``path`` and ``query`` escaped as they are sent, ``payload``
    of payload_hash or UNSIGNED, ``now`` in seconds since 1970. S3 alone signs a path as it is sent: other services'
    paths are escaped once more, which makes no difference to those that need no escaping.
    """
    date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    sent = {name.lower(): value for name, value in headers.items()} | {"host": host, "x-amz-date": date}
    if keys.token:
        sent["x-amz-security-token"] = keys.token
    names = sorted(sent)
    listed = ";".join(names)
    at = path if service == "s3" else quote(path, safe="/-_.~")
    lines = [method, at, query, *(f"{name}:{' '.join(sent[name].split())}" for name in names), "", listed, payload]
    scope = f"{date[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, date, scope, sha256("\n".join(lines).encode()).hexdigest()))
    key = f"AWS4{keys.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{keys.access_key}/{scope}"
    return {
        **sent,
        "authorization": f"{_ALGORITHM} Credential={credential}, SignedHeaders={listed}, Signature={signature}",
    }
