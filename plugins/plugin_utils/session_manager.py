# SPDX-License-Identifier: GPL-3.0-or-later
"""What Session Manager needs in the table of permissions: rights of runs, and the role of its agent on workers."""

from __future__ import annotations

from .rights import DEPLOYMENT, TEMPORARY, Condition, Right, Role

_SSM_OURS = {f"ssm:resourceTag/{DEPLOYMENT}": "${Deployment}", f"ssm:resourceTag/{TEMPORARY}": "true"}
# https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-restrict-access-examples.html; IAM fills
# in the caller's user id.
_OWN_SESSIONS: Condition = {"StringLike": {"ssm:resourceTag/aws:ssmmessages:session-id": ["${aws:userid}"]}}
_SESSION_ARNS = ("arn:${AWS::Partition}:ssm:*:${AWS::AccountId}:session/*",)
REACH_WORKERS = (
    Right(
        "Reach workers over Session Manager, where that is configured",
        ("ssm:StartSession",),
        ("arn:${AWS::Partition}:ec2:*:${AWS::AccountId}:instance/*",),
        {"StringEquals": _SSM_OURS},
    ),
    Right("For SSH alone", ("ssm:StartSession",), ("arn:${AWS::Partition}:ssm:*::document/AWS-StartSSHSession",)),
    Right("Go on with its own sessions", ("ssmmessages:OpenDataChannel",), _SESSION_ARNS),
    Right("End and resume them", ("ssm:TerminateSession", "ssm:ResumeSession"), _SESSION_ARNS, _OWN_SESSIONS),
    Right(
        "Give workers the instance profile that Session Manager needs",
        ("iam:PassRole",),
        ("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/${SessionManagerRoleName}",),
        {"StringEquals": {"iam:PassedToService": "ec2.${AWS::URLSuffix}"}},
    ),
)
SESSION_MANAGER = Role(
    name="mayfly-session-manager",
    purpose="the agent of Session Manager on workers, only where mayfly_worker_connection is session_manager",
    setting="mayfly_accounts.NAME.worker_instance_profile",
    assumed_by="EC2, for workers",
    rights=(
        # https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
        Right(
            "Be reached by sessions; AWS knows no narrower resource",
            (
                "ssm:UpdateInstanceInformation",
                "ssmmessages:CreateControlChannel",
                "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel",
                "ssmmessages:OpenDataChannel",
            ),
        ),
    ),
)
