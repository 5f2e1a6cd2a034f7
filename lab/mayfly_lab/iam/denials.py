# SPDX-License-Identifier: GPL-3.0-or-later
"""A denial in AWS's words. Pure.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html has the sentences, and
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html the code of EC2.
"""

from __future__ import annotations

import base64
import json
import zlib

from mayfly_lab.iam.callers import Caller
from mayfly_lab.iam.checks import Check
from mayfly_lab.iam.engine import Outcome
from mayfly_lab.refusals import Refusal

_KINDS = {
    "identity": "an identity-based policy",
    "resource": "a resource-based policy",
    "session": "a session policy",
    "boundary": "a permissions boundary",
}
_NO = {
    "boundary": "no permissions boundary",
    "session": "no session policy",
    "identity": "no identity-based policy",
    "resource": "no resource-based policy",
}
_DENIED = {
    "ec2": (403, "UnauthorizedOperation"),
    "s3": (403, "AccessDenied"),
    "sts": (403, "AccessDenied"),
    "iam": (403, "AccessDenied"),
    "rds": (403, "AccessDenied"),
    "ebs": (403, "AccessDeniedException"),
    "efs": (403, "AccessDeniedException"),
}
_OTHERS_DENIED = (400, "AccessDeniedException")  # of the JSON protocols: KMS, SSM, Secrets Manager, Service Quotas


def sentence(caller: Caller, check: Check, outcome: Outcome) -> str:
    """Who may not do what, and which kind of policy is why."""
    resource = f" on resource: {check.resource}" if check.resource != "*" else ""
    said = f"User: {caller.arn} is not authorized to perform: {check.action}{resource}"
    return f"{said} {reason(caller, check, outcome)}"


def reason(caller: Caller, check: Check, outcome: Outcome) -> str:
    """``because no identity-based policy allows the … action``, or ``with an explicit deny in …``."""
    if outcome.error:
        return f"because the lab cannot decide it: {outcome.error}"
    denying = next((kind for kind in _KINDS if outcome.parts.get(kind, "").startswith(("Explicitly", "Denied"))), None)
    if denying:
        return f"with an explicit deny in {_KINDS[denying]}"
    parts = dict(outcome.parts)
    if caller.account != check.account and parts.get("resource") == "NotApplicable":
        parts["resource"] = "ImplicitlyDenied"  # without a policy of its own it is its account's alone
    missing = next((kind for kind in _NO if not _grants(parts.get(kind))), "identity")
    return f"because {_NO[missing]} allows the {check.action} action"


def refusal(service: str, caller: Caller, check: Check, outcome: Outcome) -> Refusal:
    """The error that a service answers with."""
    status, code = _DENIED.get(service, _OTHERS_DENIED)
    text = sentence(caller, check, outcome)
    if service == "ec2":
        text = f"You are not authorized to perform this operation. {text}. "
        text += f"Encoded authorization failure message: {encoded(caller, check, outcome)}"
    return Refusal(status, code, text)


def encoded(caller: Caller, check: Check, outcome: Outcome) -> str:
    """The decision in one word, as EC2 gives it (there for sts:DecodeAuthorizationMessage alone)."""
    told = {
        "allowed": False,
        "explicitDeny": outcome.result == "ExplicitlyDenied",
        "context": {"principal": caller.arn, "action": check.action, "resource": check.resource},
        "conditions": dict(check.context),
    }
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(told).encode())).decode().rstrip("=")


def _grants(result: str | None) -> bool:
    """Whether a kind of policy lets the request through, or is not there to be asked."""
    return result in (None, "NotApplicable", "Allowed", "AllowedForAccount")
