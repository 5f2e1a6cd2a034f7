# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain signed HTTPS requests: a fraction of the time that a service client takes for a block."""

from __future__ import annotations

import json
import select
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlsplit

from .progress import Clock
from .signing import CONTENT, Credentials, payload_hash, query_string, signed

# For each wait on the connection; the whole answer has a limit of its own, since it could come byte by byte.
_CONNECT_SECONDS, _WAIT_SECONDS = 5.0, 60.0
ANSWER_SECONDS = 120.0


#: What mends a certificate at an address of AWS's that is not trusted.
NOT_AWS = "Something between here and AWS answers in its place: exempt AWS's names from inspection."


class NoAnswer(Exception):
    """None came, or not the whole of it."""

    @property
    def is_untrusted(self) -> bool:
        """Whether the server's certificate was refused: it is not reached again for that."""
        return isinstance(self.__cause__, ssl.SSLCertVerificationError)


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
        """``before`` is called when a request is about to be sent, and may raise what keeps it from being sent.

        A worker may have stood still until then; what is sent much later AWS refuses, by the time in the signature.
        """
        self._credentials = credentials
        self._service = service
        self._region = region
        self._host = urlsplit(url).netloc
        self._clock = clock
        self._before = before
        self._connections = _Connections(url, connections)

    def once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes,
        headers: Mapping[str, str],
    ) -> Answer:
        """One request, not repeated, whatever the answer. Raises NoAnswer when none came whole.

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
        try:
            with self._connections.one() as connection:
                self._before()
                _limit.begin(self._clock)
                try:
                    connection.request(method, f"{at}?{asked}" if asked else at, body=body or None, headers=ready)
                except (BrokenPipeError, ConnectionResetError):
                    if connection.sock is None:
                        raise
                    # It takes no more of the body: it may have said why.
                response = connection.getresponse()
                answer = Answer(response.status, response.headers, response.read())
                _limit.check()  # of connections without TLS as well
                return answer
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error


class _Connections:
    """Connections to one server, used again. A library that does more takes three times the time for each request."""

    def __init__(self, url: str, most: int) -> None:
        parts = urlsplit(url)
        self._where = (parts.hostname or "", parts.port)
        self._context = _context() if parts.scheme == "https" else None
        self._free: deque[HTTPConnection] = deque()
        self._left = threading.BoundedSemaphore(most)

    @contextmanager
    def one(self) -> Iterator[HTTPConnection]:
        """One for a request, whose answer must be read before the block is left."""
        with self._left:
            connection = self._take()
            try:
                yield connection
            except BaseException:
                connection.close()  # what was not read must not come before the answer to another request
                raise
            self._free.append(connection)

    def _take(self) -> HTTPConnection:
        """The one that was used last, or a new one; the server has closed one on which something can be read."""
        while self._free:
            connection = self._free.pop()
            if connection.sock is not None and not _is_readable(connection.sock):
                return connection
            connection.close()
        host, port = self._where
        if self._context is None:
            return _Http(host, port, timeout=_CONNECT_SECONDS)
        return _Https(host, port, timeout=_CONNECT_SECONDS, context=self._context)


class _Http(HTTPConnection):
    """Waits longer for an answer than for the connection."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_WAIT_SECONDS)


class _Https(HTTPSConnection):
    """As above, over TLS."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_WAIT_SECONDS)


def _is_readable(sock: Any) -> bool:
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    return bool(waiting.poll(0))


def _context() -> ssl.SSLContext:
    """One for all connections: reading the authorities takes longer than a block does."""
    context = ssl.create_default_context()
    context.sslsocket_class = _Socket
    return context
