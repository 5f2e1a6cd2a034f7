# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks: accounts from access keys, sessions of roles that exist and trust the caller."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import moto.iam.models
from moto.core.exceptions import ServiceException
from moto.iam.models import iam_backends
from moto.sts.models import AssumedRole, STSBackend, sts_backends
from moto.sts.responses import TokenResponse

from mayfly_lab import accounts
from mayfly_lab.control import publishing
from mayfly_lab.control.state import Lab, replace
from mayfly_lab.sessions import Session

_PARTITION = "aws"
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html: seconds, and characters of a policy.
_SHORTEST, _LONGEST, _DEFAULT = 900, 43200, 3600
_LONGEST_CHAINED = 3600
_LONGEST_POLICY = 2048


class AccessDenied(ServiceException):
    code = "AccessDenied"


class ValidationError(ServiceException):
    code = "ValidationError"


class MalformedPolicyDocument(ServiceException):
    code = "MalformedPolicyDocument"


def install() -> None:
    """Put the lab's identities into moto."""
    replace(
        moto.iam.models,
        get_account_id_from=accounts.account_of,
        generate_access_key_id_from_account_id=lambda account, prefix, **_: accounts.new_access_key_id(
            account, temporary=prefix == "ASIA"
        ),
    )
    original_assume = STSBackend.assume_role

    def assume_role(self: STSBackend, **arguments: Any) -> AssumedRole:
        short = Lab.faults.take("short-sessions", Lab.now.request)
        if short:
            arguments["duration"] = short.seconds
        return original_assume(self, **arguments)

    replace(STSBackend, assume_role=assume_role)
    original_response = TokenResponse.assume_role

    def respond(self: TokenResponse) -> Any:
        caller, role_arn = self.get_access_key(), self._get_param("RoleArn")
        seconds = int(self._get_param("DurationSeconds") or _DEFAULT)
        _check_form(seconds, self._get_param("Policy"))
        role = _trusting_role(role_arn, caller, self._get_param("ExternalId"))
        _check_duration(seconds, role, chained=caller.startswith("ASIA"))
        owner = role_arn.split(":")[4]
        policy = _session_policy(owner, self._get_param("Policy"), self._get_param("PolicyArns", []))
        answer = original_response(self)
        _remember(sts_backends[owner][_PARTITION].assumed_roles[-1], role, policy, self._get_param("Tags", []))
        return answer

    replace(TokenResponse, assume_role=respond)


def make_administrators() -> dict[str, tuple[str, str]]:
    """An administrator in each account: ``{account: (access key id, secret)}``."""
    made = {}
    for account in accounts.ACCOUNTS.values():
        backend = iam_backends[account][_PARTITION]
        user = backend.create_user("us-east-1", "administrator")
        user.lab_administrator = True  # type: ignore[attr-defined]
        key = backend.create_access_key(user.name)
        made[account] = key.access_key_id, key.secret_access_key
    return made


def _remember(made: AssumedRole, role: Any, policy: str | None, tags: list[dict[str, str]]) -> None:
    """Let every service know the session."""
    session = Session(
        ends=made.expiration.replace(tzinfo=UTC).timestamp(),
        role_arn=role.arn,
        name=made.session_name,
        policy=policy,
        tags={tag["Key"]: tag["Value"] for tag in tags},
    )
    Lab.sessions.begin(made.access_key_id, session)


def _session_policy(account: str, text: str | None, managed: list[dict[str, str]]) -> str | None:
    """One policy out of all that narrow a session; raises MalformedPolicyDocument for one that there is not."""
    backend = iam_backends[account][_PARTITION]
    try:
        texts = [publishing.managed(backend, each["arn"]) for each in managed]
    except KeyError as missing:
        raise MalformedPolicyDocument(f"The policy {missing} does not exist.") from None
    texts += [text] if text is not None else []
    if not texts:
        return None
    statements = [json.loads(each)["Statement"] for each in texts]
    together = [one for each in statements for one in (each if isinstance(each, list) else [each])]
    return json.dumps({"Version": "2012-10-17", "Statement": together})


def _check_form(seconds: int, policy: str | None) -> None:
    failed = "1 validation error detected: Value at '{}' failed to satisfy constraint: Member must have {} than or "
    failed += "equal to {}"
    if seconds < _SHORTEST:
        raise ValidationError(failed.format("durationSeconds", "value greater", _SHORTEST))
    if seconds > _LONGEST:
        raise ValidationError(failed.format("durationSeconds", "value less", _LONGEST))
    if policy is None:
        return
    if len(policy) > _LONGEST_POLICY:
        raise ValidationError(failed.format("policy", "length less", _LONGEST_POLICY))
    try:
        json.loads(policy)["Statement"]
    except (ValueError, KeyError, TypeError):
        raise MalformedPolicyDocument("The policy is not in the valid JSON format.") from None


def _check_duration(seconds: int, role: Any, *, chained: bool) -> None:
    if chained and seconds > _LONGEST_CHAINED:
        message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        raise ValidationError(message)
    if seconds > int(role.max_session_duration or _DEFAULT):
        raise ValidationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")


def _trusting_role(role_arn: str, caller_key: str, external_id: str | None) -> Any:
    """The role, which exists and trusts the caller; raises AccessDenied.

    Where IAM is enforced, the trust policy has been decided with all its conditions before.
    """
    caller = accounts.account_of(caller_key)
    refusal = AccessDenied(
        f"User of account {caller} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
    )
    owner = role_arn.split(":")[4]
    name = role_arn.rpartition("/")[2]
    roles = iam_backends[owner][_PARTITION].roles.values()
    role = next((role for role in roles if role.name == name), None)
    if role is None:
        raise refusal
    if Lab.guard.enforces:
        return role
    document = json.loads(role.assume_role_policy_document)
    statements = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    if not any(_allows(statement, caller, external_id) for statement in statements):
        raise refusal
    return role


def _allows(statement: dict[str, Any], caller: str, external_id: str | None) -> bool:
    principals = statement.get("Principal", {})
    named = principals.get("AWS", []) if isinstance(principals, dict) else [principals]
    named = [named] if isinstance(named, str) else named
    if statement.get("Effect") != "Allow" or not any(_is_of(principal, caller) for principal in named):
        return False
    wanted = statement.get("Condition", {}).get("StringEquals", {}).get("sts:ExternalId")
    return wanted is None or wanted == external_id


def _is_of(principal: str, account: str) -> bool:
    return principal in ("*", account) or principal.startswith(f"arn:aws:iam::{account}:")
