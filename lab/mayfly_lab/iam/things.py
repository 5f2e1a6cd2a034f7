# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources of EC2's as policies see them: ARN, tags, condition keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mayfly_lab.iam.checks import ANY, Context, Place, resource_tags

KINDS = {
    "acl": "network-acl",
    "ami": "image",
    "dopt": "dhcp-options",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "i": "instance",
    "igw": "internet-gateway",
    "lt": "launch-template",
    "nat": "natgateway",
    "pcx": "vpc-peering-connection",
    "rtb": "route-table",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "snap": "snapshot",
    "subnet": "subnet",
    "vol": "volume",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}
_WITHOUT_ACCOUNT = ("image", "snapshot")
# The condition key that holds a resource's own id.
_ID_KEYS = {
    "image": "ec2:ImageID",
    "instance": "ec2:InstanceID",
    "network-interface": "ec2:NetworkInterfaceID",
    "security-group": "ec2:SecurityGroupID",
    "snapshot": "ec2:SnapshotID",
    "subnet": "ec2:SubnetID",
    "volume": "ec2:VolumeID",
    "vpc": "ec2:VpcID",
}


@dataclass(frozen=True)
class Thing:
    """A resource of EC2's; ``keys`` are its condition keys but for tags, Region and its own id."""

    kind: str
    identity: str
    tags: Mapping[str, str] = field(default_factory=dict)
    keys: Context = field(default_factory=dict)

    def context(self, place: Place) -> Context:
        """The conditions that it makes where it exists already."""
        own: Context = {_ID_KEYS[self.kind]: self.identity} if self.kind in _ID_KEYS else {}
        return {"ec2:Region": place.region, **own, **self.keys, **resource_tags(self.tags, "ec2:ResourceTag")}


class Things(Protocol):
    """What EC2 has at this moment in one account and Region."""

    def get(self, identity: str) -> Thing:
        """The resource of an id, one without tags where there is none."""

    def volumes(self, instance_id: str) -> list[str]:
        """Ids of the volumes that are attached to an instance."""

    def root_disk(self, image_id: str) -> Mapping[str, str]:
        """DeviceName of an image's root disk, and the Ebs settings it has by itself."""

    def default_vpc(self) -> str | None:
        """The id of the default VPC."""

    def default_subnet(self, zone: str | None) -> str | None:
        """The id of the default subnet of an Availability Zone, or of any."""

    def default_group(self, vpc_id: str) -> str | None:
        """The id of a VPC's default security group."""

    def group_named(self, name: str) -> str | None:
        """The id of the security group of that name in the default VPC."""

    def role_of_profile(self, profile: str) -> str | None:
        """The ARN of the role in an instance profile, by its name or ARN."""


def kind_of(identity: str) -> str | None:
    """The kind of resource that an id is of, None for what is no id."""
    prefix, _, rest = identity.partition("-")
    return KINDS.get(prefix) if rest and all(letter in "0123456789abcdef" for letter in rest) else None


def arn(place: Place, kind: str, identity: str = ANY) -> str:
    """The ARN of a resource, of one to be made without an ``identity``."""
    account = "" if kind in _WITHOUT_ACCOUNT else place.account
    return f"arn:aws:ec2:{place.region}:{account}:{kind}/{identity}"
