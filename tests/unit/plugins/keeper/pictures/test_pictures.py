# SPDX-License-Identifier: GPL-3.0-or-later
"""An account as AWS describes it becomes the picture that placement reads: all pages, nothing that is gone, once."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.pictures import (
    describe_instance_types,
    describe_network,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import (
    Endpoint,
    InstanceType,
    Picture,
    Route,
    RouteTable,
    Rule,
    SecurityGroup,
    Subnet,
    Vpc,
    Zone,
)
from botocore.stub import Stubber

ACCOUNT, REGION = "111122223333", "eu-central-1"
ZONES = [{"ZoneName": "eu-central-1a", "ZoneId": "euc1-az2"}, {"ZoneName": "eu-central-1b", "ZoneId": "euc1-az3"}]
AVAILABLE = {"Filters": [{"Name": "state", "Values": ["available"]}]}


def aws_vpc(name: str, **more: Any) -> dict[str, Any]:
    """A VPC as AWS describes it."""
    return {"VpcId": name, "CidrBlock": "10.0.0.0/16", "DhcpOptionsId": "dopt-1", **more}


def aws_subnet(name: str, **more: Any) -> dict[str, Any]:
    """A subnet as AWS describes it."""
    given = {"SubnetId": name, "VpcId": "vpc-1", "AvailabilityZoneId": "euc1-az2", "AvailableIpAddressCount": 251}
    return {**given, **more}


def aws_table(name: str, *routes: dict[str, Any], associations: Any = ()) -> dict[str, Any]:
    """A route table as AWS describes it."""
    return {"RouteTableId": name, "VpcId": "vpc-1", "Routes": list(routes), "Associations": list(associations)}


def aws_endpoint(name: str, **more: Any) -> dict[str, Any]:
    """An interface endpoint as AWS describes it."""
    service = f"com.amazonaws.{REGION}.{name}"
    given = {"VpcEndpointId": f"vpce-{name}", "VpcId": "vpc-1", "ServiceName": service, "State": "available"}
    return {**given, "VpcEndpointType": "Interface", "PrivateDnsEnabled": True, **more}


def answer(ec2: Stubber, call: str, key: str, *pages: list[dict[str, Any]], **asked: Any) -> None:
    """Answer a call with so many pages."""
    for number, page in enumerate(pages):
        token = {"NextToken": f"{call}-{number + 1}"} if number + 1 < len(pages) else {}
        sent = {"NextToken": f"{call}-{number}"} if number else {}
        ec2.add_response(call, {key: page, **token}, {**asked, **sent})


def described(ec2: Stubber, **pages: list[list[dict[str, Any]]]) -> Picture:
    """The picture of an account of which these pages are described, and nothing else."""
    calls = {
        "describe_internet_gateways": "InternetGateways",
        "describe_dhcp_options": "DhcpOptions",
        "describe_vpcs": "Vpcs",
        "describe_subnets": "Subnets",
        "describe_route_tables": "RouteTables",
        "describe_vpc_endpoints": "VpcEndpoints",
        "describe_security_groups": "SecurityGroups",
    }
    answer(ec2, "describe_availability_zones", "AvailabilityZones", ZONES, **AVAILABLE)
    for call, key in calls.items():
        answer(ec2, call, key, *pages.get(call.removeprefix("describe_"), [[]]))
    return describe_network(ec2.client, ACCOUNT, REGION)


def test_an_empty_account_is_a_picture_of_its_zones(ec2: Stubber) -> None:
    zones = (Zone("eu-central-1a", "euc1-az2"), Zone("eu-central-1b", "euc1-az3"))
    assert described(ec2) == Picture(ACCOUNT, REGION, zones=zones)


def test_every_page_is_read(ec2: Stubber) -> None:
    picture = described(
        ec2,
        vpcs=[[aws_vpc("vpc-1", IsDefault=True)], [], [aws_vpc("vpc-2")]],
        subnets=[[aws_subnet("subnet-1")], [aws_subnet("subnet-2"), aws_subnet("subnet-3")]],
        route_tables=[[aws_table("rtb-1")], [aws_table("rtb-2")]],
        vpc_endpoints=[[aws_endpoint("s3")], [aws_endpoint("ebs")]],
    )
    assert [(each.id, each.default) for each in picture.vpcs] == [("vpc-1", True), ("vpc-2", False)]
    assert [each.id for each in picture.subnets] == ["subnet-1", "subnet-2", "subnet-3"]
    assert [each.id for each in picture.route_tables] == ["rtb-1", "rtb-2"]
    assert [each.id for each in picture.endpoints] == ["vpce-s3", "vpce-ebs"]


def test_a_vpc_is_taken_with_its_ranges_its_gateway_and_its_name_servers(ec2: Stubber) -> None:
    amazons_own = ("AmazonProvidedDNS", "169.254.169.253", "fd00:ec2::253", "10.0.0.2")
    servers = [{"Value": each} for each in ("10.0.0.7", *amazons_own, "10.1.0.2")]
    picture = described(
        ec2,
        internet_gateways=[[{"Attachments": [{"VpcId": "vpc-1"}]}, {"Attachments": []}]],
        dhcp_options=[
            [
                {
                    "DhcpOptionsId": "dopt-1",
                    "DhcpConfigurations": [
                        {"Key": "domain-name", "Values": [{"Value": "corp"}]},
                        {"Key": "domain-name-servers", "Values": servers},
                    ],
                }
            ]
        ],
        vpcs=[
            [
                aws_vpc(
                    "vpc-1",
                    CidrBlockAssociationSet=[{"CidrBlock": "10.0.0.0/16"}, {"CidrBlock": "10.1.0.0/16"}],
                    Tags=[{"Key": "Name", "Value": "main"}],
                ),
                aws_vpc("vpc-2", DhcpOptionsId="default"),
            ]
        ],
    )
    ranges = ("10.0.0.0/16", "10.1.0.0/16")
    assert picture.vpcs == (
        Vpc("vpc-1", cidrs=ranges, resolvers=("10.0.0.7", "10.1.0.2"), tags={"Name": "main"}),
        Vpc("vpc-2", cidrs=ranges[:1], internet_gateway=False),
    )


def test_a_security_group_is_taken_with_every_rule(ec2: Stubber) -> None:
    group = {
        "GroupId": "sg-1",
        "GroupName": "workers",
        "VpcId": "vpc-1",
        "Tags": [{"Key": "mayfly", "Value": "workers"}],
        "IpPermissions": [
            {
                "IpProtocol": "tcp",
                "FromPort": 22,
                "ToPort": 22,
                "IpRanges": [{"CidrIp": "10.0.0.0/8"}, {"CidrIp": "0.0.0.0/0"}],
                "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
                "UserIdGroupPairs": [{"GroupId": "sg-2"}],
            }
        ],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}],
    }
    ssh = [Rule("tcp", 22, 22, peer) for peer in ("10.0.0.0/8", "0.0.0.0/0", "::/0", "sg-2")]
    out = (Rule("-1", 0, 65535, "pl-1"),)
    assert described(ec2, security_groups=[[group]]).security_groups == (
        SecurityGroup("sg-1", "vpc-1", "workers", tuple(ssh), out, {"mayfly": "workers"}),
    )


SUBNETS = [
    ({}, Subnet("subnet-1", "vpc-1", "euc1-az2", 251)),
    ({"AvailableIpAddressCount": 0}, Subnet("subnet-1", "vpc-1", "euc1-az2", 0)),
    ({"DefaultForAz": True}, Subnet("subnet-1", "vpc-1", "euc1-az2", 251, default=True)),
    ({"MapPublicIpOnLaunch": True}, Subnet("subnet-1", "vpc-1", "euc1-az2", 251, public_on_launch=True)),
    ({"CidrBlock": "10.0.1.0/24"}, Subnet("subnet-1", "vpc-1", "euc1-az2", 251, cidr="10.0.1.0/24")),
    ({"Tags": [{"Key": "Name", "Value": "a"}]}, Subnet("subnet-1", "vpc-1", "euc1-az2", 251, tags={"Name": "a"})),
]


@pytest.mark.parametrize(("more", "subnet"), SUBNETS)
def test_a_subnet_is_taken_as_described(ec2: Stubber, more: dict[str, Any], subnet: Subnet) -> None:
    assert described(ec2, subnets=[[aws_subnet("subnet-1", **more)]]).subnets == (subnet,)


ANYWHERE = {"DestinationCidrBlock": "0.0.0.0/0", "State": "active"}
ROUTES = [
    ("an internet gateway", {"GatewayId": "igw-1"}, "igw-1"),
    ("a virtual private gateway", {"GatewayId": "vgw-1"}, "vgw-1"),
    ("a NAT gateway", {"NatGatewayId": "nat-1"}, "nat-1"),
    ("a transit gateway", {"TransitGatewayId": "tgw-1"}, "tgw-1"),
    ("an instance that is stopped", {"InstanceId": "i-1"}, "i-1"),
    ("a NAT instance", {"InstanceId": "i-1", "NetworkInterfaceId": "eni-1"}, "eni-1"),
    ("a local gateway", {"LocalGatewayId": "lgw-1"}, "lgw-1"),
    ("a carrier gateway", {"CarrierGatewayId": "cagw-1"}, "cagw-1"),
    (
        "a core network",
        {"CoreNetworkArn": "arn:aws:networkmanager::1:core-network/1"},
        "arn:aws:networkmanager::1:core-network/1",
    ),
    ("a peering connection", {"VpcPeeringConnectionId": "pcx-1"}, "pcx-1"),
    ("a NAT gateway that is gone", {"NatGatewayId": "nat-1", "State": "blackhole"}, ""),
    ("an internet gateway that is gone", {"GatewayId": "igw-1", "State": "blackhole"}, ""),
]


@pytest.mark.parametrize(("route", "target"), [row[1:] for row in ROUTES], ids=[row[0] for row in ROUTES])
def test_a_route_leads_to(ec2: Stubber, route: dict[str, Any], target: str) -> None:
    [table] = described(ec2, route_tables=[[aws_table("rtb-1", {**ANYWHERE, **route})]]).route_tables
    assert table.routes == (Route("0.0.0.0/0", target),)


def test_routes_to_other_than_ipv4_addresses_are_left_out(ec2: Stubber) -> None:
    others = [
        {"DestinationIpv6CidrBlock": "::/0", "EgressOnlyInternetGatewayId": "eigw-1", "State": "active"},
        {"DestinationPrefixListId": "pl-1", "GatewayId": "vpce-s3", "State": "active"},
    ]
    local = {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active"}
    [table] = described(ec2, route_tables=[[aws_table("rtb-1", *others, local)]]).route_tables
    assert table.routes == (Route("10.0.0.0/16", "local"),)


ASSOCIATIONS = [
    ("none", [], RouteTable("rtb-1", "vpc-1")),
    ("the main one", [{"Main": True}], RouteTable("rtb-1", "vpc-1", main=True)),
    (
        "some subnets",
        [{"Main": False, "SubnetId": "subnet-1"}, {"SubnetId": "subnet-2"}],
        RouteTable("rtb-1", "vpc-1", subnet_ids=frozenset({"subnet-1", "subnet-2"})),
    ),
    (
        "the main one and a subnet",
        [{"Main": True}, {"Main": False, "SubnetId": "subnet-1"}],
        RouteTable("rtb-1", "vpc-1", main=True, subnet_ids=frozenset({"subnet-1"})),
    ),
    ("an internet gateway", [{"Main": False, "GatewayId": "igw-1"}], RouteTable("rtb-1", "vpc-1")),
]


@pytest.mark.parametrize(
    ("associations", "table"), [row[1:] for row in ASSOCIATIONS], ids=[row[0] for row in ASSOCIATIONS]
)
def test_a_route_table_serves(ec2: Stubber, associations: list[dict[str, Any]], table: RouteTable) -> None:
    assert described(ec2, route_tables=[[aws_table("rtb-1", associations=associations)]]).route_tables == (table,)


S3 = f"com.amazonaws.{REGION}.s3"
ENDPOINTS = [
    ("an interface", {}, Endpoint("vpce-s3", "vpc-1", S3)),
    (
        "an interface without private DNS",
        {"PrivateDnsEnabled": False},
        Endpoint("vpce-s3", "vpc-1", S3, private_dns=False),
    ),
    (
        "an interface whose private DNS is for networks outside of the VPC alone",
        {"DnsOptions": {"PrivateDnsOnlyForInboundResolverEndpoint": True}},
        Endpoint("vpce-s3", "vpc-1", S3, private_dns=False),
    ),
    (
        "an interface with groups",
        {"Groups": [{"GroupId": "sg-1", "GroupName": "endpoints"}]},
        Endpoint("vpce-s3", "vpc-1", S3, security_group_ids=("sg-1",)),
    ),
    (
        "a gateway",
        {"VpcEndpointType": "Gateway", "PrivateDnsEnabled": False, "RouteTableIds": ["rtb-1", "rtb-2"]},
        Endpoint("vpce-s3", "vpc-1", S3, gateway=True, route_table_ids=frozenset({"rtb-1", "rtb-2"})),
    ),
    ("a gateway of no table", {"VpcEndpointType": "Gateway"}, Endpoint("vpce-s3", "vpc-1", S3, gateway=True)),
    ("one that is available, as some answers spell it", {"State": "Available"}, Endpoint("vpce-s3", "vpc-1", S3)),
]


@pytest.mark.parametrize(("more", "endpoint"), [row[1:] for row in ENDPOINTS], ids=[row[0] for row in ENDPOINTS])
def test_an_endpoint_is_taken_as_described(ec2: Stubber, more: dict[str, Any], endpoint: Endpoint) -> None:
    assert described(ec2, vpc_endpoints=[[aws_endpoint("s3", **more)]]).endpoints == (endpoint,)


@pytest.mark.parametrize(
    "state", ["pending", "pendingAcceptance", "deleting", "deleted", "failed", "rejected", "expired"]
)
def test_an_endpoint_that_is_not_available_is_left_out(ec2: Stubber, state: str) -> None:
    assert described(ec2, vpc_endpoints=[[aws_endpoint("s3", State=state), aws_endpoint("ebs")]]).endpoints == (
        Endpoint("vpce-ebs", "vpc-1", f"com.amazonaws.{REGION}.ebs"),
    )


def offering(name: str, zone: str) -> dict[str, Any]:
    """One row of DescribeInstanceTypeOfferings."""
    return {"InstanceType": name, "LocationType": "availability-zone", "Location": zone}


def kind(name: str, *architectures: str) -> dict[str, Any]:
    """One row of DescribeInstanceTypes."""
    processor = {"SupportedArchitectures": list(architectures)}
    return {"InstanceType": name, "ProcessorInfo": processor, "VCpuInfo": {"DefaultVCpus": 2}}


def test_a_type_is_known_with_its_architecture_and_the_ids_of_its_zones(ec2: Stubber) -> None:
    wanted = [{"Name": "instance-type", "Values": ["c5.large", "c7g.large", "x9.gone"]}]
    offerings = [
        [offering("c5.large", "eu-central-1a"), offering("c5.large", "eu-central-1b")],
        [offering("c7g.large", "eu-central-1b"), offering("c5.large", "eu-central-1-ham-1a")],
    ]
    asked = {"LocationType": "availability-zone", "Filters": wanted}
    answer(ec2, "describe_instance_type_offerings", "InstanceTypeOfferings", *offerings, **asked)
    kinds = [[kind("c5.large", "i386", "x86_64")], [kind("c7g.large", "arm64"), kind("x9.gone", "arm64")]]
    answer(ec2, "describe_instance_types", "InstanceTypes", *kinds, Filters=wanted)
    zones = [Zone("eu-central-1a", "euc1-az2"), Zone("eu-central-1b", "euc1-az3")]
    assert describe_instance_types(ec2.client, zones, {"c7g.large", "c5.large", "x9.gone"}) == {
        "c5.large": InstanceType("c5.large", "x86_64", frozenset({"euc1-az2", "euc1-az3"}), 2),
        "c7g.large": InstanceType("c7g.large", "arm64", frozenset({"euc1-az3"}), 2),
    }


def test_types_that_are_offered_nowhere_are_asked_no_further(ec2: Stubber) -> None:
    wanted = [{"Name": "instance-type", "Values": ["x9.gone"]}]
    asked = {"LocationType": "availability-zone", "Filters": wanted}
    answer(ec2, "describe_instance_type_offerings", "InstanceTypeOfferings", [], **asked)
    assert describe_instance_types(ec2.client, [], ["x9.gone"]) == {}


def test_a_type_of_an_architecture_that_no_worker_has_is_left_out(ec2: Stubber) -> None:
    wanted = [{"Name": "instance-type", "Values": ["mac1.metal"]}]
    asked = {"LocationType": "availability-zone", "Filters": wanted}
    rows = [offering("mac1.metal", "eu-central-1a")]
    answer(ec2, "describe_instance_type_offerings", "InstanceTypeOfferings", rows, **asked)
    answer(ec2, "describe_instance_types", "InstanceTypes", [kind("mac1.metal", "x86_64_mac")], Filters=wanted)
    assert describe_instance_types(ec2.client, [Zone("eu-central-1a", "euc1-az2")], ["mac1.metal"]) == {}


class TestAPicture:
    """What placement asks of it."""

    picture = Picture(
        ACCOUNT,
        REGION,
        zones=(Zone("eu-central-1a", "euc1-az2"),),
        route_tables=(
            RouteTable("rtb-other-main", "vpc-2", main=True),
            RouteTable("rtb-own", "vpc-1", subnet_ids=frozenset({"subnet-own"})),
            RouteTable("rtb-main", "vpc-1", main=True),
        ),
    )

    @pytest.mark.parametrize(("zone", "found"), [("eu-central-1a", "euc1-az2"), ("euc1-az2", "euc1-az2"), ("x", None)])
    def test_knows_a_zone_by_name_and_by_id(self, zone: str, found: str | None) -> None:
        assert self.picture.zone_id(zone) == found

    @pytest.mark.parametrize(("zone_id", "name"), [("euc1-az2", "eu-central-1a"), ("euc1-az9", "euc1-az9")])
    def test_names_a_zone_by_its_id_where_the_account_does_not_see_it(self, zone_id: str, name: str) -> None:
        assert self.picture.zone_name(zone_id) == name

    @pytest.mark.parametrize(
        ("subnet", "vpc", "table"),
        [("subnet-own", "vpc-1", "rtb-own"), ("subnet-x", "vpc-1", "rtb-main"), ("subnet-x", "vpc-3", None)],
    )
    def test_finds_a_subnets_own_table_before_the_main_one(self, subnet: str, vpc: str, table: str | None) -> None:
        found = self.picture.route_table(Subnet(subnet, vpc, "euc1-az2", 1))
        assert (found.id if found else None) == table
