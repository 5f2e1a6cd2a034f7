# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls between the lab's processes: one JSON object a line over a Unix socket."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
Handler = Callable[..., Any]


class RpcError(RuntimeError):
    """The other side refused or failed; its own words."""


class Client:
    """Calls to one socket, one connection a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def call(self, name: str, *, wait: float = 60.0, **arguments: Any) -> Any:
        """The result of a call; raises RpcError, or OSError when nobody answers within ``wait`` seconds."""
        stream = self._stream(wait)
        try:
            stream.write(json.dumps({"call": name, **arguments}).encode() + b"\n")
            stream.flush()
            line = stream.readline()
        except OSError:
            self._local.stream = None
            raise
        if not line:
            self._local.stream = None
            raise ConnectionError(f"{self._path} closed the connection during {name}")
        answer = json.loads(line)
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def _stream(self, wait: float) -> Any:
        stream = getattr(self._local, "stream", None)
        if stream is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(wait)
            connection.connect(str(self._path))
            stream = self._local.stream = connection.makefile("rwb")
            self._local.connection = connection
        self._local.connection.settimeout(wait)
        return stream


class Server(socketserver.ThreadingUnixStreamServer):
    """Serves a table of calls."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path, calls: dict[str, Handler]) -> None:
        self.calls = calls
        path.unlink(missing_ok=True)
        super().__init__(str(path), _Connection)
        path.chmod(0o600)


class _Connection(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        for line in self.rfile:
            request = json.loads(line)
            name = request.pop("call")
            try:
                answer = {"result": self.server.calls[name](**request)}
            except Exception as error:
                log.exception("call %s failed", name)
                answer = {"error": f"{name}: {type(error).__name__}: {error}"}
            try:
                self.wfile.write(json.dumps(answer).encode() + b"\n")
            except BrokenPipeError:
                return
