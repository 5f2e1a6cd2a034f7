# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a User-Mode Linux kernel over its management console, a datagram socket."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

# arch/um/drivers/mconsole.h
_MAGIC, _VERSION, _WORDS = 0xCAFEBABE, 2, 512
_REQUEST = struct.Struct(f"=IiI{_WORDS}s")
_ANSWER = struct.Struct("=iii")  # error, more to come, length
_DATAGRAM = 4096
_ANSWER_SECONDS = 10.0


class Refused(RuntimeError):
    """The kernel did not do what it was asked, in its own words."""


def request(path: Path, words: str, wait: float = _ANSWER_SECONDS) -> str:
    """What the kernel behind the socket ``path`` answers, waiting for the socket to be there; each step has ``wait`` s.

    Raises Refused, or OSError when nobody answers.
    """
    data = words.encode()
    if len(data) >= _WORDS:
        raise Refused(f"{words}: longer than {_WORDS} bytes")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.settimeout(wait)
        asking.bind("")  # a name of the kernel's choice, for the answer
        _connect(asking, path, time.monotonic() + wait)
        asking.send(_REQUEST.pack(_MAGIC, _VERSION, len(data), data))
        text, more = "", 1
        while more:
            answer = asking.recv(_DATAGRAM)
            error, more, length = _ANSWER.unpack_from(answer)
            text += answer[_ANSWER.size : _ANSWER.size + length].rstrip(b"\0").decode(errors="replace")
    if error:
        raise Refused(f"{words}: {text.strip()}")
    return text


def _connect(asking: socket.socket, path: Path, ends: float) -> None:
    """By the folder's descriptor: the path itself may be longer than the 108 bytes that an address holds."""
    while True:
        try:
            folder = os.open(path.parent, os.O_PATH)
            try:
                return asking.connect(f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > ends:
                raise TimeoutError(f"nobody listens at {path}") from None
            time.sleep(0.02)
