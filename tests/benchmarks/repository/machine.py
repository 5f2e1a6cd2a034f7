# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machine has, programs and ports, and what its store is told."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

# Of the store, for all.
ACCESS_KEY, SECRET_KEY, REGION = "bench", "bench-secret", "us-east-1"


def environment() -> dict[str, str]:
    """This process's own, in which programs of Python packages and of administrators are found as well."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"}


def with_us(command: list[str]) -> list[str]:
    """The same command, which ends when this process does, however it does."""
    return ["setpriv", "--pdeathsig", "TERM", *command]


def free_ports(count: int) -> list[int]:
    """So many ports of loopback that nobody has."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
