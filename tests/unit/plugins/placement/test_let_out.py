# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worker's own groups must let out and in: ports of peers, name servers, and where AWS's services are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Endpoint, Picture
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import place
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.reach import Peer

from tests.unit.plugins.placement.world import (
    CIDR,
    CONTROL_NODE,
    REGION,
    At,
    Rule,
    default_vpc,
    gateway,
    group,
    interface,
    interfaces,
    network,
    picture,
    refusal,
    request,
    warned,
)

SSH_IN = Rule("tcp", 22, 22, CONTROL_NODE)


def test_name_servers_of_ones_own_must_be_let_out_to() -> None:
    https = Rule("tcp", 443, 443, "0.0.0.0/0")
    wanted = request(network(security_group_ids=["sg-workers"]))

    def world(*more: Rule) -> Picture:
        workers = group("sg-workers", SSH_IN, egress=(https, *more))
        return picture(default_vpc(At("subnet-a"), groups=[workers], resolvers=("10.0.0.2",)))

    assert "sg-workers lets no UDP 53 out to 10.0.0.2/32" in refusal(world(), wanted).message
    assert place(world(Rule("udp", 53, 53, "10.0.0.0/24")), wanted).candidates


def test_a_name_server_may_have_an_address_of_version_6() -> None:
    everything = (Rule("-1", 0, 65535, "0.0.0.0/0"), Rule("-1", 0, 65535, "::/0"))
    wanted = request(network(security_group_ids=["sg-workers"]))

    def world(*egress: Rule) -> Picture:
        workers = group("sg-workers", SSH_IN, egress=egress)
        return picture(default_vpc(At("subnet-a"), groups=[workers], resolvers=("fd00::2",)))

    assert place(world(*everything), wanted).candidates
    assert "sg-workers lets no UDP 53 out to fd00::2/128" in refusal(world(everything[0]), wanted).message


def test_the_runs_group_is_told_of_the_vpcs_own_name_servers() -> None:
    world = picture(default_vpc(At("subnet-a"), resolvers=("10.0.0.2", "fd00::2")))
    assert {each.name_servers for each in place(world, request()).candidates} == {("10.0.0.2", "fd00::2")}


@pytest.mark.parametrize(
    ("operation", "port", "ports_out"),
    [
        ("ec2_backup", None, ()),
        ("rds_backup", 5432, (5432,)),
        ("efs_index", 2049, (2049,)),
        ("efs_index", None, (2049,)),
    ],
)
def test_the_runs_group_is_told_of_the_ports_of_peers(operation: str, port: int | None, ports_out: tuple[int]) -> None:
    peers = (Peer("it", "euc1-az2", port, "172.31.0.9/32", ("sg-peer",)),) if port else ()
    of_peer = group("sg-peer", Rule("tcp", port or 0, port or 0, CIDR))
    placed = place(picture(default_vpc(At("subnet-a"), groups=[of_peer])), request(operation=operation, peers=peers))
    assert {each.ports_out for each in placed.candidates} == {ports_out}


WAYS_OUT = [
    ("a NAT gateway", At("subnet-a"), False),
    ("a public address", At("subnet-a", out="internet", assigns_public=True), True),
]


@pytest.mark.parametrize(("subnet", "public"), [row[1:] for row in WAYS_OUT], ids=[row[0] for row in WAYS_OUT])
def test_a_private_name_means_its_endpoint_whatever_routes_there_are(subnet: At, public: bool) -> None:
    wanted = request(network(public_address=public))

    def world(*ingress: Rule, more: list[Endpoint] | None = None, **changes: bool) -> Picture:
        endpoints = [replace(interface("s3", group="sg-closed"), **changes), *(more or [])]  # type: ignore[arg-type]
        return picture(default_vpc(subnet, endpoints=endpoints, groups=[group("sg-closed", *ingress)]))

    fault = f"sg-closed of vpce-s3 (com.amazonaws.{REGION}.s3) lets TCP 443 in from no worker"
    closed = Rule("tcp", 443, 443, "10.9.9.0/24")
    assert f"(subnet subnet-a: {fault})" in refusal(world(closed), wanted).message
    assert fault in refusal(world(closed, more=[gateway("s3", "rtb-subnet-a")]), wanted).message
    assert place(world(closed, private_dns=False), wanted).candidates
    halves = (Rule("tcp", 443, 443, "172.31.0.0/25"), Rule("tcp", 443, 443, "172.31.0.128/25"))
    for ingress in (halves, (Rule("tcp", 443, 443, CIDR),)):
        assert warned(place(world(*ingress), wanted)) == []
    said = f"may not let TCP 443 in from the worker (com.amazonaws.{REGION}.s3): its rules alone do not tell"
    assert warned(place(world(Rule("tcp", 443, 443, "pl-1")), wanted)) == [said]


NAT, TRANSIT = At("subnet-a"), At("subnet-a", out="transit")
PRIVATE_A = At("subnet-a", out="nowhere")
WITH_GATEWAY = [*interfaces("s3"), gateway("s3", "rtb-subnet-a")]
# Where HTTPS is let out to, and whether that is taken (True), refused (False) or taken with a warning (None).
DESTINATIONS = [
    ("NAT, everywhere", NAT, [], ["0.0.0.0/0"], True),
    ("NAT, everywhere by halves", NAT, [], ["0.0.0.0/1", "128.0.0.0/1"], True),
    ("NAT, a private range", NAT, [], ["10.9.9.0/24"], False),
    ("NAT, a group", NAT, [], ["sg-others"], False),
    ("NAT, version 6 alone", NAT, [], ["::/0"], False),
    ("NAT, public ranges", NAT, [], ["52.219.0.0/16"], None),
    ("NAT, a prefix list", NAT, [], ["pl-1"], None),
    ("NAT and endpoints, the VPC", NAT, interfaces(), [CIDR], True),
    ("NAT and too few endpoints, the VPC", NAT, interfaces("kms"), [CIDR], False),
    ("a way of one's own, a private range", TRANSIT, [], ["10.9.9.0/24"], None),
    ("endpoints, the VPC", PRIVATE_A, interfaces(), [CIDR], True),
    ("endpoints, their group", PRIVATE_A, interfaces(), ["sg-endpoints"], True),
    ("endpoints, another group", PRIVATE_A, interfaces(), ["sg-others"], False),
    ("endpoints, another range", PRIVATE_A, interfaces(), ["10.9.9.0/24"], False),
    ("endpoints, a part of the VPC", PRIVATE_A, interfaces(), ["172.31.0.0/24"], None),
    ("endpoints and a gateway, the VPC and a prefix list", PRIVATE_A, WITH_GATEWAY, [CIDR, "pl-1"], True),
    ("endpoints and a gateway, the VPC", PRIVATE_A, WITH_GATEWAY, [CIDR], False),
]


@pytest.mark.parametrize(
    ("subnet", "endpoints", "peers", "taken"), [row[1:] for row in DESTINATIONS], ids=[row[0] for row in DESTINATIONS]
)
def test_configured_groups_must_let_the_worker_out_to_where_the_services_are(
    subnet: At, endpoints: list[Endpoint], peers: list[str], taken: bool | None
) -> None:
    workers = group("sg-workers", SSH_IN, egress=tuple(Rule("tcp", 443, 443, each) for each in peers))
    world = picture(default_vpc(subnet, endpoints=endpoints, groups=[workers]))
    entry = {"vpc_id": "vpc-default", "security_group_ids": ["sg-workers"]}
    said = f"lets TCP 443 out to {', '.join(peers)} alone"
    if taken is False:
        assert (
            f"sg-workers {said}, which does not hold com.amazonaws.{REGION}."
            in refusal(world, request(network(**entry))).message
        )
        assert place(world, request(network(**entry, preflight=False))).candidates
    else:
        warnings = warned(place(world, request(network(**entry))))
        assert [each.partition(";")[0] for each in warnings] == ([] if taken else [said])
