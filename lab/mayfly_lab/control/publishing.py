# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, roles and KMS keys with their policies, written down for every service that enforces IAM."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from moto.iam.models import iam_backends
from moto.kms.models import kms_backends

from mayfly_lab.accounts import ACCOUNTS
from mayfly_lab.addresses import REGIONS
from mayfly_lab.control.state import Lab

_PARTITION = "aws"
_READING = ("Describe", "Get", "List", "Simulate")
_USING = ("Decrypt", "Encrypt", "Generate", "ReEncrypt", "Sign", "Verify")  # of a KMS key, which stays as it is
_written: list[str] = []


def concerns(service: str, call: str) -> bool:
    """Whether a call can change what is published."""
    return service in ("iam", "kms") and not call.startswith((*_READING, *_USING))


def publish() -> None:
    """Write everything down, if it has changed; under the lock."""
    text = json.dumps(current())
    if _written[-1:] == [text]:
        return
    path: Path = Lab.paths.iam / "identities.json"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    unfinished = path.with_suffix(f".new{os.getpid()}")
    unfinished.write_text(text)
    unfinished.replace(path)
    _written[:] = [text]


def current() -> dict[str, Any]:
    """The form that `mayfly_lab.iam.identities` reads."""
    found: dict[str, Any] = {"users": {}, "roles": {}, "access_keys": {}, "administrators": [], "keys": {}}
    for account in ACCOUNTS.values():
        backend = iam_backends[account][_PARTITION]
        for user in backend.users.values():
            found["users"][user.arn] = _user(backend, user)
            found["access_keys"] |= {key.access_key_id: user.arn for key in user.access_keys if key.status == "Active"}
            found["administrators"] += [user.arn] if getattr(user, "lab_administrator", False) else []
        for role in backend.roles.values():
            found["roles"][role.arn] = _role(backend, role)
        for region in REGIONS:
            for key in kms_backends[account][region].keys.values():
                found["keys"][key.arn] = _key(key)
    return found


def _user(backend: Any, user: Any) -> dict[str, Any]:
    groups = [group for group in backend.groups.values() if user in group.users]
    return {
        "id": user.id,
        "name": user.name,
        "tags": _tags(backend.tagger.list_tags_for_resource(user.arn)["Tags"]),
        "policies": [policy for owner in (user, *groups) for policy in _policies(owner)],
        "boundary": [],  # moto keeps none for users
    }


def _role(backend: Any, role: Any) -> dict[str, Any]:
    boundary = role.permissions_boundary_arn
    return {
        "id": role.id,
        "trust": role.assume_role_policy_document,
        "tags": _tags(role.tags),
        "policies": _policies(role),
        "boundary": [[boundary, managed(backend, boundary)]] if boundary else [],
    }


def _policies(owner: Any) -> list[list[str]]:
    """[name, text] of each inline and each managed policy."""
    inline = [[name, text] for name, text in owner.policies.items()]
    return inline + [[policy.name, _text(policy)] for policy in owner.managed_policies.values()]


def managed(backend: Any, arn: str) -> str:
    """The text of a managed policy; raises KeyError."""
    return _text(backend.managed_policies[arn])


def _text(policy: Any) -> str:
    """What the version of a managed policy says that counts."""
    return next(str(each.document) for each in policy.versions if each.version_id == policy.default_version_id)


def _key(key: Any) -> dict[str, Any]:
    grants = [
        {
            "id": grant.id,
            "grantee": grant.grantee_principal,
            "operations": grant.operations,
            "constraints": grant.constraints,
        }
        for grant in key.grants.values()
    ]
    backend = kms_backends[key.account_id][key.region]
    return {
        "policy": key.policy,
        "aliases": sorted(key.aliases),
        "grants": grants,
        "spec": key.key_spec,
        "usage": key.key_usage,
        "tags": {tag["TagKey"]: tag["TagValue"] for tag in backend.list_resource_tags(key.id)["Tags"]},
    }


def _tags(tags: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}
