# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain signed HTTPS requests: a fraction of the time that a service client takes for a block."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import RefreshableCredentials

from .progress import Clock

# For each wait on the connection; the whole answer has a limit of its own, since it could come byte by byte.
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
ANSWER_SECONDS = 120.0
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """What came back: ``code`` and ``reason`` are AWS's words for an error."""

    status: int
    headers: Any
    body: bytes

    @property
    def code(self) -> str:
        """The exception's name, or one made of the status when a machine before the service has answered."""
        named: str = self.headers.get("x-amzn-errortype", "").split(":")[0]
        return named or ("ServerError" if self.status >= 500 else f"Http{self.status}")

    @property
    def reason(self) -> str:
        """AWS's reason within the exception, "" for none."""
        return str(self._fields().get("Reason") or "")

    @property
    def message(self) -> str:
        """For people."""
        fields = self._fields()
        said = fields.get("Message") or fields.get("message") or self.body[:200].decode(errors="replace")
        return f"{said} ({self.reason or f'status {self.status}'})"

    def _fields(self) -> dict[str, Any]:
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class SignedRequests:
    """Requests to one service in one Region, at most ``connections`` at once; each has a time limit."""

    def __init__(
        self,
        credentials: RefreshableCredentials,
        service: str,
        region: str,
        url: str,
        *,
        connections: int,
        clock: Clock,
    ) -> None:
        self._credentials = credentials
        self._service = service
        self._region = region
        self._url = url
        self._clock = clock
        self._http = urllib3.PoolManager(maxsize=connections, block=True, retries=False, timeout=_TIMEOUT)

    def once(self, method: str, path: str, query: dict[str, str], body: bytes, headers: dict[str, str]) -> Answer:
        """One request, not repeated, whatever the answer. Raises urllib3's HTTPError when none came whole."""
        url = f"{self._url}{quote(path)}" + (f"?{urlencode(query)}" if query else "")
        request = AWSRequest(method, url, data=body, headers={"Content-Type": "application/json", **headers})
        SigV4Auth(self._credentials.get_frozen_credentials(), self._service, self._region).add_auth(request)
        ends = self._clock.now() + ANSWER_SECONDS
        sent = dict(request.headers.items())
        response = self._http.request(method, url, body=body, headers=sent, preload_content=False)
        try:
            return Answer(response.status, response.headers, self._read(response, ends))
        except BaseException:
            response.close()  # what was not read must not come before the answer to another request
            raise
        finally:
            response.release_conn()

    def _read(self, response: urllib3.BaseHTTPResponse, ends: float) -> bytes:
        pieces = []
        while piece := response.read1(_PIECE_BYTES, decode_content=False):
            if self._clock.now() > ends:
                raise urllib3.exceptions.HTTPError(f"no whole answer within {ANSWER_SECONDS:.0f} seconds")
            pieces.append(piece)
        return b"".join(pieces)
