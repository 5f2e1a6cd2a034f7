# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper's socket: takes calls of the playbook's tasks, answers each in a thread of its own."""

from __future__ import annotations

import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..settings.model import SettingError
from ..settings.schema import Settings
from . import operations, protocol
from .context import Context, HostState, Run
from .errors import KeeperError
from .start import ALIVE
from .translation import as_keeper_error

log = logging.getLogger(__name__)

_AT_ONCE = 256
# Tidying up is never refused.
_TIDYING = ("worker.absent", "snapshot_set.release")
_REQUEST_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_ACCEPT_SECONDS = 0.5


class Server:
    """Listens on ``path``, which only this user can reach, until it is stopped."""

    def __init__(self, run: Run, path: Path) -> None:
        self._run = run
        self._path = path
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._stopped = threading.Event()
        self._open: dict[socket.socket, threading.Lock] = {}
        self._idle = threading.Condition()
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen(_AT_ONCE)
        self._socket.settimeout(_ACCEPT_SECONDS)
        self._accepting = threading.Thread(target=self._accept, name="accept", daemon=True)
        self._telling = threading.Thread(target=self._tell_alive, name="alive", daemon=True)
        self.calls = 0

    def start(self) -> None:
        """Begin to take calls."""
        self._accepting.start()
        self._telling.start()

    def stop(self) -> None:
        """Take no more calls; those under way go on."""
        self._stopped.set()
        self._accepting.join(_ACCEPT_SECONDS * 4)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def drain(self, timeout: float, beside: Callable[[], int] = lambda: 0) -> bool:
        """Wait until no calls are under way but those of ``beside``, ``timeout`` seconds at most; whether it is so."""
        with self._idle:
            return self._idle.wait_for(lambda: len(self._open) <= beside(), timeout)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:  # too many open files: calls that end make room again
                log.exception("a call was not taken")
                self._stopped.wait(_ACCEPT_SECONDS)
                continue
            if not self._room.acquire(timeout=_REQUEST_SECONDS):
                connection.close()
                continue
            try:
                threading.Thread(target=self._serve, args=(connection,), name="call", daemon=True).start()
            except RuntimeError:  # too many threads: as above
                log.exception("a call was not taken")
                connection.close()
                self._room.release()

    def _serve(self, connection: socket.socket) -> None:
        lock = threading.Lock()
        try:
            with connection:
                if _peer_user(connection) != os.getuid():
                    return
                request = protocol.receive(connection, _REQUEST_SECONDS)
                with self._idle:
                    self._open[connection] = lock
                answer = self._answer(request)
                with lock:
                    protocol.send(connection, answer, _ANSWER_SECONDS)
                    self._ended(connection)
        except (OSError, protocol.ProtocolError) as error:
            log.warning("a task went away before its answer: %s", error)
        finally:
            self._ended(connection)
            self._room.release()

    def _ended(self, connection: socket.socket) -> None:
        with self._idle:
            self._open.pop(connection, None)
            self._idle.notify_all()

    def _tell_alive(self) -> None:
        """Long calls are told apart from a keeper that hangs, and one that has died lately from one long dead."""
        while not self._stopped.wait(protocol.ALIVE_SECONDS):
            with suppress(FileNotFoundError):  # of a server without a keeper around it
                os.utime(self._path.with_name(ALIVE))
            with self._idle:
                waiting = list(self._open.items())
            for connection, lock in waiting:
                if not lock.acquire(blocking=False):
                    continue  # its answer is being sent, which may take its time and is no silence
                try:
                    if connection in self._open:
                        with suppress(OSError):  # whoever went away is noticed when the answer is sent
                            protocol.send_alive(connection)
                finally:
                    lock.release()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.calls += request.get("operation") not in ("run.close", "run.ping")
        host = request.get("host")
        try:
            return {"result": self._call(request)}
        except Exception as raised:  # whatever it is, the task must hear of it
            error = as_keeper_error(raised)
            if error.code == "InternalError":
                log.exception("%s failed", request.get("operation"))
            else:
                log.warning("%s: %s: %s", host, request.get("operation"), error)
            if isinstance(host, str) and not self._run.is_closing:  # what the end cuts off has not failed
                self._run.report.resource(host).error(error)
                self._run.report.flush()
            return {"error": error.as_dict()}

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        name = str(request.get("operation"))
        function = operations.find(name)
        if function is None:
            raise KeeperError("UnknownOperation", f"The keeper knows no operation {name}.")
        host = str(request.get("host") or "localhost")
        settings = self._settings(name, self._run.host(host), request.get("settings") or {})
        if request.get("settings"):  # the callback's own calls come without
            self._run.use(settings)
        arguments = request.get("arguments") or {}
        resource = arguments.get("resource")
        state = self._run.host(host)
        if resource is not None:
            if name not in _TIDYING:
                self._run.register(host, resource)
            state.resource = resource
        context = Context(self._run, host, bool(request.get("check")), settings, state.resource)
        return function(context, arguments)

    def _settings(self, name: str, state: HostState, given: dict[str, Any]) -> Settings:
        """The call's settings. One that has become wrong keeps nothing from being tidied up, as those before say."""
        try:
            state.settings = Settings.from_call(given)
        except SettingError:
            if name not in _TIDYING or state.settings is None:
                raise
        return state.settings


def _peer_user(connection: socket.socket) -> int:
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)
