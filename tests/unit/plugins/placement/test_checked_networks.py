# SPDX-License-Identifier: GPL-3.0-or-later
"""What a network is checked for: the services of the operations that would use it, and whose names are private."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.operations import (
    OPERATIONS,
    USE_A_NETWORK,
    Service,
    profiles_in,
    services_in,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.reach import has_private_name

from tests.unit.plugins.placement.world import OTHER_REGION, REGION, At, gateway, interface, picture, vpc

TOGETHER = [
    (["ec2_backup"], True, "ebs s3 ec2 sts kms"),
    (["ec2_backup", "volume_restore"], False, "ebs s3 ec2 sts kms"),
    (["retention", "rds_backup", "efs_index"], True, "s3 sts kms rds elasticfilesystem"),
    (["retention", "file_recovery_from_backup"], False, ""),
    (["restore_test", "efs_index"], False, "s3 sts kms elasticfilesystem"),
    ([], True, ""),
]


@pytest.mark.parametrize(("names", "backup_account", "services"), TOGETHER)
def test_operations_that_may_run_in_an_account_need_their_services_together(
    names: list[str], backup_account: bool, services: str
) -> None:
    assert services_in(names, backup_account=backup_account) == tuple(services.split())


PROFILES = [
    (["ec2_backup", "volume_restore"], "small medium large"),
    (["retention"], "retention_small retention_medium retention_large retention_extra_large"),
    (["efs_index", "file_recovery_from_snapshot"], "index file_recovery"),
]


@pytest.mark.parametrize(("names", "profiles"), PROFILES)
def test_the_types_that_count_are_those_of_all_sizes_of_these_operations(names: list[str], profiles: str) -> None:
    assert profiles_in(names, backup_account=True) == tuple(profiles.split())
    assert profiles_in([*names, "archive"], backup_account=False) == profiles_in(
        [each for each in names if each != "retention"], backup_account=True
    )


def test_a_network_is_checked_for_everything_but_checks_and_images() -> None:
    assert set(USE_A_NETWORK) == set(OPERATIONS) - {"worker_check", "worker_image"}


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "ebs.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "ebs.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "ebs.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_a_service_has_a_name_that_answers_for_it(region: str, host: str) -> None:
    assert Service("ebs", region).host == host


NAMED_BY = [
    ("an interface", [interface("ebs")], {}, True),
    ("an interface without private DNS", [interface("ebs", private_dns=False)], {}, False),
    ("another service's", [interface("s3")], {}, False),
    ("another Region's", [interface("ebs", OTHER_REGION)], {}, False),
    ("a gateway", [gateway("ebs", "rtb-subnet-1")], {}, False),
    ("an interface, names off", [interface("ebs")], {"dns_hostnames": False}, False),
    ("an interface, resolver off", [interface("ebs")], {"dns_support": False}, False),
    ("nothing", [], {}, False),
]


@pytest.mark.parametrize(
    ("endpoints", "changes", "has"), [row[1:] for row in NAMED_BY], ids=[row[0] for row in NAMED_BY]
)
def test_a_private_name_comes_of_an_interface_endpoint(endpoints: Any, changes: Any, has: bool) -> None:
    where = picture(vpc("vpc-1", At("subnet-1"), endpoints=endpoints, **changes))
    assert has_private_name(where, where.vpcs[0], Service("ebs", REGION)) is has
