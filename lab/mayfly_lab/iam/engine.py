# SPDX-License-Identifier: GPL-3.0-or-later
"""What evaluates policies: a Node process of its own, asked over its socket (engine/server.mjs)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mayfly_lab import rpc
from mayfly_lab.iam.callers import Caller
from mayfly_lab.iam.checks import ANY, Check

SERVER = Path(__file__).with_name("engine") / "server.mjs"
PACKAGES = Path(sys.prefix) / "node"  # where `make setup` runs npm
_STAR = "\N{ASTERISK OPERATOR}"
_WAIT_SECONDS = 20.0


class EngineMissing(RuntimeError):
    """Node, or what the engine needs of npm's packages, is not there."""


@dataclass(frozen=True)
class Outcome:
    """What policies say to one check.

    ``parts`` tells what each kind of policy said (identity, resource, session, boundary), ``denying`` the statements
    that deny, ``near`` those that are about the action but do not apply, each with what is in its way; ``ignored`` are
    condition keys that the action does not have.
    """

    result: str  # Allowed, ImplicitlyDenied, ExplicitlyDenied, Error
    parts: Mapping[str, str] = field(default_factory=dict)
    denying: Sequence[str] = ()
    near: Sequence[Mapping[str, Any]] = ()
    ignored: Sequence[str] = ()
    error: str | None = None

    @property
    def allowed(self) -> bool:
        return self.result == "Allowed"

    @property
    def knows_no_such(self) -> bool:
        """Whether the action has no resources of the kind that the check names."""
        return self.error is not None and "no.resource.types" in self.error


ALLOWED = Outcome("Allowed")


def command(socket: Path) -> list[str]:
    """How the engine is started; raises EngineMissing."""
    node = shutil.which("node")
    if node is None or not (PACKAGES / "node_modules").is_dir():
        what = "there is no node" if node is None else f"there is no {PACKAGES / 'node_modules'}"
        raise EngineMissing(f"{what}: `make setup` installs what evaluates policies")
    return [node, str(SERVER), str(socket), str(PACKAGES)]


class Engine:
    """Decisions of the process behind ``socket``."""

    def __init__(self, socket: Path) -> None:
        self._client = rpc.Client(socket)

    def decide(self, caller: Caller, checks: Sequence[Check], common: Mapping[str, str | list[str]]) -> list[Outcome]:
        """What the caller's and the resources' policies say to each check.

        ``common`` are conditions of the whole request. Raises OSError or rpc.RpcError where nobody decides.
        """
        questions = [_question(caller, check, common) for check in checks]
        try:
            answers = self._client.call("decide", wait=_WAIT_SECONDS, questions=questions)
        except ConnectionError:  # the connection was to a process that has been switched off and on again
            answers = self._client.call("decide", wait=_WAIT_SECONDS, questions=questions)
        return [Outcome(**answer) for answer in answers]


def _question(caller: Caller, check: Check, common: Mapping[str, str | list[str]]) -> dict[str, Any]:
    # A star in a request is a star, but the engine would take it for a pattern.
    resource = check.resource if check.resource == ANY else check.resource.replace("*", _STAR)
    return {
        "principal": caller.arn,
        "action": check.action,
        "resource": resource,
        "account": check.account,
        "context": {**common, **caller.context, **check.context},
        "policies": caller.policies,
        "boundary": caller.boundary,
        "session": caller.session_policy,
        "open": check.open,
        "resourcePolicy": check.resource_policy,
    }
