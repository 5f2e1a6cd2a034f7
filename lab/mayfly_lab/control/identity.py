# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks: accounts from access keys, sessions of roles that exist and trust the caller."""

from __future__ import annotations

import contextvars
import json
from datetime import UTC, datetime
from typing import Any

import moto.iam.models
from moto.core.exceptions import ServiceException
from moto.iam.models import AccessKey, iam_backends
from moto.sts.models import AssumedRole, STSBackend
from moto.sts.responses import TokenResponse

from mayfly_lab import accounts
from mayfly_lab.control.state import replace

_PARTITION = "aws"
_expiry: dict[str, datetime] = {}
_caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller")


class AccessDenied(ServiceException):
    code = "AccessDenied"


def install() -> None:
    """Put the lab's identities into moto."""
    replace(moto.iam.models, get_account_id_from=accounts.account_of)
    original_assume = STSBackend.assume_role

    def assume_role(self: STSBackend, **arguments: Any) -> AssumedRole:
        _check_trust(arguments["role_arn"], _caller.get(), arguments.get("external_id"))
        role = original_assume(self, **arguments)
        _expiry[role.access_key_id] = role.expiration.replace(tzinfo=UTC)
        return role

    replace(STSBackend, assume_role=assume_role, _create_access_key=_create_access_key)
    original_response = TokenResponse.assume_role

    def respond(self: TokenResponse) -> Any:
        _caller.set(self.get_access_key())
        return original_response(self)

    replace(TokenResponse, assume_role=respond)


def has_expired(access_key_id: str) -> bool:
    """Whether this is a session's key whose time is over."""
    expiry = _expiry.get(access_key_id)
    return expiry is not None and expiry < datetime.now(UTC)


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


def _check_trust(role_arn: str, caller_key: str, external_id: str | None) -> None:
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
