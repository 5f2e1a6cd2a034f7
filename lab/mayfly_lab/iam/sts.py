# SPDX-License-Identifier: GPL-3.0-or-later
"""What requests to STS must be allowed to do. Pure."""

from __future__ import annotations

from mayfly_lab.iam.checks import Check, Context, Place, request_tags
from mayfly_lab.iam.parameters import Parameters

# https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html: no permissions are required.
_FREE = ("GetCallerIdentity", "GetSessionToken")


def checks(call: str, parameters: Parameters, place: Place, trust: str | None) -> list[Check]:
    """What ``call`` must be allowed to do; ``trust`` is the trust policy of the role that it names.

    Where such a role is not there, STS says the same as where it trusts somebody else.
    """
    if call in _FREE:
        return []
    role = parameters.get("RoleArn")
    if call != "AssumeRole" or role is None:
        return [Check(f"sts:{call}", "*", place.account)]
    context = _context(parameters)
    actions = ["AssumeRole"]
    actions += ["TagSession"] if parameters.tags() else []
    actions += ["SetSourceIdentity"] if parameters.get("SourceIdentity") else []
    owner = role.split(":")[4] if role.count(":") >= 5 else place.account
    return [Check(f"sts:{action}", role, owner, context, trust) for action in actions]


def _context(parameters: Parameters) -> Context:
    names = {
        "sts:ExternalId": "ExternalId",
        "sts:RoleSessionName": "RoleSessionName",
        "sts:SourceIdentity": "SourceIdentity",
    }
    found: Context = {key: value for key, name in names.items() if (value := parameters.get(name))}
    passed = parameters.all("TransitiveTagKeys")
    return {**found, **({"sts:TransitiveTagKeys": passed} if passed else {}), **request_tags(parameters.tags())}
