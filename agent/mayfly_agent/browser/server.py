# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve the application over TLS on a socket that is open already: systemd's, so that no right is needed for port 443.

The process has no network of its own then: it answers whoever is let in, and can ask nobody.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .application import Recovery
from .description import Description
from .life import Life
from .requests_log import RequestsLog

# Seconds that a request may take to come, and that a client may take nothing of an answer.
_REQUEST_SECONDS = 15.0
_STALL_SECONDS = 60.0
_KEEP_ALIVE_SECONDS = 30
_MOST_CONNECTIONS = 256
_MOST_BY_ADDRESS = 64
_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)
# Only what TLS 1.2 has that is as good as TLS 1.3.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Patient(H11Protocol):
    """uvicorn's protocol, whose patience ends: with requests that do not come, and answers that are not taken."""

    _request_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Close at once what is too much."""
        super().connection_made(transport)
        peers = [each.client for each in self.connections if isinstance(each, Patient) and each.client]
        same = sum(self.client is not None and peer[0] == self.client[0] for peer in peers)
        if len(self.connections) > _MOST_CONNECTIONS or same > _MOST_BY_ADDRESS:
            transport.abort()
            return
        self._request_timer = self._after(_REQUEST_SECONDS)

    def data_received(self, data: bytes) -> None:
        """A request must be there in time, from its first byte to the last of its head."""
        if self._request_timer is None and self.conn.their_state is h11.IDLE:
            self._request_timer = self._after(_REQUEST_SECONDS)
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_request()

    def pause_writing(self) -> None:
        """The client has to take something before long."""
        super().pause_writing()
        self._stall_timer = self._after(_STALL_SECONDS)

    def resume_writing(self) -> None:
        """It has."""
        self._stop_stall()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_request()
        self._stop_stall()
        super().connection_lost(exc)

    def _stop_request(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _stop_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _after(self, seconds: float) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, self.transport.abort)


def serve(description: Description, folder: Path, certificate: Path, key: Path, sockets: list[socket.socket]) -> None:
    """Until SIGTERM; when the recovery has ended, everything is refused. Raises OSError, and ssl.SSLError."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # A scanner's broken requests are no news, and stand in the log of requests as far as they are any.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    # uvicorn passes a signal on that has ended it; there is still something to write then
    signal.signal(signal.SIGTERM, lambda *_: None)
    asyncio.run(_serve(description, folder, lambda *_: _context(certificate, key), sockets))


async def _serve(
    description: Description, folder: Path, context: Callable[..., ssl.SSLContext], sockets: list[socket.socket]
) -> None:
    log = RequestsLog(folder)
    life = Life(folder, description.idle_seconds, description.lifetime_seconds)
    recovery = Recovery(description, life, folder, log)
    settings: dict[str, Any] = {
        "http": Patient,
        "ws": "none",
        "loop": "asyncio",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "timeout_keep_alive": _KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": 5,
        "limit_concurrency": _MOST_CONNECTIONS,
        "backlog": 128,
    }
    server = uvicorn.Server(uvicorn.Config(recovery.application(), ssl_context_factory=context, **settings))
    living = asyncio.ensure_future(life.live())
    try:
        await server.serve(sockets)
    finally:
        life.end("stopped")
        await living
        log.close()


def inherited() -> list[socket.socket]:
    """The sockets that systemd has handed over."""
    count = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    return [socket.socket(fileno=_FIRST_DESCRIPTOR + number) for number in range(count)]


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(certificate, key)
    return context
