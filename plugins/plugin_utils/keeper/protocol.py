# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages between tasks and the keeper: one JSON object with its length in front, one request a connection."""

from __future__ import annotations

import json
import socket
import struct
import time
from contextlib import suppress
from typing import Any

MAXIMUM_BYTES = 32 * 1024 * 1024
# While a call goes on, the keeper says so that often; a task that hears nothing for longer takes it for hung.
ALIVE_SECONDS = 5.0
SILENCE_SECONDS = 30.0
ALIVE = {"alive": True}
_LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """The other side sent something that is not a message, or went away in the middle of one."""


class Silence(Exception):
    """The other side is there, and says nothing at all: it hangs, or was stopped."""


def send(connection: socket.socket, message: dict[str, Any], timeout: float) -> None:
    """Send ``message`` within ``timeout`` seconds; raises ProtocolError when it is too long, OSError when cut off."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAXIMUM_BYTES:
        raise ProtocolError(f"a message of {len(body)} bytes is longer than {MAXIMUM_BYTES}")
    connection.settimeout(timeout)
    connection.sendall(_LENGTH.pack(len(body)) + body)


def send_alive(connection: socket.socket) -> None:
    """Say that a call goes on, unless nobody takes it at the moment; raises OSError when the other side is gone."""
    body = json.dumps(ALIVE).encode()
    with suppress(BlockingIOError):
        connection.send(_LENGTH.pack(len(body)) + body, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def receive_answer(connection: socket.socket, timeout: float) -> dict[str, Any]:
    """Receive the answer to a call within ``timeout`` seconds, past all words that it goes on.

    Raises Silence when those stay away, and as :func:`receive`.
    """
    ends = time.monotonic() + timeout
    while True:
        left = ends - time.monotonic()
        try:
            message = receive(connection, min(SILENCE_SECONDS, left))
        except TimeoutError as error:
            if left > SILENCE_SECONDS:
                raise Silence(f"nothing was heard for {SILENCE_SECONDS:.0f} s") from error
            raise
        if message != ALIVE:
            return message


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
