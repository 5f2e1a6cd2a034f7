# SPDX-License-Identifier: GPL-3.0-or-later
"""When a worker counts as lost: Spot takes it back, AWS or its own machine has ended it, or it is out of reach."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass

from .context import Context
from .errors import KeeperError
from .ready import ENDED

log = logging.getLogger(__name__)

# Two polls of up to a minute that were missed (DESIGN); a connection that comes back before goes on.
_LOST_SECONDS = 120.0
_RECONNECT_SECONDS = 2.0
_ASK_SECONDS = 20.0
# Somebody has terminated or stopped it, who may have meant the operation.
_WISHED = "Client.UserInitiatedShutdown"


@dataclass(frozen=True)
class _End:
    """Why AWS says that a worker is gone, and whether somebody wanted it."""

    text: str
    wished: bool


def reach(context: Context, command: str, timeout: float, patience: float | None = None) -> bytes:
    """Ask the worker, and wait for a connection that was cut off to come back; raises KeeperError WorkerLost.

    ``patience``: for so many seconds, two minutes unless said otherwise.
    """
    ends = time.monotonic() + (_LOST_SECONDS if patience is None else patience)
    while True:
        try:
            return context.run.workers.run(context.host, command, timeout=timeout)
        except KeeperError as error:
            if error.code not in ("WorkerUnreachable", "WorkerCommandTimeout"):
                raise
            log.warning("%s: %s", context.host, error.message)
            end = _end_of_worker(context)
            if end is not None or time.monotonic() > ends:
                why = end.text if end is not None else error.message
                if end is None or not end.wished:
                    context.run.workers.lose(context.host, why)
                raise lost(context, why) from error
            time.sleep(_RECONNECT_SECONDS)


def lost(context: Context, why: str) -> KeeperError:
    """The error of an operation whose worker is lost."""
    message = f"{context.host}: its worker was lost during the transfer: {why}"
    return KeeperError("WorkerLost", message, "Start the operation again for this resource.")


def why_lost(context: Context) -> str:
    """Why the host's worker was lost through nobody's wish; empty while it lives, and when somebody has ended it.

    What asks has met a failure already, which itself may have waited for the worker: half the patience is enough.
    """
    known = context.run.workers.why_lost(context.host)
    if known:
        return known
    end = _end_of_worker(context)
    if end is not None:
        return "" if end.wished else end.text
    with suppress(KeeperError):  # which has taken note of a loss; no other answer is one
        reach(context, "true", _ASK_SECONDS, _LOST_SECONDS / 2)
    return context.run.workers.why_lost(context.host)


def _end_of_worker(context: Context) -> _End | None:
    """None when the worker lives, or AWS says nothing at the moment."""
    worker = context.run.workers.get(context.host)
    if worker is None:
        return None
    with context.run.watching.instance((worker.account, worker.region), worker.instance_id) as describe:
        instance = describe(_RECONNECT_SECONDS)
    if instance is None or instance["State"]["Name"] not in ENDED:
        return None
    reason = instance.get("StateReason") or {}
    said = reason.get("Message", "no reason given")
    return _End(f"{instance['InstanceId']} is {instance['State']['Name']} ({said}).", reason.get("Code") == _WISHED)
