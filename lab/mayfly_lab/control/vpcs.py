# SPDX-License-Identifier: GPL-3.0-or-later
"""VPCs whose address ranges never clash, and a default VPC that is as AWS makes it."""

from __future__ import annotations

import ipaddress
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.vpcs import VPCBackend

from mayfly_lab.accounts import ACCOUNTS
from mayfly_lab.addresses import CONTROL_NODE, REGIONS
from mayfly_lab.control.state import backends, replace

_DEFAULT_FIRST = 200  # 10.200.0.0/16 and upwards
_create_vpc = VPCBackend.create_vpc


def install() -> None:
    """Put these functions into moto."""
    replace(VPCBackend, create_default_vpc=create_default_vpc, create_vpc=create_vpc)


def default_range(account: str, region: str) -> str:
    """The range of the default VPC of an account and Region (AWS gives all of them 172.31.0.0/16)."""
    places = [(owner, name) for owner in ACCOUNTS.values() for name in REGIONS]
    if (account, region) not in places:
        return "172.31.0.0/16"  # moto finds its URLs with an account of its own, in which nothing is ever made
    return f"10.{_DEFAULT_FIRST + places.index((account, region))}.0.0/16"


def create_default_vpc(self: Any) -> Any:
    """A VPC with an internet gateway, and a subnet with public addresses in each Availability Zone."""
    vpc = _create_vpc(self, default_range(self.account_id, self.region_name), is_default=True)
    for zone in self.describe_availability_zones():
        self.create_default_subnet(zone.name)
    gateway = self.create_internet_gateway()
    self.attach_internet_gateway(gateway.id, vpc.id)
    table = next(table for table in self.route_tables.values() if table.vpc_id == vpc.id)
    self.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)
    return vpc


def create_vpc(self: Any, cidr_block: str, *others: Any, **arguments: Any) -> Any:
    """As moto does, but the lab is one network: a range that is taken anywhere in it is refused."""
    wanted = ipaddress.IPv4Network(cidr_block, strict=False)
    taken = {default_range(account, region): "a default VPC" for account in ACCOUNTS.values() for region in REGIONS}
    taken |= {f"{CONTROL_NODE}/32": "the control node"}
    taken |= {vpc.cidr_block: vpc.id for backend in backends() for vpc in backend.vpcs.values()}
    for range_, owner in taken.items():
        if wanted.overlaps(ipaddress.ip_network(range_)):
            raise EC2ClientError("InvalidVpc.Range", f"The CIDR '{cidr_block}' overlaps that of {owner} ({range_}).")
    if not wanted.subnet_of(ipaddress.IPv4Network("10.0.0.0/8")):
        raise EC2ClientError(
            "InvalidVpc.Range", f"The CIDR '{cidr_block}' is not within 10.0.0.0/8, which the lab routes."
        )
    return _create_vpc(self, cidr_block, *others, **arguments)
