# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP server on loopback that answers as badly as a test wants, and a clock that does not wait."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from mayfly_agent.progress import Clock


class FastClock(Clock):
    """Waiting takes no time, but the clock goes on. ``waits`` are the seconds of each."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            return self.time

    def wait(self, event: threading.Event, seconds: float) -> bool:
        with self._lock:
            self.time += seconds
            self.waits.append(seconds)
        return event.is_set()


@dataclass(frozen=True)
class Request:
    """What came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What goes back. ``sent``: after so many bytes of the body the connection is reset, -1 before the status."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    between: Callable[[], None] | None = None  # called between the two halves of the body


Script = Callable[[Request], Reply]
LOST = Reply(sent=-1)


class Hostile:
    """Answers by ``script``; ``requests`` are those that came, ``connections`` how many they came over."""

    def __init__(self) -> None:
        self.script: Script = lambda _request: Reply()
        self.requests: list[Request] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def replies(self, *replies: Reply) -> None:
        """These, one after the other; the last one for ever."""
        left = list(replies)
        self.script = lambda _request: left.pop(0) if len(left) > 1 else left[0]

    @contextmanager
    def running(self) -> Iterator[Hostile]:
        """While the block goes on."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(10)

    def answer(self, request: Request) -> Reply:
        """The next by the script."""
        with self._lock:
            self.requests.append(request)
            return self.script(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hostile = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                hostile.connections += 1

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client has gone; that is its right
                    self.close_connection = True

            def _any(self) -> None:
                parts = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length") or 0))
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                self._send(hostile.answer(Request(self.command, parts.path, query, headers, body)))

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

            def _send(self, reply: Reply) -> None:
                if reply.sent != -1:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(reply.body)))
                    self.end_headers()
                    half = len(reply.body) // 2 if reply.sent is None else reply.sent
                    self.wfile.write(reply.body[:half])
                    self.wfile.flush()
                    if reply.between:
                        reply.between()
                if reply.sent is not None:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                else:
                    self.wfile.write(reply.body[half:])

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler


def ebs_error(status: int, name: str = "", reason: str = "") -> Reply:
    """An error as the EBS direct APIs write it; without a name, one of a machine before them."""
    body = json.dumps({"Message": "no", **({"Reason": reason} if reason else {})}).encode() if name else b"<html>no"
    return Reply(status, body, {"x-amzn-ErrorType": name} if name else {})


def s3_error(status: int, code: str = "") -> Reply:
    """An error as S3 writes it; without a code, one of a machine before it."""
    text = f"<Error><Code>{code}</Code><Message>no</Message></Error>" if code else "<html>no</html>"
    return Reply(status, text.encode(), {"Content-Type": "application/xml"})
