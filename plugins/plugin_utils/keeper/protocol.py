# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages between tasks and the keeper: one JSON object with its length in front, one request a connection."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

MAXIMUM_BYTES = 32 * 1024 * 1024
_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """The other side sent something that is not a message, or went away in the middle of one."""


def send(connection: socket.socket, message: dict[str, Any], timeout: float) -> None:
    """Send ``message`` within ``timeout`` seconds; raises ProtocolError when it is too long, OSError when cut off."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAXIMUM_BYTES:
        raise ProtocolError(f"a message of {len(body)} bytes is longer than {MAXIMUM_BYTES}")
    connection.settimeout(timeout)
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket, timeout: float) -> dict[str, Any]:
    """Receive one message within ``timeout`` seconds.

    Raises TimeoutError when it does not come in time, ProtocolError when the other side is gone or sends nonsense.
    """
    ends = time.monotonic() + timeout
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size, ends))
    if length > MAXIMUM_BYTES:
        raise ProtocolError(f"a message of {length} bytes is announced, at most {MAXIMUM_BYTES} are taken")
    try:
        message = json.loads(_exactly(connection, length, ends))
    except ValueError as error:
        raise ProtocolError(f"not a JSON message: {error}") from error
    if not isinstance(message, dict):
        raise ProtocolError("a message must be a JSON object")
    return message


def _exactly(connection: socket.socket, count: int, ends: float) -> bytes:
    parts: list[bytes] = []
    while count:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not come in time")
        connection.settimeout(left)
        part = connection.recv(min(count, 1 << 20))
        if not part:
            raise ProtocolError("the connection was closed in the middle of a message")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
