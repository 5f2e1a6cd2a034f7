# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks: accounts from access keys, sessions of roles that exist and trust the caller."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import moto.iam.models
from moto.core.exceptions import ServiceException
from moto.iam.models import AccessKey, iam_backends
from moto.sts.models import AssumedRole, STSBackend
from moto.sts.responses import TokenResponse

from mayfly_lab import accounts
from mayfly_lab.control.state import Lab, replace

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
    replace(moto.iam.models, get_account_id_from=accounts.account_of)
    original_assume = STSBackend.assume_role

    def assume_role(self: STSBackend, **arguments: Any) -> AssumedRole:
        short = Lab.faults.take("short-sessions", Lab.now.request)
        if short:
            arguments["duration"] = short.seconds
        role = original_assume(self, **arguments)
        Lab.sessions.begin(role.access_key_id, role.expiration.replace(tzinfo=UTC).timestamp())
        return role

    replace(STSBackend, assume_role=assume_role, _create_access_key=_create_access_key)
    original_response = TokenResponse.assume_role

    def respond(self: TokenResponse) -> Any:
        caller, role_arn = self.get_access_key(), self._get_param("RoleArn")
        seconds = int(self._get_param("DurationSeconds") or _DEFAULT)
        _check_form(seconds, self._get_param("Policy"))
        role = _trusting_role(role_arn, caller, self._get_param("ExternalId"))
        _check_duration(seconds, role, chained=caller.startswith("ASIA"))
        return original_response(self)

    replace(TokenResponse, assume_role=respond)


def register_root_keys(keys: dict[str, tuple[str, str]]) -> None:
    """Make an administrator in each account: ``{account: (access key id, secret)}``."""
    for account, (key_id, secret) in keys.items():
        backend = iam_backends[account][_PARTITION]
        user = backend.create_user("us-east-1", "administrator")
        key = backend.create_access_key(user.name)
        backend.access_keys.pop(key.access_key_id)
        key.access_key_id, key.secret_access_key = key_id, secret
        backend.access_keys[key_id] = key


def _create_access_key(_: STSBackend, role: str) -> tuple[str, AccessKey]:
    account = role.split(":")[4]
    backend = iam_backends[account][_PARTITION]
    key = backend.create_temp_access_key()
    backend.access_keys.pop(key.access_key_id)
    key.access_key_id = accounts.new_access_key_id(account, temporary=True)
    backend.access_keys[key.access_key_id] = key
    return account, key


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
        json.loads(policy)
    except ValueError:
        raise MalformedPolicyDocument("The policy is not in the valid JSON format.") from None


def _check_duration(seconds: int, role: Any, *, chained: bool) -> None:
    if chained and seconds > _LONGEST_CHAINED:
        message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        raise ValidationError(message)
    if seconds > int(role.max_session_duration or _DEFAULT):
        raise ValidationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")


def _trusting_role(role_arn: str, caller_key: str, external_id: str | None) -> Any:
    """The role, which exists and trusts the caller; raises AccessDenied."""
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
