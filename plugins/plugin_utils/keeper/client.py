# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task's process uses to ask the run's keeper. Light on purpose: every task forks and imports it."""

from __future__ import annotations

import os
import socket
from typing import Any

from . import protocol
from .errors import KeeperError

ADDRESS_VARIABLE = "MAYFLY_KEEPER"
RUN_VARIABLE = "MAYFLY_RUN_ID"
_CONNECT_SECONDS = 10.0

_NO_KEEPER = (
    "Run the playbook from the project's root, or with ANSIBLE_CALLBACKS_ENABLED=mayfly.workers.guard and the "
    "collection on ANSIBLE_COLLECTIONS_PATH: the guard callback starts the run's keeper."
)


def address() -> str | None:
    """Path of this run's keeper socket, or None when no guard started a keeper."""
    return os.environ.get(ADDRESS_VARIABLE) or None


def call(
    operation: str,
    arguments: dict[str, Any],
    timeout: float,
    *,
    host: str | None = None,
    settings: dict[str, Any] | None = None,
    check: bool = False,
) -> dict[str, Any]:
    """Ask the keeper to do ``operation`` and return its answer.

    ``timeout`` is in seconds, for the whole call. ``host`` is the inventory name that the call is made for,
    ``settings`` are the run-wide ones (deployment, deadline, accounts), ``check`` says that nothing may be changed.
    Raises KeeperError: with the operation's own code; ``NoKeeper`` when none was started, ``KeeperGone`` when it
    died or hangs, ``KeeperTimeout`` when it lives and the answer did not come in time.
    """
    path = address()
    if path is None:
        raise KeeperError("NoKeeper", f"There is no keeper to ask for {operation}.", _NO_KEEPER)
    request = {
        "operation": operation,
        "arguments": arguments,
        "host": host,
        "settings": settings or {},
        "check": check,
    }
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_CONNECT_SECONDS)
            connection.connect(path)
            protocol.send(connection, request, _CONNECT_SECONDS)
            answer = protocol.receive_answer(connection, timeout)
    except TimeoutError as error:
        raise KeeperError("KeeperTimeout", f"The keeper did not answer {operation} in {timeout:.0f} s.") from error
    except (OSError, protocol.ProtocolError, protocol.Silence) as error:
        raise KeeperError(
            "KeeperGone",
            f"The keeper of this run does not answer {operation}: {error}.",
            "Its log is keeper.log in the run's folder; start the operation again.",
        ) from error
    if "error" in answer:
        raise KeeperError.from_dict(answer["error"])
    result = answer.get("result")
    if not isinstance(result, dict):
        raise KeeperError("InternalError", f"The keeper's answer to {operation} has no result.")
    return result
