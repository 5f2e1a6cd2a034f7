# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain signed HTTPS requests: a fraction of the time that a service client takes for a block."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.util import create_urllib3_context

from .progress import Clock
from .signing import CONTENT, Credentials, payload_hash, query_string, signed

# For each wait on the connection; the whole answer has a limit of its own, since it could come byte by byte.
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
ANSWER_SECONDS = 120.0
# More than a block, which then goes from TLS's records straight to its place.
_PIECE_BYTES = 1 << 20


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


class _Limit(threading.local):
    """Until when the answer to a thread's request must be there whole."""

    clock = Clock()
    ends = float("inf")

    def begin(self, clock: Clock) -> None:
        """The thread's next request begins."""
        self.clock, self.ends = clock, clock.now() + ANSWER_SECONDS

    def check(self) -> None:
        """Raises TimeoutError when it should be there."""
        if self.clock.now() > self.ends:
            raise TimeoutError(f"no whole answer within {ANSWER_SECONDS:.0f} seconds")


_limit = _Limit()


class _Socket(ssl.SSLSocket):
    """Asks for no more of an answer whose time is over, however little a read of it brings."""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        _limit.check()
        return super().recv_into(buffer, nbytes, flags)


class SignedRequests:
    """Requests to one service in one Region, at most ``connections`` at once; each has a time limit."""

    def __init__(
        self,
        credentials: Credentials,
        service: str,
        region: str,
        url: str,
        *,
        connections: int,
        clock: Clock,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """``before`` is called when a request is signed, and may raise what keeps it from being sent.

        A worker may have stood still until then; what is sent much later AWS refuses, by the time in the signature.
        """
        self._credentials = credentials
        self._service = service
        self._region = region
        self._host = urlsplit(url).netloc
        self._clock = clock
        self._before = before
        more = {"ssl_context": _context()} if url.startswith("https:") else {}
        self._http = urllib3.connection_from_url(
            url, maxsize=connections, block=True, retries=False, timeout=_TIMEOUT, **more
        )

    def once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes,
        headers: Mapping[str, str],
    ) -> Answer:
        """One request, not repeated, whatever the answer. Raises urllib3's HTTPError when none came whole.

        The body's SHA-256 is signed too, or what x-amz-content-sha256 among the headers says in place of it.
        """
        at, asked = quote(path, safe="/-_.~"), query_string(query)
        payload = headers.get(CONTENT) or payload_hash(body)
        ready = signed(
            self._credentials.get_frozen_credentials(),
            self._service,
            self._region,
            method=method,
            host=self._host,
            path=at,
            query=asked,
            headers=headers,
            payload=payload,
        )
        self._before()
        _limit.begin(self._clock)
        target = f"{at}?{asked}" if asked else at
        response = self._http.urlopen(method, target, body=body, headers=ready, preload_content=False)
        try:
            return Answer(response.status, response.headers, self._read(response))
        except BaseException:
            response.close()  # what was not read must not come before the answer to another request
            raise
        finally:
            response.release_conn()

    def _read(self, response: urllib3.BaseHTTPResponse) -> bytes:
        pieces = []
        while piece := response.read(_PIECE_BYTES, decode_content=False):
            pieces.append(piece)
            try:
                _limit.check()  # of connections without TLS as well
            except TimeoutError as error:
                raise urllib3.exceptions.HTTPError(str(error)) from error
        return b"".join(pieces)


def _context() -> ssl.SSLContext:
    """urllib3's own, one for all connections: reading the authorities takes longer than a block does."""
    context = create_urllib3_context()
    context.load_default_certs()
    context.sslsocket_class = _Socket
    return context
