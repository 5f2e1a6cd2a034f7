# SPDX-License-Identifier: GPL-3.0-or-later
"""From RunInstances' answer to a worker that tasks may use: running, logged in to, with a host key of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import launch
from .errors import KeeperError
from .lease import Renewer
from .ssh import Connection, SshError

if TYPE_CHECKING:
    from .context import Context
    from .workers import Launching, Worker

_READY_SECONDS = 300.0
_LOOK_SECONDS = 5.0
ENDED = ("shutting-down", "terminated", "stopping", "stopped")

# User data can be read by others in the account, so its host key serves the first login only. The new one never leaves
# the worker, and every later login asks for it. The connection itself stays: whoever was in its way with the old key
# would have told a new one of his own. Instance metadata, which holds the old one, is closed to all but root now.
_SECURE = """\
set -eu
ip rule add pref 100 uidrange 1-4294967294 to 169.254.169.254/32 unreachable
cd /etc/ssh
rm -f mayfly_host_key.new mayfly_host_key.new.pub
ssh-keygen -q -t ed25519 -N '' -C '' -f mayfly_host_key.new
mv mayfly_host_key.new mayfly_host_key
mv mayfly_host_key.new.pub mayfly_host_key.pub
systemctl reload ssh 2>/dev/null || systemctl reload sshd
cat mayfly_host_key.pub
"""


def await_ready(context: Context, worker: Worker, launching: Launching) -> None:
    """Wait for the worker, replace its host key and begin to renew its lease.

    Raises CandidateFailed or KeeperError when the instance ended by itself, KeeperError when it cannot be logged in to
    in time.
    """
    connection = context.run.workers.connection(context.host)
    _log_in(context, worker, connection, launching)
    key = context.run.workers.run(context.host, _SECURE).decode()
    connection.pin(" ".join(key.split()[:2]))
    renewer = Renewer(worker.instance_id, connection, context.settings.lease)
    context.run.workers.renew_lease(context.host, renewer)


def _log_in(context: Context, worker: Worker, connection: Connection, launching: Launching) -> None:
    ends = time.monotonic() + _READY_SECONDS
    look = time.monotonic() + _LOOK_SECONDS
    said = "its SSH port does not answer"
    with context.run.watching.instance((worker.account, worker.region), worker.instance_id) as describe:
        while time.monotonic() < ends:
            if connection.answers():
                try:
                    connection.open()
                except SshError as error:
                    said = str(error)
                else:
                    return
            if time.monotonic() > look:
                look = time.monotonic() + _LOOK_SECONDS
                _check_running(describe(_LOOK_SECONDS))
            launching.pause(connection.route.pause_seconds)
    message = f"The worker {worker.instance_id} at {worker.address} was not ready in {_READY_SECONDS:.0f} s: {said}."
    raise KeeperError("WorkerNotReady", message, connection.route.remedy)


def _check_running(instance: Mapping[str, Any] | None) -> None:
    if instance is not None and instance["State"]["Name"] in ENDED:
        raise launch.ended_by_itself(instance)
