# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may reach what, decided from records alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mayfly_lab.reachability import (
    Endpoint,
    Group,
    Host,
    Nat,
    Reach,
    Records,
    Rule,
    Service,
    Subnet,
    Vpc,
    ranges,
    reach,
)

E2, S3, FAR = "100.64.0.10", "100.64.0.14", "100.64.0.15"
SERVICES = (Service("ec2", "us-east-1", E2), Service("s3", "us-east-1", S3), Service("s3", "eu-central-1", FAR))
OUT, HTTPS = Rule("all", cidrs=("0.0.0.0/0",)), {"protocol": "tcp", "first": 443, "last": 443}
FROM_VPC = Rule(**HTTPS, cidrs=("10.20.0.0/16",))
HOST = Host("i-1", "10.20.1.4", "subnet-1", ("sg-1",))
NAT = (("0.0.0.0/0", "nat-1"),)
IGW = (("0.0.0.0/0", "igw-1"),)
EC2 = Endpoint("vpce-1", "vpc-1", "com.amazonaws.us-east-1.ec2", addresses=("10.20.1.200",), group_ids=("sg-ends",))
GATEWAY = Endpoint("vpce-2", "vpc-1", "com.amazonaws.us-east-1.s3", gateway=True, table_ids=frozenset({"rtb-1"}))
BASE = Records(
    hosts=(HOST,),
    vpcs={
        "vpc-1": Vpc("vpc-1", "us-east-1", internet_gateways=frozenset({"igw-1"})),
        "vpc-2": Vpc("vpc-2", "us-east-1"),
    },
    subnets={"subnet-1": Subnet("subnet-1", "vpc-1", "rtb-1"), "subnet-0": Subnet("subnet-0", "vpc-1", "rtb-0", IGW)},
    groups={"sg-1": Group("sg-1", egress=(OUT,)), "sg-ends": Group("sg-ends", ingress=(FROM_VPC,))},
    nats={"nat-1": Nat("nat-1", "subnet-0")},
    prefix_lists={"pl-s3": (f"{S3}/32",)},
    services=SERVICES,
)


def of_host(records: Records) -> Reach:
    return reach(records)["i-1"]


def services(records: Records) -> set[str]:
    found = of_host(records).services
    assert all(port == 443 for _, port in found)
    return {address for address, _ in found}


def routed(*routes: tuple[str, str], records: Records = BASE, subnet: str = "subnet-1") -> Records:
    return replace(records, subnets={**records.subnets, subnet: replace(records.subnets[subnet], routes=routes)})


def vpc(records: Records, **changes: object) -> Records:
    return replace(records, vpcs={**records.vpcs, "vpc-1": replace(records.vpcs["vpc-1"], **changes)})


def grouped(records: Records, group: str, **changes: tuple[Rule, ...]) -> Records:
    return replace(records, groups={**records.groups, group: replace(records.groups[group], **changes)})


def with_endpoints(*endpoints: Endpoint, records: Records = BASE) -> Records:
    return replace(records, endpoints=endpoints)


def test_a_subnet_without_a_way_out_reaches_nothing() -> None:
    found = of_host(BASE)
    assert (found.services, found.ways, found.dns) == (frozenset(), frozenset(), True)


class TestGateways:
    def test_a_nat_gateway_leads_to_every_service(self) -> None:
        assert services(routed(*NAT)) == {E2, S3, FAR}

    @pytest.mark.parametrize("change", [{"available": False}, {"public": False}, {"subnet_id": "subnet-1"}])
    def test_a_nat_gateway_that_does_not_get_out(self, change: dict[str, object]) -> None:
        records = routed(*NAT)
        assert services(replace(records, nats={"nat-1": replace(records.nats["nat-1"], **change)})) == set()

    def test_an_internet_gateway_wants_a_public_address(self) -> None:
        records = routed(*IGW)
        assert services(records) == set()
        assert services(replace(records, hosts=(replace(HOST, public=True),))) == {E2, S3, FAR}

    def test_an_internet_gateway_that_is_not_attached_leads_nowhere(self) -> None:
        records = replace(routed(*IGW), hosts=(replace(HOST, public=True),))
        assert services(vpc(records, internet_gateways=frozenset())) == set()
        assert services(vpc(routed(*NAT), internet_gateways=frozenset())) == set()

    def test_the_longest_route_wins(self) -> None:
        assert services(routed(*NAT, (f"{E2}/32", "pcx-1"))) == {S3, FAR}
        assert services(routed((f"{E2}/32", "nat-1"), ("0.0.0.0/0", "pcx-1"))) == {E2}


class TestInterfaceEndpoints:
    def test_one_serves_its_own_service_in_its_own_region(self) -> None:
        assert services(with_endpoints(EC2)) == {E2}
        assert services(with_endpoints(replace(EC2, service="com.amazonaws.us-east-1.s3"))) == {S3}

    @pytest.mark.parametrize(
        "change",
        [
            {"available": False},
            {"private_dns": False},
            {"addresses": ()},
            {"vpc_id": "vpc-2"},
            {"service": "com.amazonaws.eu-central-1.s3"},
        ],
    )
    def test_one_that_does_not_serve(self, change: dict[str, object]) -> None:
        assert services(with_endpoints(replace(EC2, **change))) == set()

    @pytest.mark.parametrize("change", [{"dns_support": False}, {"dns_hostnames": False}])
    def test_private_names_want_both_attributes_of_the_vpc(self, change: dict[str, bool]) -> None:
        assert services(vpc(with_endpoints(EC2), **change)) == set()
        assert services(vpc(with_endpoints(EC2, records=routed(*NAT)), **change)) == {E2, S3, FAR}

    @pytest.mark.parametrize(
        ("rule", "reached"),
        [
            (Rule(**HTTPS, cidrs=("10.20.1.0/24",)), True),
            (Rule("all", cidrs=("0.0.0.0/0",)), True),
            (Rule("tcp", 0, 65535, ("0.0.0.0/0",)), True),
            (Rule(**HTTPS, groups=("sg-1",)), True),
            (Rule(**HTTPS, cidrs=("10.20.2.0/24",)), False),
            (Rule(**HTTPS, groups=("sg-2",)), False),
            (Rule("tcp", 80, 80, ("0.0.0.0/0",)), False),
            (Rule("udp", 443, 443, ("0.0.0.0/0",)), False),
        ],
    )
    def test_its_groups_must_let_the_host_in(self, rule: Rule, reached: bool) -> None:
        assert services(grouped(with_endpoints(EC2), "sg-ends", ingress=(rule,))) == ({E2} if reached else set())

    def test_a_closed_one_hides_the_service_behind_a_nat_gateway(self) -> None:
        records = grouped(with_endpoints(EC2, records=routed(*NAT)), "sg-ends", ingress=())
        assert services(records) == {S3, FAR}
        assert E2 in of_host(records).ways, "a group stops no connection that stands"

    @pytest.mark.parametrize(
        ("rule", "reached"),
        [
            (Rule(**HTTPS, cidrs=("10.20.0.0/16",)), True),
            (Rule(**HTTPS, groups=("sg-ends",)), True),
            (Rule(**HTTPS, cidrs=("100.64.0.0/10",)), False),
            (Rule(**HTTPS, prefix_lists=("pl-s3",)), False),
            (Rule("tcp", 22, 22, ("10.20.0.0/16",)), False),
        ],
    )
    def test_the_hosts_own_rules_mean_its_addresses(self, rule: Rule, reached: bool) -> None:
        assert services(grouped(with_endpoints(EC2), "sg-1", egress=(rule,))) == ({E2} if reached else set())


class TestGatewayEndpoints:
    def test_one_serves_its_route_tables_and_its_own_region(self) -> None:
        assert services(with_endpoints(GATEWAY)) == {S3}

    @pytest.mark.parametrize("change", [{"table_ids": frozenset({"rtb-0"})}, {"available": False}, {"vpc_id": "vpc-2"}])
    def test_one_that_does_not_serve(self, change: dict[str, object]) -> None:
        assert services(with_endpoints(replace(GATEWAY, **change))) == set()

    @pytest.mark.parametrize(
        ("rule", "reached"),
        [
            (Rule(**HTTPS, prefix_lists=("pl-s3",)), True),
            (OUT, True),
            (Rule(**HTTPS, cidrs=("10.20.0.0/16",)), False),
            (Rule(**HTTPS, prefix_lists=("pl-unknown",)), False),
        ],
    )
    def test_the_hosts_own_rules_mean_the_services_addresses(self, rule: Rule, reached: bool) -> None:
        assert services(grouped(with_endpoints(GATEWAY), "sg-1", egress=(rule,))) == ({S3} if reached else set())


class TestHosts:
    OTHER = Host("i-2", "10.30.1.4", "subnet-2")

    def peered(self, *, there: str = "10.30.0.0/16", back: str = "10.20.0.0/16", active: bool = True) -> Records:
        subnet = Subnet("subnet-2", "vpc-2", "rtb-2", ((back, "pcx-1"),))
        records = routed((there, "pcx-1"))
        return replace(
            records,
            hosts=(HOST, self.OTHER),
            subnets={**records.subnets, "subnet-2": subnet},
            peerings={"pcx-1": frozenset({"vpc-1", "vpc-2"})} if active else {},
        )

    def test_those_of_one_vpc_need_no_route(self) -> None:
        other = replace(self.OTHER, subnet_id="subnet-0")
        assert of_host(replace(BASE, hosts=(HOST, other))).ways == {other.address}

    def test_a_peering_with_routes_on_both_sides(self) -> None:
        found = reach(self.peered())
        assert (found["i-1"].ways, found["i-2"].ways) == ({self.OTHER.address}, {HOST.address})

    @pytest.mark.parametrize("missing", [{"there": "10.31.0.0/16"}, {"back": "10.21.0.0/16"}, {"active": False}])
    def test_a_peering_without_the_whole_way(self, missing: dict[str, object]) -> None:
        found = reach(self.peered(**missing))
        assert not found["i-1"].ways
        assert not found["i-2"].ways

    def test_a_peering_of_other_vpcs_does_not_help(self) -> None:
        assert not of_host(replace(self.peered(), peerings={"pcx-1": frozenset({"vpc-1", "vpc-3"})})).ways


def test_a_vpc_without_dns_support_has_no_resolver() -> None:
    assert not of_host(vpc(BASE, dns_support=False)).dns


def test_the_ranges_of_a_rule_do_not_overlap() -> None:
    records = with_endpoints(EC2)
    rule = Rule("tcp", 1, 2, ("10.0.0.0/8", "10.20.0.0/16", "11.0.0.1/32"), ("sg-1", "sg-ends"), ("pl-s3",))
    assert ranges(records, rule) == ["10.0.0.0/8", "11.0.0.1/32", f"{S3}/32"]
    assert ranges(records, Rule("tcp", 1, 2, groups=("sg-1", "sg-ends"))) == ["10.20.1.4/32", "10.20.1.200/32"]
    assert ranges(records, Rule("tcp", 1, 2, groups=("sg-none",))) == []
