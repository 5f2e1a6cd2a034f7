# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service asks before it answers: may this caller do that?"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mayfly_lab import refusals, rpc
from mayfly_lab.iam import denials
from mayfly_lab.iam.callers import Caller
from mayfly_lab.iam.checks import Check, Context, different
from mayfly_lab.iam.decisions import Decisions
from mayfly_lab.iam.engine import ALLOWED, Engine, Outcome
from mayfly_lab.iam.identities import Identities
from mayfly_lab.refusals import Refusal
from mayfly_lab.sessions import Sessions

log = logging.getLogger(__name__)
_KEPT = 5000
# A decision may be as old as this when the same is asked again: thousands of blocks of one snapshot ask the same.
_SAME_SECONDS = 1.0
_OWN_POLICY = ("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy")


class Guard:
    """Decides for one service; ``folder`` is the lab's `Paths.iam`."""

    def __init__(self, folder: Path, sessions: Sessions) -> None:
        self.identities = Identities(folder / "identities.json", sessions)
        self._decisions = Decisions(folder)
        self._engine = Engine(folder / "engine.sock")
        self._switch = str(folder / "enforced")
        self._same: dict[Any, tuple[float, Outcome]] = {}

    @property
    def enforces(self) -> bool:
        """Whether policies count at this moment."""
        return os.path.exists(self._switch)  # noqa: PTH110 - asked at every request, and a Path costs more

    def caller(self, service: str, access_key_id: str) -> Caller | Refusal:
        """Who asks, or the error for nobody."""
        return self.identities.caller(access_key_id) or refusals.unknown_caller(service)

    def refusal(
        self, service: str, call: str, caller: Caller, checks: Sequence[Check], common: Mapping[str, str | list[str]]
    ) -> Refusal | None:
        """The error that a request is to get, None when all of ``checks`` are allowed.

        ``common`` are the conditions of the whole request, as `conditions` gives them.
        """
        wanted = different(checks)
        outcomes = self.outcomes(service, call, caller, wanted, common)
        if isinstance(outcomes, Refusal):
            return outcomes
        denied = next((n for n, outcome in enumerate(outcomes) if not outcome.allowed), None)
        return None if denied is None else denials.refusal(service, caller, wanted[denied], outcomes[denied])

    def outcomes(
        self, service: str, call: str, caller: Caller, checks: Sequence[Check], common: Mapping[str, str | list[str]]
    ) -> list[Outcome] | Refusal:
        """What is decided about each check, written down; an error when nobody decides."""
        asked = {n: check for n, check in enumerate(checks) if not _is_free(caller, check)}
        try:
            found = self._decide(caller, asked, common)
        except (OSError, rpc.RpcError) as error:
            log.exception("%s %s was not decided", service, call)
            return refusals.failure(service, None, 500, f"The lab's policy engine does not answer: {error}", None)
        outcomes = _settled(checks, [found.get(n, ALLOWED) for n in range(len(checks))])
        self._decisions.add(
            [
                _entry(service, call, caller, check, outcome)
                for check, outcome in zip(checks, outcomes, strict=True)
                if not caller.administrator or not outcome.allowed
            ]
        )
        return outcomes

    def _decide(
        self, caller: Caller, asked: dict[int, Check], common: Mapping[str, str | list[str]]
    ) -> dict[int, Outcome]:
        now = time.monotonic()
        found: dict[int, Outcome] = {}
        who = caller.arn, caller.policies, caller.boundary, caller.session_policy, _frozen(caller.context)
        where = common["aws:RequestedRegion"], common["aws:SourceIp"]
        keys = {n: (*who, *where, *_same(check)) for n, check in asked.items()}
        for n, key in keys.items():
            known = self._same.get(key)
            if known and now - known[0] < _SAME_SECONDS:
                found[n] = known[1]
        left = [n for n in asked if n not in found]
        if left:
            for n, outcome in zip(left, self._engine.decide(caller, [asked[n] for n in left], common), strict=True):
                found[n] = outcome
                if len(self._same) >= _KEPT:
                    self._same.clear()
                self._same[keys[n]] = now, found[n]
        return found


def conditions(region: str, address: str, agent: str = "") -> Context:
    """The conditions of every request: in which Region, from where and when."""
    now = datetime.now(UTC)
    return {
        "aws:RequestedRegion": region,
        "aws:SourceIp": address,
        "aws:SecureTransport": "true",
        "aws:CurrentTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:EpochTime": str(int(now.timestamp())),
        "aws:UserAgent": agent,
        "aws:ViaAWSService": "false",
    }


def _settled(checks: Sequence[Check], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """A guess at a resource that the action does not know counts for nothing, where another one was right."""
    missed = [check.open and outcome.knows_no_such for check, outcome in zip(checks, outcomes, strict=True)]
    right = {check.action for check, miss in zip(checks, missed, strict=True) if not miss}
    return [
        ALLOWED if miss and check.action in right else outcome
        for check, outcome, miss in zip(checks, outcomes, missed, strict=True)
    ]


def _is_free(caller: Caller, check: Check) -> bool:
    """Whether nothing but the owner's own will could forbid it."""
    own = caller.administrator and caller.account == check.account
    return own and (check.resource_policy is None or check.action in _OWN_POLICY)


def _same(check: Check) -> tuple[Any, ...]:
    """What tells a check from others."""
    return check.action, check.resource, check.account, _frozen(check.context), check.resource_policy, check.open


def _frozen(context: Mapping[str, str | list[str]]) -> tuple[Any, ...]:
    return tuple((key, tuple(each) if isinstance(each, list) else each) for key, each in context.items())


def _entry(service: str, call: str, caller: Caller, check: Check, outcome: Outcome) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "service": service,
        "call": call,
        "caller": caller.arn,
        "action": check.action,
        "resource": check.resource,
        "allowed": outcome.allowed,
    }
    if not outcome.allowed:
        entry |= {"why": denials.reason(caller, check, outcome), "denying": outcome.denying, "near": outcome.near}
        entry |= {"conditions": dict(check.context), "ignored": outcome.ignored}
    return entry
