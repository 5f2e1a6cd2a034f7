# SPDX-License-Identifier: GPL-3.0-or-later
"""What restores of whole instances, and to instances that are there, need in the table of permissions.

They are in a policy of their own: with the others, the role's inline policy would be longer than IAM takes.
"""

from __future__ import annotations

from dataclasses import replace

from .rights import DEPLOYMENT, PRODUCTION_ACCOUNT, TEMPORARY, Condition, Right, where

#: The tag of a volume whose place another one takes: the instance and the device that it belongs to.
REPLACED = "mayfly:replaced"
#: Beside it until that is settled: the deployment, whether the instance ran, and the run.
REPLACING = "mayfly:replacing"
#: The template's parameter that opens instances of the user's own to restores.
IN_PLACE = "RestoreInPlace"
_TEMPORARY: Condition = {
    "StringEquals": {f"aws:ResourceTag/{DEPLOYMENT}": "${Deployment}", f"aws:ResourceTag/{TEMPORARY}": "true"}
}
# Members of an Auto Scaling group are replaced when they stop.
_NO_MEMBER: Condition = {"Null": {"aws:ResourceTag/aws:autoscaling:groupName": "true"}}
_INSTANCES = ("arn:${AWS::Partition}:ec2:*:${AWS::AccountId}:instance/*",)
_VOLUMES = ("arn:${AWS::Partition}:ec2:*:${AWS::AccountId}:volume/*",)
_GROUPS = ("arn:${AWS::Partition}:ec2:*:${AWS::AccountId}:security-group/*",)
_KEYS = ("arn:${AWS::Partition}:ec2:*:${AWS::AccountId}:key-pair/*",)
_NEW = ("ec2_restore",)
_THERE = ("ec2_restore", "volume_restore")

_IN_PLACE = (
    Right(
        "Stop instances that are there, and give them volumes",
        (
            "ec2:AttachVolume",
            "ec2:DetachVolume",
            "ec2:ModifyInstanceAttribute",
            "ec2:StartInstances",
            "ec2:StopInstances",
        ),
        _INSTANCES,
        _NO_MEMBER,
        _THERE,
        parameter=IN_PLACE,
    ),
    Right(
        "Take their volumes, and put them back",
        ("ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyInstanceAttribute"),
        _VOLUMES,
        operations=_THERE,
        parameter=IN_PLACE,
    ),
    Right(
        "Write at such a volume where it belongs",
        ("ec2:CreateTags", "ec2:DeleteTags"),
        _VOLUMES,
        {"ForAllValues:StringEquals": {"aws:TagKeys": [REPLACED, REPLACING]}},
        _THERE,
        parameter=IN_PLACE,
    ),
)
#: Of the playbook reap: what was begun in place is undone when its run is dead.
PUT_BACK = tuple(replace(each, operations=("reap",)) for each in _IN_PLACE)
RESTORES = (
    Right(
        "See whether instances may be stopped, and whether they have booted",
        ("ec2:DescribeInstanceAttribute", "ec2:DescribeInstanceStatus", "ec2:DescribeKeyPairs"),
        operations=_THERE,
    ),
    *where(
        PRODUCTION_ACCOUNT,
        Right(
            "See whether an instance profile is there",
            ("iam:GetInstanceProfile",),
            ("arn:${AWS::Partition}:iam::${AWS::AccountId}:instance-profile/*",),
            operations=_NEW,
        ),
        Right("Launch restored instances with their key pairs", ("ec2:RunInstances",), _KEYS, operations=_NEW),
        Right(
            "And with their instance profiles",
            ("iam:PassRole",),
            ("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/${RestoredRoles}",),
            {"StringEquals": {"iam:PassedToService": "ec2.${AWS::URLSuffix}"}},
            _NEW,
        ),
        Right(
            "Give a new instance its volumes, and start it",
            ("ec2:AttachVolume", "ec2:DetachVolume", "ec2:StartInstances", "ec2:StopInstances"),
            (*_INSTANCES, *_VOLUMES),
            _TEMPORARY,
            _THERE,
        ),
        Right("Say which of them go with it", ("ec2:ModifyInstanceAttribute",), _VOLUMES, _TEMPORARY, _NEW),
        Right("Move it to its security groups", ("ec2:ModifyInstanceAttribute",), _GROUPS, operations=_NEW),
    ),
    *_IN_PLACE,
)
