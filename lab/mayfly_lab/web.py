# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's web server: cheroot over TLS, no handshake on the thread that accepts, bodies moved without copies."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cheroot.server import HTTPConnection
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Gateway_10, Server

from mayfly_lab.tls import Tls

log = logging.getLogger(__name__)
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

IDLE_SECONDS = 60  # of a connection that is kept, and of a read or write that does not move
_BACKLOG = 512
_DRAIN = 1 << 20
_LINE = 8192
_START_SECONDS = 10.0


class NoAnswer(ConnectionResetError):
    """What an application raises for a connection that ends after ``seconds`` without an answer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(errno.ECONNRESET, "no answer is given on purpose")
        self.seconds = seconds


def serve(
    application: Application, addresses: list[str], certificate: Path, *, port: int = 443, threads: int = 16
) -> list[Server]:
    """Serve a WSGI application at each address, in threads; returns once all of them listen.

    ``certificate`` is one PEM file with key and certificate. Each address has ``threads`` workers. The environment
    of a request tells the address it came to as ``mayfly.address``. Raises OSError when an address is not free.
    """
    return [_start(application, address, certificate, port, threads) for address in addresses]


class Reader:
    """The reading side of a connection: what cheroot asks of a file; large reads go straight to their place."""

    def __init__(self, sock: Tls, size: int = 1 << 16) -> None:
        self._sock = sock
        self._buffer = b""
        self._size = size
        self.bytes_read = 0
        self.closed = False

    def has_data(self) -> bool:
        """Whether a read would be answered without waiting (from what TLS has decrypted already, too)."""
        if self._buffer:
            return True
        return self._sock.pending()

    def read(self, size: int | None = None) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end of the stream; all that is left without a size."""
        if size is None or size < 0:
            parts = [self._take(self._buffer)]
            while part := self._sock.recv(self._size):
                parts.append(self._take(part, buffered=False))
            return b"".join(parts)
        if size <= len(self._buffer):
            return self._take(self._buffer[:size])
        target = bytearray(size)
        done = len(self._buffer)
        target[:done] = self._take(self._buffer)
        view = memoryview(target)
        while done < size:
            count = self._sock.recv_into(view[done:])
            if not count:
                break
            self.bytes_read += count
            done += count
        return bytes(view[:done])

    def readline(self, size: int | None = None) -> bytes:
        """A line with its end, or the first ``size`` bytes of it."""
        while True:
            limit = len(self._buffer) if size is None or size < 0 else size
            end = self._buffer.find(b"\n", 0, limit) + 1
            if end or (size is not None and 0 <= size <= len(self._buffer)):
                return self._take(self._buffer[: end or limit])
            part = self._sock.recv(self._size)
            if not part:
                return self._take(self._buffer[:limit])
            self._buffer += part

    def close(self) -> None:
        """Nothing to give back: the connection closes its socket."""
        self.closed = True

    def _take(self, data: bytes, *, buffered: bool = True) -> bytes:
        if buffered:
            self._buffer = self._buffer[len(data) :]
        self.bytes_read += len(data)
        return data


class Writer:
    """The writing side of a connection."""

    def __init__(self, sock: Tls) -> None:
        self._sock = sock
        self._holds = False
        self.bytes_written = 0
        self.closed = False

    def hold_next(self) -> None:
        """Send the next thing that is written together with the one after it."""
        self._holds = True

    def write(self, data: bytes) -> int:
        """Send all of ``data``."""
        holds, self._holds = self._holds, False
        if holds:
            self._sock.hold(data)
        else:
            self._sock.sendall(data)
        self.bytes_written += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing to give back."""
        self.closed = True


class ChunkedBody:
    """A body in HTTP's chunks. (cheroot's own loops for ever on a line that ends a chunk.)"""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._left = 0  # bytes of the current chunk
        self._ended = False

    def read(self, size: int | None = None) -> bytes:
        """Exactly ``size`` bytes, fewer only at the end; all that is left without a size. ValueError: no chunks."""
        parts = []
        wanted = size if size is not None and size >= 0 else None
        while (wanted is None or wanted) and self._more():
            part = self._reader.read(self._left if wanted is None else min(wanted, self._left))
            self._used(part)
            parts.append(part)
            wanted = None if wanted is None else wanted - len(part)
        return b"".join(parts)

    def readline(self, size: int | None = None) -> bytes:
        """A line with its end, or the first ``size`` bytes of it."""
        line = b""
        while not line.endswith(b"\n") and len(line) != size and self._more():
            limit = self._left if size is None or size < 0 else min(size - len(line), self._left)
            part = self._reader.readline(limit)
            self._used(part)
            line += part
        return line

    def finish(self) -> None:
        """Read what is left, the body's last line included: else it starts the next request."""
        while self._more():
            self._used(self._reader.read(min(self._left, _DRAIN)))

    def _more(self) -> bool:
        if not self._left and not self._ended:
            self._left = int(self._reader.readline(_LINE).split(b";")[0].strip(), 16)
            if not self._left:
                self._ended = True
                while self._reader.readline(_LINE).strip():
                    continue
        return not self._ended

    def _used(self, part: bytes) -> None:
        if not part:
            raise ConnectionResetError("the client went away in the middle of a body")
        self._left -= len(part)
        if not self._left:
            self._reader.read(2)


class _Adapter(BuiltinSSLAdapter):
    """TLS whose handshake is left to the connection's own thread."""

    def wrap(self, sock: socket.socket) -> tuple[Tls, dict[str, str]]:
        return Tls(sock, self.context), {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: Tls, mode: str = "r", _bufsize: int = -1) -> Reader | Writer:
        return Reader(sock) if "r" in mode else Writer(sock)


class _Gateway(Gateway_10):
    """Sends an answer's head with its body, and tells the connection how long it is to be held."""

    def write(self, chunk: bytes) -> None:
        if not self.req.sent_headers:
            self.req.conn.wfile.hold_next()
        super().write(chunk)

    def respond(self) -> None:
        try:
            super().respond()
        except NoAnswer as none:
            self.req.conn.held_seconds = none.seconds
            raise


class _Connection(HTTPConnection):
    """A connection that shakes hands before its first request, and can be held without a thread that waits."""

    _shaken = False
    held_seconds = 0.0

    def communicate(self) -> bool:
        if not self._shaken:
            try:
                self.socket.do_handshake()
            except (ssl.SSLError, OSError) as error:
                log.info("no TLS with %s: %s", self.remote_addr, error)
                return False
            self._shaken = True
        keep: bool = super().communicate()  # type: ignore[no-untyped-call]  # cheroot's stubs leave it open
        return keep

    def close(self) -> None:
        if not self.held_seconds:
            super().close()
            return
        seconds, self.held_seconds = self.held_seconds, 0.0
        later = threading.Timer(seconds, self.close)
        later.daemon = True
        later.start()


class _Server(Server):
    ConnectionClass = _Connection

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        log.log(level, msg, exc_info=traceback)


def _start(application: Application, address: str, certificate: Path, port: int, threads: int) -> Server:
    def addressed(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["mayfly.address"] = address
        if not environ["wsgi.input_terminated"]:
            return application(environ, start_response)
        body = ChunkedBody(environ["wsgi.input"].rfile)
        environ["wsgi.input"] = body
        answer = application(environ, start_response)
        body.finish()
        return answer

    server = _Server((address, port), addressed, numthreads=threads, server_name="lab", timeout=IDLE_SECONDS)
    server.gateway = _Gateway
    server.request_queue_size = _BACKLOG
    server.keep_alive_conn_limit = 10_000
    server.ssl_adapter = _Adapter(str(certificate), str(certificate))
    server.prepare()
    threading.Thread(target=server.serve, name=f"web-{address}", daemon=True).start()
    limit = time.monotonic() + _START_SECONDS
    while not server.ready:
        if time.monotonic() > limit:
            raise OSError(f"the server at {address}:{port} did not start in {_START_SECONDS:.0f} s")
        time.sleep(0.005)
    return server
