# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request to the control plane must be allowed to do, out of moto's present state; under the lock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

from mayfly_lab.control.state import LOCK, Lab
from mayfly_lab.control.things import Present
from mayfly_lab.faults import Request
from mayfly_lab.iam import ec2, kms, launches, named, sts
from mayfly_lab.iam.checks import Check, Context, Place
from mayfly_lab.iam.parameters import Parameters
from mayfly_lab.refusals import Refusal

_PARTITION = "aws"


def checks(request: Request, parameters: Parameters, body: bytes) -> list[Check]:
    """Everything that ``request`` must be allowed to do; ``body`` is read where the protocol is JSON."""
    place = Place(request.account, request.region)
    if request.service == "ec2":
        return ec2.checks(request.call, parameters, place, Present(ec2_backends[place.account][place.region]))
    if request.service == "sts":
        return sts.checks(request.call, parameters, place, Lab.guard.identities.trust(parameters.get("RoleArn") or ""))
    if request.service == "kms":
        return kms.checks(request.call, _object(body), place, Lab.guard.identities.all()["keys"])
    found = named.checks(request.service, request.call, parameters, place, lambda arn: _tags(arn, place))
    return [replace(check, resource=_with_path(check.resource, place)) for check in found]


def for_caller(request: Request, parameters: Parameters) -> list[Check]:
    """What EBS does with KMS keys for whoever makes encrypted volumes."""
    if request.service != "ec2" or request.call not in ("RunInstances", "CreateVolume"):
        return []
    place = Place(request.account, request.region)
    used = launches.keys(request.call, parameters, Present(ec2_backends[place.account][place.region]))
    keys = Lab.guard.identities.all()["keys"]
    return [check for key, source in used for check in kms.for_volume(key, source, place, keys)]


def enter(
    request: Request, parameters: Parameters, body: bytes, key_id: str, common: Context
) -> tuple[Refusal | None, bool]:
    """(the error that a request gets for want of permission, whether a KMS key is refused); not under the lock.

    A key that may not be used is found out later, as on AWS: the volume or the launch then fails by itself.
    """
    guard = Lab.guard
    if not guard.enforces:
        return None, False
    caller = guard.caller(request.service, key_id)
    if isinstance(caller, Refusal):
        return caller, False
    with LOCK:
        wanted, later = checks(request, parameters, body), for_caller(request, parameters)
    refusal = guard.refusal(request.service, request.call, caller, wanted, common)
    if refusal or not later:
        return refusal, False
    return None, guard.refusal(request.service, request.call, caller, later, common) is not None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:  # moto tells the caller
        return {}
    return value if isinstance(value, dict) else {}


def _with_path(arn: str, place: Place) -> str:
    """The ARN of a role or user with its path, which a request that names it does not have."""
    kind, _, name = arn.removeprefix(f"arn:aws:iam::{place.account}:").partition("/")
    backend = iam_backends[place.account][_PARTITION]
    kinds: dict[str, dict[str, Any]] = {"role": backend.roles, "user": backend.users}
    return next((str(owner.arn) for owner in kinds.get(kind, {}).values() if owner.name == name), arn)


def _tags(arn: str, place: Place) -> Mapping[str, str]:
    """The tags of a resource that a request names, as far as moto keeps them where the lab finds them."""
    service, resource = arn.split(":")[2], arn.split(":", 5)[5]
    if service == "ec2":
        return Present(ec2_backends[place.account][place.region]).get(resource.rpartition("/")[2]).tags
    if service == "iam" and resource.startswith("role/"):
        roles: Any = iam_backends[place.account][_PARTITION].roles.values()
        return next(({tag["Key"]: tag["Value"] for tag in role.tags} for role in roles if role.arn == arn), {})
    return {}
