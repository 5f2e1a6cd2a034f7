# SPDX-License-Identifier: GPL-3.0-or-later
"""A small EC2 for tests, and the words they need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mayfly_lab.iam.callers import Caller
from mayfly_lab.iam.checks import Check, Place
from mayfly_lab.iam.things import Thing, kind_of

ACCOUNT, OTHER = "111122223333", "444455556666"
PLACE = Place(ACCOUNT, "us-east-1")
EC2 = f"arn:aws:ec2:us-east-1:{ACCOUNT}:"
FREE = "arn:aws:ec2:us-east-1::"
VPC = f"{EC2}vpc/vpc-0a"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/11111111-1111-1111-1111-111111111111"
OPEN_KEY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }
)
KEYS = {
    KEY: {
        "policy": OPEN_KEY,
        "aliases": ["alias/mayfly"],
        "grants": [],
        "spec": "SYMMETRIC_DEFAULT",
        "usage": "ENCRYPT_DECRYPT",
        "tags": {"team": "backup"},
    }
}


@dataclass(frozen=True)
class World:
    """Of `mayfly_lab.iam.things.Things`."""

    things: Mapping[str, Thing] = field(default_factory=dict)

    def get(self, identity: str) -> Thing:
        return self.things.get(identity, Thing(kind_of(identity) or "instance", identity))

    def volumes(self, instance_id: str) -> list[str]:
        return {"i-0a": ["vol-0a", "vol-0b"]}.get(instance_id, [])

    def root_disk(self, image_id: str) -> Mapping[str, str]:
        disk = {"DeviceName": "/dev/xvda", "VolumeSize": "8", "VolumeType": "gp3", "SnapshotId": "snap-0f"}
        return disk if image_id == "ami-0a" else {}

    def default_vpc(self) -> str | None:
        return "vpc-0a"

    def default_subnet(self, zone: str | None) -> str | None:
        return "subnet-0a" if zone in (None, "us-east-1a") else None

    def default_group(self, vpc_id: str) -> str | None:
        return "sg-0d" if vpc_id == "vpc-0a" else None

    def group_named(self, name: str) -> str | None:
        return "sg-0a" if name == "ssh" else None

    def role_of_profile(self, profile: str) -> str | None:
        return f"arn:aws:iam::{ACCOUNT}:role/worker" if profile == "worker" else None


WORLD = World(
    {
        "i-0a": Thing("instance", "i-0a", {"run": "r1"}, {"ec2:InstanceType": "t3.small"}),
        "vol-0a": Thing("volume", "vol-0a", {"run": "r1"}, {"ec2:VolumeSize": "8"}),
        "snap-0a": Thing("snapshot", "snap-0a", {"run": "r1"}, {"ec2:VolumeSize": "9", "ec2:Encrypted": "false"}),
        "snap-0e": Thing("snapshot", "snap-0e", {}, {"ec2:Encrypted": "true", "ec2:KmsKeyId": KEY}),
        "subnet-0a": Thing("subnet", "subnet-0a", {}, {"ec2:AvailabilityZone": "us-east-1a", "ec2:Vpc": VPC}),
        "sg-0a": Thing("security-group", "sg-0a", {"run": "r1"}, {"ec2:Vpc": VPC}),
    }
)


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(actions: Any, resources: Any = "*", condition: Any = None, effect: str = "Allow") -> dict[str, Any]:
    found = {"Effect": effect, "Action": actions, "Resource": resources}
    return {**found, "Condition": condition} if condition else found


def caller(*statements: dict[str, Any], session: str | None = None, boundary: str | None = None) -> Caller:
    """A session of the role ``worker``."""
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/s1"
    context = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/worker", "aws:PrincipalAccount": ACCOUNT}
    policies = (("own", policy(*statements)),) if statements else ()
    limit = (("limit", boundary),) if boundary else ()
    return Caller(arn, ACCOUNT, policies, limit, session, context)


def shown(check: Check) -> str:
    """A check without its conditions."""
    return f"{check.action} {check.resource}"
