# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instance types a worker may have: by size, by the user's word, by what is offered and what the image runs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement import (
    INSTANCE_TYPES,
    PROFILES,
    PlacementError,
    place,
    profile_of,
    wanted_types,
)

from tests.unit.plugins.placement.world import (
    ALL_OFFERED,
    OTHER_REGION,
    REGION,
    At,
    default_vpc,
    offer,
    picture,
    reasons,
    refusal,
    request,
    types_of,
)

TIB = 1024
BY_VOLUME_SIZE = [
    (0, "small"),
    (1, "small"),
    (TIB - 1, "small"),
    (TIB, "medium"),
    (TIB + 1, "medium"),
    (16 * TIB - 1, "medium"),
    (16 * TIB, "large"),
    (16 * TIB + 1, "large"),
    (1000 * TIB, "large"),
]
BY_OPERATION = {"ec2_backup": BY_VOLUME_SIZE, "ec2_restore": BY_VOLUME_SIZE, "volume_restore": BY_VOLUME_SIZE}
SIZES = [(operation, size, profile) for operation, rows in BY_OPERATION.items() for size, profile in rows]

ONE_SUBNET = default_vpc(At("subnet-default"))


@pytest.mark.parametrize(("operation", "size", "profile"), SIZES)
def test_the_size_chooses_the_profile(operation: str, size: int, profile: str) -> None:
    assert profile_of(operation, size) == profile


def test_the_table_of_sizes_knows_every_operation() -> None:
    assert set(BY_OPERATION) == set(PROFILES)


@pytest.mark.parametrize("operation", ["reap", "repository_create", "", "EC2_BACKUP"])
def test_an_operation_without_a_worker_has_no_profile(operation: str) -> None:
    with pytest.raises(PlacementError) as caught:
        profile_of(operation, 10)
    assert caught.value.code == "UnknownOperation"
    assert "ec2_backup" in caught.value.remedy
    assert refusal(picture(ONE_SUBNET), request(operation=operation)).code == "UnknownOperation"


@pytest.mark.parametrize(
    ("size", "types"),
    [
        (TIB - 1, ["c6a.large", "c6i.large", "c5.large"]),
        (TIB, ["c6a.2xlarge", "c6i.2xlarge", "c5.2xlarge"]),
        (16 * TIB - 1, ["c6a.2xlarge", "c6i.2xlarge", "c5.2xlarge"]),
        (16 * TIB, ["c6a.4xlarge", "c6i.4xlarge", "c5.4xlarge"]),
    ],
)
def test_the_default_types_are_tried_in_order(size: int, types: list[str]) -> None:
    placed = place(picture(ONE_SUBNET), request(size_gib=size))
    assert [each.instance_type for each in placed.candidates] == types
    found = reasons(placed)
    assert [found[f"type {name}"][0] for name in types] == ["chosen", "fallback", "fallback"]
    assert all(f"{size} GiB" in found[f"type {name}"][1] for name in types)


USERS = [
    ("nothing said", {}, INSTANCE_TYPES["small"]),
    ("another profile", {"large": ["m5.large"]}, INSTANCE_TYPES["small"]),
    ("the profile", {"small": ["m5.large", "m6i.large"]}, ("m5.large", "m6i.large")),
    ("the profile in this Region", {REGION: {"small": ["m5.large"]}}, ("m5.large",)),
    ("the profile in another Region", {OTHER_REGION: {"small": ["m5.large"]}}, INSTANCE_TYPES["small"]),
    ("the Region beats all Regions", {"small": ["m5.large"], REGION: {"small": ["r5.large"]}}, ("r5.large",)),
    ("the Region has another profile", {"small": ["m5.large"], REGION: {"large": ["r5.large"]}}, ("m5.large",)),
    ("the Region's list is empty", {"small": ["m5.large"], REGION: {"small": []}}, ("m5.large",)),
    ("the Region says nothing", {"small": ["m5.large"], REGION: None}, ("m5.large",)),
    ("the list is empty", {"small": []}, INSTANCE_TYPES["small"]),
    ("a blank answer", {"small": ""}, INSTANCE_TYPES["small"]),
    ("a type named twice", {"small": ["m5.large", "r5.large", "m5.large"]}, ("m5.large", "r5.large")),
    ("a tuple", {"small": ("m5.large",)}, ("m5.large",)),
]


@pytest.mark.parametrize(("setting", "types"), [row[1:] for row in USERS], ids=[row[0] for row in USERS])
def test_the_users_types_replace_the_defaults(setting: dict[str, Any], types: tuple[str, ...]) -> None:
    assert wanted_types(setting, REGION, "small") == types
    offered = [*ALL_OFFERED, offer("m5.large"), offer("m6i.large"), offer("r5.large")]
    assert types_of(place(picture(ONE_SUBNET, types=offered), request(instance_types=setting))) == list(types)


BAD_FORMS = {
    "a string": {"small": "c5.large"},
    "a number": {"small": 5},
    "zero": {"small": 0},
    "a dictionary": {"small": {"c5.large": 1}},
    "a list of numbers": {"small": ["c5.large", 5]},
    "a list with a blank": {"small": ["c5.large", ""]},
    "a list of lists": {"small": [["c5.large"]]},
    "a string for the Region's profile": {REGION: {"small": "c5.large"}},
    "a list for the Region": {REGION: ["c5.large"]},
    "a string for the Region": {REGION: "c5.large"},
}


@pytest.mark.parametrize("setting", BAD_FORMS.values(), ids=BAD_FORMS.keys())
def test_a_bad_form_is_refused(setting: dict[str, Any]) -> None:
    error = refusal(picture(ONE_SUBNET), request(instance_types=setting))
    assert error.code == "BadInstanceTypes"
    assert "mayfly_instance_types" in error.message
    assert "instance_types.yml" in error.remedy


def test_a_type_that_the_region_does_not_offer_is_passed_over() -> None:
    offered = [offer("c6i.large"), offer("c5.large")]
    placed = place(picture(ONE_SUBNET, types=offered), request())
    assert types_of(placed) == ["c6i.large", "c5.large"]
    found = reasons(placed)
    assert found["type c6a.large"] == ("rejected", f"not offered in {REGION}")
    assert found["type c6i.large"][0] == "chosen"


def test_a_type_that_no_zone_offers_is_passed_over() -> None:
    placed = place(picture(ONE_SUBNET, types=[offer("c6a.large", zones=""), offer("c5.large")]), request())
    assert reasons(placed)["type c6a.large"] == ("rejected", f"not offered in {REGION}")


def test_a_type_that_the_zone_does_not_offer_is_tried_in_the_others() -> None:
    world = picture(
        default_vpc(At("subnet-a", "a"), At("subnet-b", "b")),
        types=[offer("c6a.large", "b"), offer("c6i.large", "ab"), offer("c5.large", "a")],
    )
    placed = place(world, request(zone="euc1-az2"))
    assert [(each.subnet_id, each.instance_type) for each in placed.candidates] == [
        ("subnet-a", "c6i.large"),
        ("subnet-a", "c5.large"),
        ("subnet-b", "c6a.large"),
        ("subnet-b", "c6i.large"),
    ]


def test_a_subnet_whose_zone_offers_no_type_is_rejected() -> None:
    world = picture(default_vpc(At("subnet-a", "a"), At("subnet-b", "b")), types=[offer("c5.large", "b")])
    placed = place(world, request(zone="euc1-az2"))
    assert [each.subnet_id for each in placed.candidates] == ["subnet-b"]
    found = reasons(placed)
    assert found["subnet subnet-a"] == ("rejected", "zone euc1-az2 offers none of c5.large")
    assert found["subnet subnet-b"][0] == "chosen"


def test_no_subnet_in_a_zone_that_offers_a_type_is_an_error() -> None:
    error = refusal(picture(ONE_SUBNET, types=[offer("c5.large", "bc")]), request())
    assert error.code == "NoInstanceType"
    assert "c5.large" in error.message
    assert "mayfly_instance_types" in error.remedy
    assert "mayfly_networks" in error.remedy


ARM = [offer("c7g.large", architecture="arm64"), offer("c5.large")]
ARCHITECTURES = [
    ("any", {"x86_64", "arm64"}, ["c7g.large", "c5.large"], {}),
    ("x86_64 alone", {"x86_64"}, ["c5.large"], {"type c7g.large": "arm64 is not the image's architecture"}),
    ("arm64 alone", {"arm64"}, ["c7g.large"], {"type c5.large": "x86_64 is not the image's architecture"}),
]


@pytest.mark.parametrize(
    ("runs", "types", "rejected"), [row[1:] for row in ARCHITECTURES], ids=[row[0] for row in ARCHITECTURES]
)
def test_a_type_must_have_the_images_architecture(runs: set[str], types: list[str], rejected: dict[str, str]) -> None:
    setting = {"small": ["c7g.large", "c5.large"]}
    wanted = request(instance_types=setting, architectures=frozenset(runs))
    placed = place(picture(ONE_SUBNET, types=ARM), wanted)
    assert types_of(placed) == types
    known = {each.name: each.architecture for each in ARM}
    assert all(each.architecture == known[each.instance_type] for each in placed.candidates)
    assert {name: reason for name, (decision, reason) in reasons(placed).items() if decision == "rejected"} == rejected


def test_unless_the_image_says_otherwise_both_architectures_will_do() -> None:
    setting = {"small": ["c7g.large", "c5.large"]}
    assert types_of(place(picture(ONE_SUBNET, types=ARM), request(instance_types=setting))) == setting["small"]


def test_no_type_at_all_is_an_error_that_tells_why_of_each() -> None:
    world = picture(ONE_SUBNET, types=[offer("c7g.large", architecture="arm64")])
    wanted = request(instance_types={"small": ["c7g.large", "c5.large"]}, architectures=frozenset({"x86_64"}))
    error = refusal(world, wanted)
    assert error.code == "NoInstanceType"
    assert "c7g.large: arm64 is not the image's architecture" in error.message
    assert f"c5.large: not offered in {REGION}" in error.message
    assert "mayfly_instance_types" in error.remedy
    assert "small" in error.remedy
