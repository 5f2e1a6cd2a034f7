# SPDX-License-Identifier: GPL-3.0-or-later
"""A VPC with private subnets that reach AWS through a NAT gateway or through VPC endpoints alone, made once."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from typing import Any

CONTROL_NODE = "10.255.0.10/32"
WAYS_OUT = ("nat", "endpoints")
_NAME = "mayfly-lab"
_WAY_OUT = "way-out"  # the tag that tells how a VPC was made
_INTERFACES = ("ec2", "ebs", "sts", "kms")
_GATEWAY = "s3"


def ensure_network(ec2: Any, cidr: str, way_out: str = WAYS_OUT[0]) -> dict[str, Any]:
    """{vpc_id, subnet_ids, security_group_ids} of the VPC of that range; made when it is missing.

    ``way_out`` is one of WAYS_OUT; ends the program for a VPC that was made with the other.
    """
    filters = [{"Name": "tag:Name", "Values": [_NAME]}, {"Name": "cidr", "Values": [cidr]}]
    found = ec2.describe_vpcs(Filters=filters)["Vpcs"]
    if not found:
        return _make(ec2, cidr, way_out)
    made = {tag["Key"]: tag["Value"] for tag in found[0]["Tags"]}[_WAY_OUT]
    if made != way_out:
        sys.exit(f"lab: {cidr} was seeded with --network {made}: `lab down` comes before another one")
    return _described(ec2, found[0]["VpcId"])


def _make(ec2: Any, cidr: str, way_out: str) -> dict[str, Any]:
    blocks = (str(block) for block in ipaddress.ip_network(cidr).subnets(new_prefix=24))
    public_block = next(blocks)
    vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": True}})
    zones = [zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]]
    private = [_subnet(ec2, vpc, block, zone, "private") for zone, block in zip(zones, blocks, strict=False)]
    table = _table(ec2, vpc, private)
    if way_out == "nat":
        _add_nat_gateway(ec2, vpc, _subnet(ec2, vpc, public_block, zones[0], "public"), table)
    else:
        _add_endpoints(ec2, vpc, cidr, private, table)
    _group(ec2, vpc, _NAME, 22, CONTROL_NODE)
    # The name comes last: a VPC without it is one whose making was interrupted.
    tags = [{"Key": _WAY_OUT, "Value": way_out}, {"Key": "Name", "Value": _NAME}]
    ec2.create_tags(Resources=[vpc], Tags=tags)
    return _described(ec2, vpc)


def _add_nat_gateway(ec2: Any, vpc: str, public: str, table: str) -> None:
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    everywhere = {"DestinationCidrBlock": "0.0.0.0/0"}
    ec2.create_route(RouteTableId=_table(ec2, vpc, [public]), GatewayId=gateway, **everywhere)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=public, AllocationId=address)["NatGateway"]["NatGatewayId"]
    ec2.create_route(RouteTableId=table, NatGatewayId=nat, **everywhere)


def _add_endpoints(ec2: Any, vpc: str, cidr: str, subnets: list[str], table: str) -> None:
    group = _group(ec2, vpc, f"{_NAME}-endpoints", 443, cidr)
    for service in _names(ec2, _INTERFACES):
        ec2.create_vpc_endpoint(
            VpcEndpointType="Interface",
            VpcId=vpc,
            ServiceName=service,
            SubnetIds=subnets,
            SecurityGroupIds=[group],
            PrivateDnsEnabled=True,
        )
    for service in _names(ec2, [_GATEWAY]):
        ec2.create_vpc_endpoint(VpcEndpointType="Gateway", VpcId=vpc, ServiceName=service, RouteTableIds=[table])


def _names(ec2: Any, services: Any) -> Iterator[str]:
    for service in services:
        yield f"com.amazonaws.{ec2.meta.region_name}.{service}"


def _subnet(ec2: Any, vpc: str, block: str, zone: str, tier: str) -> str:
    subnet: str = ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone)["Subnet"]["SubnetId"]
    tags = {"tier": tier, "Name": f"{_NAME}-{tier}-{zone}"}
    ec2.create_tags(Resources=[subnet], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
    return subnet


def _table(ec2: Any, vpc: str, subnets: list[str]) -> str:
    """A route table of these subnets' own."""
    table: str = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    for subnet in subnets:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return table


def _group(ec2: Any, vpc: str, name: str, port: int, cidr: str) -> str:
    """A group that lets TCP in to one port from one range."""
    text = f"TCP {port} from {cidr}"
    group: str = ec2.create_security_group(GroupName=name, Description=text, VpcId=vpc)["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    return group


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
