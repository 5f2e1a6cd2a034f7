# SPDX-License-Identifier: GPL-3.0-or-later
"""What every service asks before and after it answers: has the session ended, and is something to go wrong?"""

from __future__ import annotations

import logging
import threading
import time

from mayfly_lab import refusals
from mayfly_lab.faults import Fault, Faults, Request
from mayfly_lab.refusals import Refusal
from mayfly_lab.sessions import Sessions
from mayfly_lab.web import NoAnswer

log = logging.getLogger(__name__)
_HELD_SECONDS = 60.0  # botocore waits as long for a byte
# https://docs.aws.amazon.com/ebs/latest/userguide/error-retries.html: who throws RequestThrottledException.
_OF_A_SNAPSHOT = ("GetSnapshotBlock", "PutSnapshotBlock")


class Gate:
    """The faults that do not depend on what a call does."""

    def __init__(self, faults: Faults, sessions: Sessions) -> None:
        self.faults = faults
        self._sessions = sessions
        self._buckets: dict[str, tuple[float, float]] = {}  # by fault: requests held, and when that was
        self._guard = threading.Lock()

    def enter(self, request: Request, access_key_id: str) -> Refusal | None:
        """The error that a request is to get instead of an answer, if any; raises NoAnswer for none at all."""
        if self._sessions.has_expired(access_key_id):
            return refusals.expired(request.service)
        if not self.faults.all():
            return None
        slow = self._met("slow", request, before=True)
        if slow:
            time.sleep(slow.seconds or 0.0)
        held = self._met("time-out", request)
        if held:
            raise NoAnswer(_HELD_SECONDS if held.seconds is None else held.seconds)
        if access_key_id.startswith("ASIA") and self._met("expired-credentials", request):
            return refusals.expired(request.service)
        error = self._met("error", request)
        if error:
            return refusals.failure(request.service, error.code, error.status, error.message, error.reason)
        throttle = self.faults.take("throttle", request, lambda fault: self._exceeds(fault, request))
        if throttle:
            return refusals.throttled(request.service, resource=throttle.snapshot is not None)
        return None

    def leave(self, request: Request, status: int) -> None:
        """Before an answer (of that HTTP status) goes out: wait where it is to be slow; raises NoAnswer."""
        if not self.faults.all():
            return
        slow = self._met("slow", request, before=False)
        if slow:
            time.sleep(slow.seconds or 0.0)
        if status < 400 and self._met("lost-answer", request):
            raise NoAnswer(0.0)

    def _met(self, kind: str, request: Request, *, before: bool | None = None) -> Fault | None:
        where = None if before is None else (lambda fault: fault.before == before)
        fault = self.faults.take(kind, request, where)
        if fault:
            log.info("%s %s meets %s", request.service, request.call, fault)
        return fault

    def _exceeds(self, fault: Fault, request: Request) -> bool:
        if fault.snapshot is not None and request.call not in _OF_A_SNAPSHOT:
            return False
        return fault.rate is None or not self._pass(fault.identity, fault.rate)

    def _pass(self, identity: str, rate: float) -> bool:
        """Whether a request still fits: a token bucket that holds one second's worth, one request at least."""
        now, size = time.monotonic(), max(rate, 1.0)
        with self._guard:
            held, then = self._buckets.get(identity, (size, now))
            held = min(size, held + (now - then) * rate)
            self._buckets[identity] = (held - 1 if held >= 1 else held, now)
        return held >= 1
