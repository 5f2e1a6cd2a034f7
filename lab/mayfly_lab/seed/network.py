# SPDX-License-Identifier: GPL-3.0-or-later
"""A VPC with private subnets that reach AWS through a NAT gateway, made once."""

from __future__ import annotations

import ipaddress
from typing import Any

CONTROL_NODE = "10.255.0.10/32"
_NAME = "mayfly-lab"


def ensure_network(ec2: Any, cidr: str) -> dict[str, Any]:
    """{vpc_id, subnet_ids, security_group_ids} of the VPC of that range; made when it is missing."""
    filters = [{"Name": "tag:Name", "Values": [_NAME]}, {"Name": "cidr", "Values": [cidr]}]
    found = ec2.describe_vpcs(Filters=filters)["Vpcs"]
    return _described(ec2, found[0]["VpcId"]) if found else _make(ec2, cidr)


def _make(ec2: Any, cidr: str) -> dict[str, Any]:
    blocks = ipaddress.ip_network(cidr).subnets(new_prefix=24)
    public_block = str(next(blocks))
    vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": True}})
    zones = [zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    public = ec2.create_subnet(VpcId=vpc, CidrBlock=public_block, AvailabilityZone=zones[0])["Subnet"]["SubnetId"]
    _route(ec2, vpc, [public], {"GatewayId": gateway})
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=public, AllocationId=address)["NatGateway"]["NatGatewayId"]
    private = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=str(next(blocks)), AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for zone in zones
    ]
    ec2.create_tags(Resources=private, Tags=[{"Key": "tier", "Value": "private"}])
    _route(ec2, vpc, private, {"NatGatewayId": nat})
    group = ec2.create_security_group(GroupName=_NAME, Description="SSH from the control node", VpcId=vpc)["GroupId"]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": CONTROL_NODE}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh])
    # The name comes last: a VPC without it is one whose making was interrupted.
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": _NAME}])
    return _described(ec2, vpc)


def _route(ec2: Any, vpc: str, subnets: list[str], target: dict[str, str]) -> None:
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **target)
    for subnet in subnets:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)


def _described(ec2: Any, vpc: str) -> dict[str, Any]:
    inside = {"Name": "vpc-id", "Values": [vpc]}
    subnets = ec2.describe_subnets(Filters=[inside, {"Name": "tag:tier", "Values": ["private"]}])["Subnets"]
    groups = ec2.describe_security_groups(Filters=[inside, {"Name": "group-name", "Values": [_NAME]}])
    return {
        "vpc_id": vpc,
        "subnet_ids": [subnet["SubnetId"] for subnet in sorted(subnets, key=_address)],
        "security_group_ids": [groups["SecurityGroups"][0]["GroupId"]],
    }


def _address(subnet: dict[str, Any]) -> ipaddress.IPv4Network:
    """Subnets in the order of their zones, always the same."""
    return ipaddress.IPv4Network(subnet["CidrBlock"])
