# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instance types a worker may have: by size, by the user's word, by what is offered and what the image runs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import (
    GIB,
    INSTANCE_TYPES,
    OPERATIONS,
    profile_of,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import place
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.instance_types import (
    InstanceTypes,
    InstanceTypesSetting,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.model import SettingError, read

from tests.unit.plugins.placement.world import (
    ALL_OFFERED,
    IMAGES,
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

TIB = 1024  # GiB
TB = 10**12
OF_VOLUMES = [
    (0, "small"),
    (GIB, "small"),
    (TIB * GIB - 1, "small"),
    (TIB * GIB, "medium"),
    (16 * TIB * GIB - 1, "medium"),
    (16 * TIB * GIB, "large"),
    (1000 * TIB * GIB, "large"),
]
OF_DELETIONS = [
    (0, "retention_small"),
    (3 * TB - 1, "retention_small"),
    (3 * TB, "retention_medium"),
    (6 * TB - 1, "retention_medium"),
    (6 * TB, "retention_large"),
    (13 * TB - 1, "retention_large"),
    (13 * TB, "retention_extra_large"),
]
BY_OPERATION = {
    "ec2_backup": OF_VOLUMES,
    "ec2_restore": OF_VOLUMES,
    "volume_restore": OF_VOLUMES,
    "restore_test": OF_VOLUMES,
    "health_check": OF_VOLUMES,
    "file_recovery_from_snapshot": [(0, "file_recovery"), (16 * TIB * GIB, "file_recovery")],
    "file_recovery_from_backup": [(0, "file_recovery"), (16 * TIB * GIB, "file_recovery")],
    "rds_backup": [
        (0, "database_small"),
        (80 * GIB - 1, "database_small"),
        (80 * GIB, "database_large"),
        (64 * TIB * GIB, "database_large"),
    ],
    "rds_restore": [(0, "database_small"), (64 * TIB * GIB, "database_small")],
    "efs_index": [(0, "index"), (64 * TIB * GIB, "index")],
    "retention": OF_DELETIONS,
    "repository_copy": OF_DELETIONS,
    "archive": [
        (0, "archive_small"),
        (6 * TB - 1, "archive_small"),
        (6 * TB, "archive_large"),
        (600 * TB, "archive_large"),
    ],
    "worker_check": [(0, "small")],
    "worker_image": [(0, "small")],
}
SIZES = [(operation, size, profile) for operation, rows in BY_OPERATION.items() for size, profile in rows]
# The table of the reference product's guide.
DEFAULTS = {
    "small": "c6a.large c6i.large c5.large",
    "medium": "c6a.2xlarge c6i.2xlarge c5.2xlarge",
    "large": "c6a.4xlarge c6i.4xlarge c5.4xlarge",
    "database_small": "c5.large",
    "database_large": "c5.xlarge",
    "file_recovery": "t3.medium",
    "index": "t3.medium",
    "retention_small": "c5.large",
    "retention_medium": "c5.xlarge",
    "retention_large": "c5.2xlarge",
    "retention_extra_large": "c5.4xlarge",
    "archive_small": "c5.2xlarge",
    "archive_large": "c5.4xlarge",
}

ONE_SUBNET = default_vpc(At("subnet-default"))


@pytest.mark.parametrize(("operation", "size", "profile"), SIZES)
def test_the_size_chooses_the_profile(operation: str, size: int, profile: str) -> None:
    assert profile_of(operation, size) == profile


def test_the_table_of_sizes_knows_every_operation() -> None:
    assert set(BY_OPERATION) == set(OPERATIONS)


def test_each_profile_has_its_types() -> None:
    assert {profile: " ".join(types) for profile, types in INSTANCE_TYPES.items()} == DEFAULTS
    assert {profile for rows in BY_OPERATION.values() for _, profile in rows} == set(INSTANCE_TYPES)


@pytest.mark.parametrize("operation", ["reap", "repository_create", "", "EC2_BACKUP"])
def test_an_operation_without_a_worker_is_refused(operation: str) -> None:
    error = refusal(picture(ONE_SUBNET), request(operation=operation))
    assert error.code == "UnknownOperation"
    assert "ec2_backup" in error.remedy


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
    assert InstanceTypes.parsed(setting).of(REGION, "small") == types
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
    "a profile misspelt": {"smal": ["c5.large"]},
    "a profile misspelt below a Region": {REGION: {"smal": ["c5.large"]}},
    "a list for everything": ["c5.large"],
}


@pytest.mark.parametrize("setting", BAD_FORMS.values(), ids=BAD_FORMS.keys())
def test_a_bad_form_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError) as caught:
        read(InstanceTypesSetting, "mayfly_instance_types", setting)
    assert "mayfly_instance_types" in caught.value.message
    assert "instance_types.yml" in caught.value.remedy


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
    placed = place(world, request(zones=("euc1-az2",)))
    assert [(each.subnet_id, each.instance_type) for each in placed.candidates] == [
        ("subnet-a", "c6i.large"),
        ("subnet-a", "c5.large"),
        ("subnet-b", "c6a.large"),
        ("subnet-b", "c6i.large"),
    ]


def test_a_subnet_whose_zone_offers_no_type_is_rejected() -> None:
    world = picture(default_vpc(At("subnet-a", "a"), At("subnet-b", "b")), types=[offer("c5.large", "b")])
    placed = place(world, request(zones=("euc1-az2",)))
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
    ("x86_64 alone", {"x86_64"}, ["c5.large"], {"type c7g.large": "there is no machine image for arm64"}),
    ("arm64 alone", {"arm64"}, ["c7g.large"], {"type c5.large": "there is no machine image for x86_64"}),
]


@pytest.mark.parametrize(
    ("runs", "types", "rejected"), [row[1:] for row in ARCHITECTURES], ids=[row[0] for row in ARCHITECTURES]
)
def test_a_type_needs_an_image_of_its_architecture(runs: set[str], types: list[str], rejected: dict[str, str]) -> None:
    setting = {"small": ["c7g.large", "c5.large"]}
    wanted = request(instance_types=setting, images={each: IMAGES[each] for each in runs})
    placed = place(picture(ONE_SUBNET, types=ARM), wanted)
    assert types_of(placed) == types
    known = {each.name: each.architecture for each in ARM}
    assert all(each.architecture == known[each.instance_type] for each in placed.candidates)
    assert all(each.image_id == f"ami-{each.architecture}" for each in placed.candidates)
    assert {name: reason for name, (decision, reason) in reasons(placed).items() if decision == "rejected"} == rejected


def test_with_images_for_both_architectures_either_will_do() -> None:
    setting = {"small": ["c7g.large", "c5.large"]}
    assert types_of(place(picture(ONE_SUBNET, types=ARM), request(instance_types=setting))) == setting["small"]


def test_no_type_at_all_is_an_error_that_tells_why_of_each() -> None:
    world = picture(ONE_SUBNET, types=[offer("c7g.large", architecture="arm64")])
    wanted = request(instance_types={"small": ["c7g.large", "c5.large"]}, images={"x86_64": IMAGES["x86_64"]})
    error = refusal(world, wanted)
    assert error.code == "NoInstanceType"
    assert "c7g.large: there is no machine image for arm64" in error.message
    assert f"c5.large: not offered in {REGION}" in error.message
    assert "mayfly_instance_types" in error.remedy
    assert "small" in error.remedy
