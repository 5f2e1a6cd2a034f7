# SPDX-License-Identifier: GPL-3.0-or-later
"""What requests to services must be allowed to do whose resources are named in the request itself. Pure.

IAM, SSM, RDS, EFS, Secrets Manager and Service Quotas; the resources of each action stand in the Service
Authorization Reference, https://docs.aws.amazon.com/service-authorization/latest/reference/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mayfly_lab.iam.checks import ANY, Check, Context, Place, request_tags, resource_tags
from mayfly_lab.iam.parameters import Parameters

Tags = Callable[[str], Mapping[str, str]]  # of an ARN


@dataclass(frozen=True)
class Service:
    """How a service's actions are called, and how its resources are named.

    ``resources``: by parameter, the ARN after ``arn:aws:SERVICE:REGION:ACCOUNT:`` with ``{}`` for the parameter's
    value (or a function of Place and value that gives all of the ARN). ``listed``: the ARN of all of a kind, for calls
    that list them and name none.
    """

    prefix: str
    resources: Mapping[str, str | Callable[[Place, str], str]] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)
    tag_prefix: tuple[str, ...] = ()
    passed_to: Mapping[str, str] = field(default_factory=dict)  # call → service that gets a role with it


def _global(kind: str) -> Callable[[Place, str], str]:
    return lambda place, name: name if name.startswith("arn:") else f"arn:aws:iam::{place.account}:{kind}/{name}"


def _parameter(place: Place, name: str) -> str:
    # Those that AWS publishes belong to no account.
    account = "" if name.startswith("/aws/") else place.account
    return name if name.startswith("arn:") else f"arn:aws:ssm:{place.region}:{account}:parameter/{name.lstrip('/')}"


def _document(place: Place, name: str) -> str:
    account = "" if name.startswith("AWS-") else place.account
    return name if name.startswith("arn:") else f"arn:aws:ssm:{place.region}:{account}:document/{name}"


def _target(place: Place, name: str) -> str:
    service, kind = ("ssm", "managed-instance") if name.startswith("mi-") else ("ec2", "instance")
    return place.arn(service, f"{kind}/{name}")


def _secret(place: Place, name: str) -> str:
    return name if name.startswith("arn:") else place.arn("secretsmanager", f"secret:{name}")


_DB_LISTS = {
    "DescribeDBClusterSnapshots": "cluster-snapshot:{}",
    "DescribeDBClusters": "cluster:{}",
    "DescribeDBInstances": "db:{}",
    "DescribeDBSnapshots": "snapshot:{}",
    "DescribeDBSubnetGroups": "subgrp:{}",
}
SERVICES = {
    "iam": Service(
        "iam",
        {
            "InstanceProfileName": _global("instance-profile"),
            "RoleName": _global("role"),
            "UserName": _global("user"),
            "GroupName": _global("group"),
            "PolicyArn": _global("policy"),
            "PolicyName": _global("policy"),
            "PolicySourceArn": _global("role"),
        },
        passed_to={"AddRoleToInstanceProfile": "ec2.amazonaws.com"},
    ),
    "ssm": Service(
        "ssm",
        {
            "Name": _parameter,
            "Names": _parameter,
            "Path": _parameter,
            "Target": _target,
            "DocumentName": _document,
            "InstanceIds": _target,
            "SessionId": "session/{}",
        },
        tag_prefix=("ssm:resourceTag",),
    ),
    "rds": Service(
        "rds",
        {
            "DBInstanceIdentifier": "db:{}",
            "DBSnapshotIdentifier": "snapshot:{}",
            "DBClusterIdentifier": "cluster:{}",
            "DBClusterSnapshotIdentifier": "cluster-snapshot:{}",
            "DBSubnetGroupName": "subgrp:{}",
            "DBParameterGroupName": "pg:{}",
            "OptionGroupName": "og:{}",
            "ResourceName": "{}",
        },
        listed=_DB_LISTS,
    ),
    "efs": Service(
        "elasticfilesystem",
        {
            "FileSystemId": "file-system/{}",
            "AccessPointId": "access-point/{}",
            "ResourceId": "file-system/{}",
        },
        listed={"DescribeFileSystems": "file-system/{}"},
    ),
    "secretsmanager": Service("secretsmanager", {"SecretId": _secret}, tag_prefix=("secretsmanager:ResourceTag",)),
    "servicequotas": Service("servicequotas"),
    "pricing": Service("pricing"),
}
_EXACT = ("ssm", "secretsmanager", "servicequotas")  # every parameter above names a resource of the call
_QUOTA_CALLS = ("GetServiceQuota", "RequestServiceQuotaIncrease")


def checks(service: str, call: str, parameters: Parameters, place: Place, tags: Tags) -> list[Check]:
    """What ``call`` of a service must be allowed to do; ``tags`` gives those of an ARN."""
    known = SERVICES[service]
    given = parameters.tags()
    found = [
        Check(
            f"{known.prefix}:{call}",
            arn,
            place.account,
            {**resource_tags(tags(arn), *known.tag_prefix), **request_tags(given)},
            open=service not in _EXACT,
        )
        for arn in dict.fromkeys(_arns(service, call, parameters, place))
    ]
    passed = parameters.get("RoleName") if call in known.passed_to else None
    if passed:
        context: Context = {"iam:PassedToService": known.passed_to[call]}
        found.append(Check("iam:PassRole", _global("role")(place, passed), place.account, context))
    return found or [Check(f"{known.prefix}:{call}", "*", place.account, request_tags(given))]


def _arns(service: str, call: str, parameters: Parameters, place: Place) -> Iterable[str]:
    known = SERVICES[service]
    if service == "servicequotas":
        quota = parameters.get("ServiceCode"), parameters.get("QuotaCode")
        return [place.arn("servicequotas", "/".join(map(str, quota)))] if call in _QUOTA_CALLS and all(quota) else []
    named = [
        _arn(known, form, place, value) for name, form in known.resources.items() for value in _all(parameters, name)
    ]
    if service == "ssm" and call == "StartSession" and not parameters.get("DocumentName"):
        named.append(_document(place, "SSM-SessionManagerRunShell"))
    if not named and call in known.listed:
        return [_arn(known, known.listed[call], place, ANY)]
    return named


def _arn(known: Service, form: str | Callable[[Place, str], str], place: Place, value: str) -> str:
    if callable(form):
        return form(place, value)
    return value if value.startswith("arn:") else place.arn(known.prefix, form.format(value))


def _all(parameters: Parameters, name: str) -> Sequence[str]:
    return [each for each in parameters.all(name) if each]
