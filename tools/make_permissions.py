# SPDX-License-Identifier: GPL-3.0-or-later
"""Write ``iam/mayfly.yaml`` and ``docs/permissions.md`` from the table of rights; with --check, only compare them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "collections"))
from ansible_collections.mayfly.workers.plugins.plugin_utils import (  # noqa: E402
    permissions,
    restore_rights,
    rights,
    session_manager,
)

TEMPLATE = ROOT / "iam/mayfly.yaml"
PAGE = ROOT / "docs/permissions.md"
_HEADER = """# SPDX-License-Identifier: GPL-3.0-or-later
# Made by tools/make_permissions.py from plugins/plugin_utils/permissions.py.
"""
_FLAG = "^(true|false)$"
_PARAMETERS = {
    rights.BACKUP_ACCOUNT: ("true where this account owns the repository", None, _FLAG),
    rights.WORKER_DEPLOYMENT: ("true where workers are launched in this account", None, _FLAG),
    rights.PRODUCTION_ACCOUNT: (
        "true where this account owns what is backed up, or what is restored goes to it",
        None,
        _FLAG,
    ),
    "Deployment": ("Name of the installation, as mayfly_deployment", "default", "^[A-Za-z0-9-]{1,64}$"),
    "Bucket": ("Bucket of the repository", None, None),
    "Prefix": (
        "Prefix of the repository in the bucket, with a slash at its end; empty for all of the bucket",
        "",
        None,
    ),
    "RepositoryKey": ("ARN of the KMS key that wraps the repository's key and encrypts the bucket", None, "^arn:.*$"),
    "ControlNode": ("ARN of the role or user that Ansible runs as", None, "^arn:.*$"),
    "ExternalId": ("External id that the control node has to tell; empty for none", "", None),
    "RunRoleName": ("Name of the role of runs", permissions.RUN.name, None),
    "WorkerRoleName": ("Name of the role whose sessions workers get", permissions.WORKER.name, None),
    "ReaperRoleName": ("Name of the role of the playbook reap", permissions.REAPER.name, None),
    "InventoryRoleName": ("Name of the role of inventories", permissions.INVENTORY.name, None),
    "SharedSnapshots": (
        "true where mayfly_snapshot_access is share: workers of this account read what other accounts share with it",
        "false",
        _FLAG,
    ),
    restore_rights.IN_PLACE: (
        "true where restores may stop instances of this account, and exchange their volumes or attach more to them",
        "false",
        _FLAG,
    ),
    "RestoredRoles": (
        "Name of the roles that restored instances may be given by their instance profiles, * for any part of it",
        "none",
        None,
    ),
    "SessionManager": (
        "true where workers are reached over Session Manager: they get an instance profile then, and else none",
        "false",
        _FLAG,
    ),
    "SessionManagerRoleName": (
        "Name of the instance profile of workers reached over Session Manager, and of its role",
        session_manager.SESSION_MANAGER.name,
        None,
    ),
}
_NAMES = {
    "mayfly": "RunRole",
    "mayfly-worker": "WorkerRole",
    "mayfly-reaper": "ReaperRole",
    "mayfly-inventory": "InventoryRole",
    "mayfly-session-manager": "SessionManagerRole",
}


_PROFILE = "SessionManagerProfile"
_WANTED = "HasSessionManager"
# Ends the name of a role's managed policy.
_MORE = "Restores"


class Sub(str):
    """A text with ${…}, which CloudFormation fills in."""


class Dumper(yaml.SafeDumper):
    """Writes lists below their keys with an indent, and texts with ${…} as !Sub."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)


Dumper.add_representer(Sub, lambda dumper, value: dumper.represent_scalar("!Sub", str(value)))


def filled(value: Any) -> Any:
    """A value with its texts as Sub where they have something to be filled in."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {key: filled(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [filled(each) for each in value]
    if isinstance(value, str):
        return Sub(value) if "${" in value.replace("${aws:", "") else value
    return value


def statement(right: rights.Right) -> dict[str, Any]:
    """One statement of a policy, for CloudFormation."""
    made: dict[str, Any] = {
        "Effect": "Allow",
        "Action": list(right.actions),
        "Resource": filled(list(right.resources)),
    }
    if right.condition:
        made["Condition"] = filled(right.condition)
    return {"Fn::If": [f"Has{right.parameter}", made, {"Ref": "AWS::NoValue"}]} if right.parameter else made


def trust(role: rights.Role) -> dict[str, Any]:
    """Who assumes a role."""
    if role is permissions.WORKER:
        principal: Any = {"AWS": {"Fn::GetAtt": ["RunRole", "Arn"]}}
        return _assume(principal)
    if role is session_manager.SESSION_MANAGER:
        return _assume({"Service": Sub("ec2.${AWS::URLSuffix}")})
    condition = {"StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}}}
    wanted = {"Fn::If": ["HasExternalId", condition, {"Ref": "AWS::NoValue"}]}
    return _assume({"AWS": {"Ref": "ControlNode"}}, wanted)


def _assume(principal: Any, condition: Any = None) -> dict[str, Any]:
    allowed = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [{**allowed, **({"Condition": condition} if condition else {})}]}


def _parameter(role: rights.Role) -> str:
    """The parameter that all of a role's managed policy asks for: IAM takes no empty policy."""
    parameters = {right.parameter for right in role.more}
    return parameters.pop() if len(parameters) == 1 else ""


def _managed(role: rights.Role) -> dict[str, Any]:
    """The managed policy of a role, where there is one."""
    policy = {"Ref": f"{_NAMES[role.name]}{_MORE}"}
    parameter = _parameter(role)
    return {"Fn::If": [f"Has{parameter}", policy, {"Ref": "AWS::NoValue"}]} if parameter else policy


def _where_wanted(role: rights.Role) -> dict[str, str]:
    """The condition under which a role is made; most are always."""
    return {"Condition": _WANTED} if role is session_manager.SESSION_MANAGER else {}


def template() -> str:
    """The CloudFormation template of all roles of one account."""
    resources = {
        _NAMES[role.name]: {
            "Type": "AWS::IAM::Role",
            **_where_wanted(role),
            "Properties": {
                "RoleName": {"Ref": f"{_NAMES[role.name]}Name"},
                **({"ManagedPolicyArns": [_managed(role)]} if role.more else {}),
                "Description": f"mayfly: {role.purpose}",
                "AssumeRolePolicyDocument": trust(role),
                "Policies": [
                    {
                        "PolicyName": "mayfly",
                        "PolicyDocument": {
                            "Version": "2012-10-17",
                            "Statement": [statement(right) for right in role.rights],
                        },
                    }
                ],
            },
        }
        for role in permissions.ROLES
    }
    resources |= {
        f"{_NAMES[role.name]}{_MORE}": {
            "Type": "AWS::IAM::ManagedPolicy",
            **({"Condition": f"Has{parameter}"} if (parameter := _parameter(role)) else {}),
            "Properties": {
                "Description": f"mayfly: {role.purpose}",
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        statement(replace(right, parameter="") if _parameter(role) else right) for right in role.more
                    ],
                },
            },
        }
        for role in permissions.ROLES
        if role.more
    }
    of_profile = _NAMES[session_manager.SESSION_MANAGER.name]
    resources[_PROFILE] = {
        "Type": "AWS::IAM::InstanceProfile",
        **_where_wanted(session_manager.SESSION_MANAGER),
        "Properties": {
            "InstanceProfileName": {"Ref": f"{of_profile}Name"},
            "Roles": [{"Ref": of_profile}],
        },
    }
    content = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Roles of mayfly in one account; a stack in the backup account and in each production account",
        "Parameters": {
            name: {
                "Type": "String",
                "Description": said,
                **({} if default is None else {"Default": default}),
                **({} if pattern is None else {"AllowedPattern": pattern}),
            }
            for name, (said, default, pattern) in _PARAMETERS.items()
        },
        "Conditions": {
            "HasExternalId": {"Fn::Not": [{"Fn::Equals": [{"Ref": "ExternalId"}, ""]}]},
            **{
                f"Has{name}": {"Fn::Equals": [{"Ref": name}, "true"]}
                for name, (_said, _default, pattern) in _PARAMETERS.items()
                if pattern == _FLAG
            },
        },
        "Resources": resources,
        "Outputs": {
            **{
                f"{name}Arn": {"Value": {"Fn::GetAtt": [name, "Arn"]}, "Description": role.setting}
                for role in permissions.ROLES
                for name in [_NAMES[role.name]]
                if role is not session_manager.SESSION_MANAGER
            },
            _PROFILE: {
                **_where_wanted(session_manager.SESSION_MANAGER),
                "Value": {"Ref": _PROFILE},
                "Description": session_manager.SESSION_MANAGER.setting,
            },
        },
    }
    return _HEADER + "---\n" + yaml.dump(content, Dumper=Dumper, sort_keys=False, width=120)


def page() -> str:
    """docs/permissions.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Permissions"
    yield ""
    yield "<!-- Made by tools/make_permissions.py from plugins/plugin_utils/permissions.py. -->"
    yield ""
    yield "`iam/mayfly.yaml` is a CloudFormation template of the roles below. Make a stack of it in the backup"
    yield "account and in each production account, with the same bucket and key. Its roles have the rights that fit"
    yield "what the account is for; one account may be all three:"
    yield ""
    yield "| Parameter | |"
    yield "| --- | --- |"
    for name in (rights.BACKUP_ACCOUNT, rights.WORKER_DEPLOYMENT, rights.PRODUCTION_ACCOUNT):
        yield f"| `{name}` | {_PARAMETERS[name][0]} |"
    yield ""
    yield "Rights to make something ask for this deployment's tags on the request; rights to change or delete ask for"
    yield "the same tags on what is there."
    for role in permissions.ROLES:
        yield ""
        yield f"## {role.name}"
        yield ""
        goes = "its instance profile's name" if role is session_manager.SESSION_MANAGER else "its ARN"
        yield f"For {role.purpose}. It is assumed by {role.assumed_by}, and {goes} goes into `{role.setting}`."
        yield ""
        yield "| Why | Actions | On | If | Playbooks |"
        yield "| --- | --- | --- | --- | --- |"
        for right in role.all_rights:
            cells = (
                right.why,
                ", ".join(f"`{each}`" for each in right.actions),
                ", ".join(f"`{each}`" for each in _short(right.resources)),
                "; ".join(_conditions(right)) or "always",
                ", ".join(right.operations) or "all",
            )
            yield f"| {' | '.join(cells)} |"


def _short(resources: tuple[str, ...]) -> list[str]:
    return [each.removeprefix("arn:${AWS::Partition}:").replace("${AWS::AccountId}", "") for each in resources]


def _conditions(right: rights.Right) -> Iterator[str]:
    if right.parameter:
        yield f"the parameter `{right.parameter}` is true"
    for operator, keys in right.condition.items():
        for key, value in keys.items():
            shown = ", ".join(value) if isinstance(value, list | tuple) else value
            yield f"`{key}` {operator} `{shown}`"


def main() -> int:
    """0 when both files are as they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail when a file differs")
    check = parser.parse_args().check
    stale = []
    for path, content in ((TEMPLATE, template()), (PAGE, page())):
        if path.exists() and path.read_text() == content:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
    if check and stale:
        print(f"{', '.join(stale)} differs from the table: run tools/make_permissions.py", file=sys.stderr)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
