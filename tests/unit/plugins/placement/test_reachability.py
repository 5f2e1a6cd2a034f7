# SPDX-License-Identifier: GPL-3.0-or-later
"""From which subnets AWS's services can be reached: by NAT, by endpoints, or with a public address if that is set."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import OPERATIONS, services_of
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.picture import Endpoint, Picture
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import place, services

from tests.unit.plugins.placement.world import (
    CIDR,
    CONTROL_NODE,
    OTHER_REGION,
    REGION,
    SERVICES,
    At,
    Rule,
    default_vpc,
    gateway,
    group,
    interface,
    interfaces,
    network,
    picture,
    reasons,
    refusal,
    request,
    subnets_of,
    vpc,
    warned,
)

PRIVATE = At("subnet-private", out="nowhere")
OF_ANOTHER_TABLE = At("subnet-of-another-table", out="nowhere")
ON_THE_MAIN_TABLE = At("subnet-private", main=True)
NO_ENDPOINTS = "no NAT gateway, and no endpoint for " + ", ".join(f"com.amazonaws.{REGION}.{each}" for each in SERVICES)


def lacks(*names: str, region: str = REGION) -> str:
    """The reason for a subnet from which these services cannot be reached."""
    return "no NAT gateway, and no endpoint for " + ", ".join(f"com.amazonaws.{region}.{name}" for name in names)


# In each, the subnet is called subnet-private; None says that it is taken.
PRIVATE_RULES = [
    ("a NAT gateway", default_vpc(At("subnet-private", out="nat")), None),
    ("a transit gateway, the user's own way out", default_vpc(At("subnet-private", out="transit")), None),
    ("a NAT gateway of the main table", default_vpc(ON_THE_MAIN_TABLE, main_out="nat"), None),
    ("a NAT gateway of the main table that does not serve it", default_vpc(PRIVATE, main_out="nat"), NO_ENDPOINTS),
    ("a NAT gateway that is gone", default_vpc(At("subnet-private", out="black hole")), NO_ENDPOINTS),
    ("no way out", default_vpc(PRIVATE), NO_ENDPOINTS),
    ("every interface endpoint", default_vpc(PRIVATE, endpoints=interfaces()), None),
    ("one interface endpoint too few", default_vpc(PRIVATE, endpoints=interfaces("sts")), lacks("sts")),
    ("two too few", default_vpc(PRIVATE, endpoints=interfaces("ebs", "kms")), lacks("ebs", "kms")),
    (
        "an interface endpoint without private DNS",
        default_vpc(PRIVATE, endpoints=[*interfaces("ec2"), interface("ec2", private_dns=False)]),
        lacks("ec2"),
    ),
    (
        "a second one with private DNS",
        default_vpc(PRIVATE, endpoints=[interface("ec2", private_dns=False), *interfaces()]),
        None,
    ),
    (
        "S3 by a gateway in its own table",
        default_vpc(PRIVATE, endpoints=[*interfaces("s3"), gateway("s3", "rtb-subnet-private")]),
        None,
    ),
    (
        "S3 by a gateway in several tables",
        default_vpc(PRIVATE, endpoints=[*interfaces("s3"), gateway("s3", "rtb-other", "rtb-subnet-private")]),
        None,
    ),
    (
        "S3 by a gateway in the main table, which does not serve it",
        default_vpc(PRIVATE, endpoints=[*interfaces("s3"), gateway("s3", "rtb-main-vpc-default")]),
        lacks("s3"),
    ),
    (
        "S3 by a gateway in the main table, which serves it",
        default_vpc(ON_THE_MAIN_TABLE, endpoints=[*interfaces("s3"), gateway("s3", "rtb-main-vpc-default")]),
        None,
    ),
    (
        "S3 by a gateway in no table",
        default_vpc(PRIVATE, endpoints=[*interfaces("s3"), gateway("s3")]),
        lacks("s3"),
    ),
    (
        "S3 by a gateway of another Region",
        default_vpc(PRIVATE, endpoints=[*interfaces("s3"), gateway("s3", "rtb-subnet-private", region=OTHER_REGION)]),
        lacks("s3"),
    ),
    (
        "DynamoDB by a gateway",
        default_vpc(PRIVATE, endpoints=[*interfaces("s3"), gateway("dynamodb", "rtb-subnet-private")]),
        lacks("s3"),
    ),
    (
        "an internet gateway but no public address",
        default_vpc(At("subnet-private", out="internet", assigns_public=True)),
        f"{NO_ENDPOINTS}; a public address would do: public_address in mayfly_networks",
    ),
    (
        "an internet gateway and every endpoint",
        default_vpc(At("subnet-private", out="internet"), endpoints=interfaces()),
        None,
    ),
]


@pytest.mark.parametrize(("net", "fault"), [row[1:] for row in PRIVATE_RULES], ids=[row[0] for row in PRIVATE_RULES])
def test_a_worker_without_a_public_address_needs(net: object, fault: str | None) -> None:
    world = picture(net)
    if fault is None:
        assert subnets_of(place(world, request())) == ["subnet-private"]
        return
    error = refusal(world, request())
    assert error.code == "NoNetwork"
    assert f"(subnet subnet-private: {fault})" in error.message
    assert "mayfly_networks" in error.remedy


def test_endpoints_of_another_vpc_do_not_count() -> None:
    world = picture(default_vpc(PRIVATE), vpc("vpc-with-endpoints", endpoints=interfaces()))
    assert refusal(world, request()).code == "NoNetwork"


def test_the_main_table_of_another_vpc_does_not_count() -> None:
    world = picture(vpc("vpc-with-nat", At("subnet-x"), main_out="nat"), default_vpc(ON_THE_MAIN_TABLE))
    assert refusal(world, request()).code == "NoNetwork"


def test_a_subnet_without_any_route_table_is_reached_by_interface_endpoints_alone() -> None:
    endpoints = [*interfaces("s3"), gateway("s3", "rtb-subnet-private")]
    world = replace(picture(default_vpc(PRIVATE, endpoints=endpoints)), route_tables=())
    assert lacks("s3") in refusal(world, request()).message
    world = replace(picture(default_vpc(PRIVATE, endpoints=interfaces())), route_tables=())
    assert subnets_of(place(world, request())) == ["subnet-private"]


def test_each_subnet_is_looked_at_by_itself() -> None:
    world = picture(
        default_vpc(
            PRIVATE,
            OF_ANOTHER_TABLE,
            At("subnet-with-nat", out="nat"),
            endpoints=[*interfaces("s3"), gateway("s3", "rtb-subnet-private")],
        )
    )
    placed = place(world, request())
    assert subnets_of(placed) == ["subnet-private", "subnet-with-nat"]
    assert reasons(placed)["subnet subnet-of-another-table"] == ("rejected", lacks("s3"))


# The repository's Region decides where s3 and kms are, the worker's own where everything else is.
FAR_REPOSITORY = [
    ("endpoints of the worker's Region", interfaces(), lacks("s3", "kms", region=OTHER_REGION)),
    (
        "endpoints of the repository's Region",
        [interface(name, OTHER_REGION) for name in SERVICES],
        lacks("ebs", "ec2", "sts"),
    ),
    (
        "each in its Region",
        [
            interface("ebs"),
            interface("ec2"),
            interface("sts"),
            interface("s3", OTHER_REGION),
            interface("kms", OTHER_REGION),
        ],
        None,
    ),
    (
        "a gateway for S3, which serves its own Region alone",
        [*interfaces("s3"), interface("kms", OTHER_REGION), gateway("s3", "rtb-subnet-private")],
        lacks("s3", region=OTHER_REGION),
    ),
]


@pytest.mark.parametrize(
    ("endpoints", "fault"), [row[1:] for row in FAR_REPOSITORY], ids=[row[0] for row in FAR_REPOSITORY]
)
def test_a_repository_in_another_region_needs(endpoints: list[Endpoint], fault: str | None) -> None:
    world, wanted = picture(default_vpc(PRIVATE, endpoints=endpoints)), request(repository_region=OTHER_REGION)
    if fault is None:
        assert subnets_of(place(world, wanted)) == ["subnet-private"]
    else:
        assert fault in refusal(world, wanted).message


NO_GATEWAY = "public_address is set, but the subnet's route table leads to no internet gateway"
NO_ADDRESS = "public_address is set, but the subnet does not assign public IPv4 addresses"
PUBLIC_RULES = [
    ("an internet gateway, addresses assigned", At("subnet-public", out="internet", assigns_public=True), None),
    ("no addresses assigned", At("subnet-public", out="internet"), NO_ADDRESS),
    ("a NAT gateway", At("subnet-public", out="nat", assigns_public=True), NO_GATEWAY),
    ("no way out", At("subnet-public", out="nowhere", assigns_public=True), NO_GATEWAY),
    ("an internet gateway that is gone", At("subnet-public", out="black hole", assigns_public=True), NO_GATEWAY),
    ("neither", At("subnet-public", out="nowhere"), NO_GATEWAY),
]


@pytest.mark.parametrize(("subnet", "fault"), [row[1:] for row in PUBLIC_RULES], ids=[row[0] for row in PUBLIC_RULES])
def test_a_worker_with_a_public_address_needs(subnet: At, fault: str | None) -> None:
    world, wanted = picture(default_vpc(subnet)), request(network(public_address=True))
    if fault is None:
        assert [each.public_address for each in place(world, wanted).candidates] == [True] * 3
    else:
        assert f"(subnet subnet-public: {fault})" in refusal(world, wanted).message


def test_endpoints_are_no_way_for_a_public_address() -> None:
    world = picture(default_vpc(PRIVATE, endpoints=interfaces()))
    assert NO_GATEWAY in refusal(world, request(network(public_address=True))).message


def test_the_main_table_makes_a_subnet_public() -> None:
    subnet = At("subnet-public", main=True, assigns_public=True)
    placed = place(picture(default_vpc(subnet, main_out="internet")), request(network(public_address=True)))
    assert subnets_of(placed) == ["subnet-public"]


def test_a_default_subnet_that_needs_a_public_address_is_refused_until_the_setting_allows_it() -> None:
    """A new account's default VPC: every default subnet leads to the internet gateway and assigns addresses."""
    subnets = [At(f"subnet-{zone}", zone, main=True, assigns_public=True) for zone in "abc"]
    world = picture(default_vpc(*subnets, main_out="internet"))
    error = refusal(world, request())
    assert error.code == "NoNetwork"
    assert error.message.count("public_address in mayfly_networks") == 3
    placed = place(world, request(network(public_address=True)))
    assert subnets_of(placed) == ["subnet-a", "subnet-b", "subnet-c"]
    assert all(each.public_address for each in placed.candidates)


VOLUMES = {"ebs", "s3", "ec2", "sts", "kms"}
REPOSITORY = {"s3", "sts", "kms"}
# What each operation's worker calls.
CALLED = {
    "ec2_backup": VOLUMES,
    "ec2_restore": VOLUMES,
    "volume_restore": VOLUMES,
    "restore_test": VOLUMES,
    "file_recovery_from_snapshot": {"ebs", "ec2", "sts", "kms"},
    "file_recovery_from_backup": REPOSITORY,
    "rds_backup": REPOSITORY | {"rds"},
    "rds_restore": REPOSITORY | {"rds"},
    "efs_index": REPOSITORY | {"elasticfilesystem"},
    "retention": REPOSITORY,
    "health_check": REPOSITORY,
    "archive": REPOSITORY,
    "repository_copy": REPOSITORY,
    # those of the operations that would use the network
    "worker_check": set(),
    "worker_image": set(),
}


@pytest.mark.parametrize(("operation", "called"), CALLED.items())
def test_an_operation_reaches_what_it_calls(operation: str, called: set[str]) -> None:
    near = [str(each) for each in services_of(operation, REGION, REGION)]
    assert len(near) == len(set(near))
    assert set(near) == {f"com.amazonaws.{REGION}.{name}" for name in called}
    far = {str(each) for each in services_of(operation, REGION, OTHER_REGION)}
    assert {name for name in far if OTHER_REGION in name} == {
        f"com.amazonaws.{OTHER_REGION}.{name}" for name in called & {"s3", "kms"}
    }


def test_what_a_resource_and_the_connection_need_comes_on_top() -> None:
    services = services_of("rds_backup", REGION, REGION, more=("secretsmanager",), session_manager=True)
    names = [each.name for each in services]
    assert names == ["s3", "sts", "kms", "rds", "secretsmanager", "ssm", "ssmmessages", "ec2messages"]


def test_every_operation_that_can_be_placed_has_its_services() -> None:
    assert set(OPERATIONS) == set(CALLED)


@pytest.mark.parametrize(
    ("name", "is_it"),
    [
        ("com.amazonaws.cn-north-1.s3", True),
        ("cn.com.amazonaws.cn-north-1.s3", True),
        ("com.amazonaws.cn-north-1.s3express", False),
        ("com.amazonaws.cn-northwest-1.s3", False),
        ("aws.sagemaker.cn-north-1.s3", False),
    ],
)
def test_partitions_name_endpoints_in_their_own_way(name: str, is_it: bool) -> None:
    assert services_of("retention", "cn-north-1", "cn-north-1")[0].is_named(name) is is_it


# The subnet is private, with an endpoint for each service; its worker is in sg-workers, or in the run's own group.
SSH_IN = Rule("tcp", 22, 22, CONTROL_NODE)
GROUPS_OF_ENDPOINTS = [
    ("the VPC's range", [Rule("tcp", 443, 443, CIDR)], True, True),
    ("the subnet's range", [Rule("tcp", 443, 443, "172.31.0.0/24")], True, True),
    ("the worker's group", [Rule("tcp", 443, 443, "sg-workers")], True, False),
    ("all from everywhere", [Rule("-1", 0, 65535, "0.0.0.0/0")], True, True),
    ("another subnet's range", [Rule("tcp", 443, 443, "172.31.1.0/24")], False, False),
    ("a part of the subnet", [Rule("tcp", 443, 443, "172.31.0.0/25")], False, False),
    ("another group", [Rule("tcp", 443, 443, "sg-others")], False, False),
    ("another port", [Rule("tcp", 80, 80, CIDR)], False, False),
]


@pytest.mark.parametrize(
    ("rules", "of_a_group", "of_the_run"),
    [row[1:] for row in GROUPS_OF_ENDPOINTS],
    ids=[row[0] for row in GROUPS_OF_ENDPOINTS],
)
def test_an_endpoints_group_must_let_the_worker_in(rules: list[Rule], of_a_group: bool, of_the_run: bool) -> None:
    endpoints = [*interfaces("sts"), interface("sts", group="sg-closed")]
    groups = [group("sg-closed", *rules), group("sg-workers", SSH_IN)]
    world = picture(default_vpc(PRIVATE, endpoints=endpoints, groups=groups))
    for entry, does in ((network(security_group_ids=["sg-workers"]), of_a_group), (network(), of_the_run)):
        if does:
            assert place(world, request(entry)).candidates
        else:
            message = refusal(world, request(entry)).message
            assert f"sg-closed of vpce-sts (com.amazonaws.{REGION}.sts) lets TCP 443 in from no worker" in message


NAMES_OFF = [
    ("no names at all", {"dns_support": False}, "vpc-default does not resolve names: enableDnsSupport is off"),
    ("no private names", {"dns_hostnames": False}, NO_ENDPOINTS),
]


@pytest.mark.parametrize(("changes", "fault"), [row[1:] for row in NAMES_OFF], ids=[row[0] for row in NAMES_OFF])
def test_endpoints_need_the_vpcs_dns(changes: dict[str, bool], fault: str) -> None:
    world = picture(default_vpc(PRIVATE, endpoints=interfaces(), **changes))
    assert f"(subnet subnet-private: {fault})" in refusal(world, request()).message


def test_a_nat_gateway_needs_names_but_no_private_ones() -> None:
    subnet = At("subnet-private", out="nat")
    assert place(picture(default_vpc(subnet, dns_hostnames=False)), request()).candidates
    assert "enableDnsSupport" in refusal(picture(default_vpc(subnet, dns_support=False)), request()).message


def test_a_public_address_needs_the_internet_gateway_at_the_vpc() -> None:
    subnet = At("subnet-public", out="internet", assigns_public=True)
    world = picture(default_vpc(subnet, internet_gateway=False))
    error = refusal(world, request(network(public_address=True)))
    assert "no internet gateway is attached to vpc-default" in error.message


OUTWARD = [
    ("everything", [Rule("-1", 0, 65535, "0.0.0.0/0")], ""),
    ("HTTPS", [Rule("tcp", 443, 443, "0.0.0.0/0")], ""),
    ("HTTPS to a prefix list", [Rule("tcp", 443, 443, "pl-1")], ""),
    ("nothing", [], "sg-workers lets no TCP 443 out, which AWS's services are reached at"),
    ("HTTP", [Rule("tcp", 80, 80, "0.0.0.0/0")], "sg-workers lets no TCP 443 out"),
]


@pytest.mark.parametrize(("egress", "fault"), [row[1:] for row in OUTWARD], ids=[row[0] for row in OUTWARD])
def test_configured_groups_must_let_the_worker_out(egress: list[Rule], fault: str) -> None:
    workers = group("sg-workers", SSH_IN, egress=tuple(egress))
    world, wanted = (
        picture(default_vpc(At("subnet-a"), groups=[workers])),
        request(network(security_group_ids=["sg-workers"])),
    )
    if fault:
        assert fault in refusal(world, wanted).message
    else:
        assert place(world, wanted).candidates


def test_a_store_that_is_not_awss_asks_for_no_endpoint_of_s3_and_for_its_port() -> None:
    https, of_store = Rule("tcp", 443, 443, "0.0.0.0/0"), Rule("tcp", 9000, 9000, "10.9.0.0/16")
    wanted = request(network(security_group_ids=["sg-workers"]))
    elsewhere = replace(wanted, store_ports=(9000,), own_store=True)

    def world(*egress: Rule) -> Picture:
        workers = group("sg-workers", SSH_IN, egress=egress)
        return picture(default_vpc(PRIVATE, endpoints=interfaces("s3"), groups=[workers]))

    assert lacks("s3") in refusal(world(https, of_store), wanted).message
    placed = place(world(https, of_store), elsewhere)
    assert placed.candidates[0].ports_out == (9000,)
    said = "lets TCP 9000 out to 10.9.0.0/16 alone; whether that holds the store is not known"
    assert said in warned(placed)
    assert "sg-workers lets no TCP 9000 out" in refusal(world(https), elsewhere).message
    assert "s3" not in {each.name for each in services(REGION, elsewhere)}


def test_a_copy_must_reach_the_s3_of_both_regions() -> None:
    wanted = replace(request(), operation="repository_copy", repository_region=REGION, copy_region=OTHER_REGION)
    names = [str(each) for each in services(REGION, wanted)]
    assert names == [f"com.amazonaws.{REGION}.{each}" for each in ("s3", "sts", "kms")] + [
        f"com.amazonaws.{OTHER_REGION}.s3"
    ]


def test_a_way_out_that_is_not_looked_at_is_taken_for_granted_and_said() -> None:
    world = picture(vpc("vpc-one", PRIVATE))
    named = {"vpc_id": "vpc-one", "subnet_ids": ["subnet-private"]}
    assert NO_ENDPOINTS in refusal(world, request(network(**named))).message
    placed = place(world, request(network(**named, preflight=False)))
    assert subnets_of(placed) == ["subnet-private"]
    assert warned(placed) == ["its way to AWS's services was not looked at: preflight in mayfly_networks"]
