# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks, and which policies speak for it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mayfly_lab.iam.checks import Context
from mayfly_lab.sessions import Session

Policy = tuple[str, str]  # name, text
ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})


@dataclass(frozen=True)
class Caller:
    """A user, or the session of a role.

    ``arn`` is how AWS names it (``arn:aws:sts::…:assumed-role/ROLE/SESSION``), ``context`` what conditions can ask
    about it. The lab's administrators are what an account's root user is: nothing of their own account is closed to
    them but by a resource's own policy.
    """

    arn: str
    account: str
    policies: tuple[Policy, ...] = ()
    boundary: tuple[Policy, ...] = ()
    session_policy: str | None = None
    context: Context = field(default_factory=dict)
    administrator: bool = False


def of_user(arn: str, user: Mapping[str, Any], *, administrator: bool) -> Caller:
    """The caller behind a user's access key."""
    account = arn.split(":")[4]
    context: Context = {
        **_common(arn, account, "User", user.get("tags", {})),
        "aws:userid": user["id"],
        "aws:username": user["name"],
    }
    policies = (("AdministratorAccess", ALL),) if administrator else _policies(user["policies"])
    return Caller(arn, account, policies, _policies(user.get("boundary", ())), None, context, administrator)


def of_session(session: Session, role: Mapping[str, Any]) -> Caller:
    """The caller that a role's session is."""
    account = session.role_arn.split(":")[4]
    name = session.role_arn.rpartition("/")[2]
    tags = {**role.get("tags", {}), **session.tags}
    context: Context = {
        **_common(session.role_arn, account, "AssumedRole", tags),
        "aws:userid": f"{role['id']}:{session.name}",
        "aws:TokenIssueTime": session.began,
    }
    return Caller(
        f"arn:aws:sts::{account}:assumed-role/{name}/{session.name}",
        account,
        _policies(role["policies"]),
        _policies(role.get("boundary", ())),
        session.policy,
        context,
    )


def _common(principal: str, account: str, kind: str, tags: Mapping[str, str]) -> Context:
    return {
        "aws:PrincipalArn": principal,
        "aws:PrincipalAccount": account,
        "aws:PrincipalType": kind,
        "aws:PrincipalIsAWSService": "false",
        **{f"aws:PrincipalTag/{key}": value for key, value in tags.items()},
    }


def _policies(pairs: Sequence[Sequence[str]]) -> tuple[Policy, ...]:
    return tuple((name, text) for name, text in pairs)
