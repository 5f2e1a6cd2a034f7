# SPDX-License-Identifier: GPL-3.0-or-later
"""From which subnets AWS's services can be reached: by NAT, by endpoints, or with a public address if that is set."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import services
from ansible_collections.mayfly.workers.plugins.plugin_utils.picture import Endpoint
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement import PROFILES, place

from tests.unit.plugins.placement.world import (
    OTHER_REGION,
    REGION,
    SERVICES,
    At,
    default_vpc,
    gateway,
    interface,
    interfaces,
    network,
    picture,
    reasons,
    refusal,
    request,
    subnets_of,
    vpc,
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
    "rds_backup": REPOSITORY | {"rds"},
    "rds_restore": REPOSITORY | {"rds"},
    "efs_index": REPOSITORY | {"elasticfilesystem"},
    "retention": REPOSITORY,
    "health_check": REPOSITORY,
    "archive": REPOSITORY,
    "repository_copy": REPOSITORY,
}


@pytest.mark.parametrize(("operation", "called"), CALLED.items())
def test_an_operation_reaches_what_it_calls(operation: str, called: set[str]) -> None:
    near = services.endpoint_names(operation, REGION, REGION)
    assert len(near) == len(set(near))
    assert set(near) == {f"com.amazonaws.{REGION}.{name}" for name in called}
    far = services.endpoint_names(operation, REGION, OTHER_REGION)
    assert {name for name in far if OTHER_REGION in name} == {
        f"com.amazonaws.{OTHER_REGION}.{name}" for name in called & {"s3", "kms"}
    }


def test_every_operation_that_can_be_placed_has_its_services() -> None:
    assert set(services.SERVICES) == set(CALLED)
    assert set(PROFILES) <= set(services.SERVICES)
