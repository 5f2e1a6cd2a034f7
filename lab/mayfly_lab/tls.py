# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's side of TLS that keeps its records in memory, so that a large answer takes few system calls.

Over a socket, OpenSSL sends and asks for each record of 16 KiB by itself: 33 system calls for a block of EBS's.
"""

from __future__ import annotations

import socket
import ssl

_PIECE = 1 << 17  # bytes that are encrypted before they are sent: few calls, and they stay in the processor's cache
_ARRIVED = 1 << 18


class Tls:
    """What a server does with the socket of a connection, over TLS. One thread at a time."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_side=True)

    def do_handshake(self) -> None:
        """Raises OSError, ssl.SSLError included, for a client with which there is no TLS."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    raise ConnectionResetError("the client went away before TLS was there") from None
            except ssl.SSLError:
                self._flush()  # the alert that says why
                raise
            else:
                self._flush()
                return

    def recv(self, size: int) -> bytes:
        """At most ``size`` bytes, b"" at the end."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    return b""

    def recv_into(self, view: memoryview) -> int:
        """How many bytes were written into ``view``, 0 at the end."""
        while True:
            try:
                return self._tls.read(len(view), view)  # type: ignore[return-value]
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    return 0

    def pending(self) -> bool:
        """Whether something has arrived that was not read yet."""
        return bool(self._tls.pending() or self._coming.pending)

    def hold(self, data: bytes) -> None:
        """Send ``data`` together with what comes next."""
        self._tls.write(data)

    def sendall(self, data: bytes) -> None:
        """Send all of ``data``."""
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            self._tls.write(view[start : start + _PIECE])
            self._flush()

    def fileno(self) -> int:
        return self._sock.fileno()

    def settimeout(self, seconds: float | None) -> None:
        self._sock.settimeout(seconds)

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()

    def _receive(self) -> bool:
        data = self._sock.recv(_ARRIVED)
        self._coming.write(data)
        return bool(data)

    def _flush(self) -> None:
        if self._going.pending:
            self._sock.sendall(self._going.read())
