# SPDX-License-Identifier: GPL-3.0-or-later
"""Private networks that reach AWS through VPC endpoints alone, and one whose endpoint is missing.

A lab of its own: how a network reaches AWS is settled when the lab is seeded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .conftest import Site, seeded
from .slow import Backup

pytestmark = pytest.mark.timeout(600)
REGION = "us-east-1"
REACHED = [f"{name}.{REGION}.amazonaws.com" for name in ("ebs", "ec2", "kms", "s3", "sts")]
CUT = [f"ssm.{REGION}.amazonaws.com", "ebs.eu-central-1.amazonaws.com"]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site without a NAT gateway, and its repository."""
    with seeded(tmp_path_factory.mktemp("closed"), "endpoints") as made:
        done = made.lab.playbook("repository_create")
        assert done.returncode == 0, done.stdout[-3000:]
        yield made


@contextmanager
def without_endpoint(site: Site, name: str) -> Iterator[None]:
    """The backup account's network without one of its interface endpoints meanwhile."""
    network = next(each for each in site.seed["networks"] if each["account"] == site.seed["accounts"]["backup"]["id"])
    inside = ("--filters", f"Name=vpc-id,Values={network['vpc_id']}")
    found = site.lab.aws("ec2", "describe-vpc-endpoints", *inside)["VpcEndpoints"]
    (gone,) = [each for each in found if each["ServiceName"] == f"com.amazonaws.{REGION}.{name}"]
    site.lab.aws("ec2", "delete-vpc-endpoints", "--vpc-endpoint-ids", gone["VpcEndpointId"])
    try:
        yield
    finally:
        words = ("--vpc-endpoint-type", "Interface", "--vpc-id", network["vpc_id"], "--private-dns-enabled")
        groups = [each["GroupId"] for each in gone["Groups"]]
        more = ("--subnet-ids", *gone["SubnetIds"], "--security-group-ids", *groups)
        site.lab.aws("ec2", "create-vpc-endpoint", *words, *more, "--service-name", gone["ServiceName"])


def made(site: Site) -> tuple[set[str], set[str]]:
    """Ids of all workers that ever were, and of all snapshots of the production account."""
    found = site.lab.aws("ec2", "describe-instances", "--filters", "Name=tag-key,Values=mayfly:run")
    workers = {each["InstanceId"] for group in found["Reservations"] for each in group["Instances"]}
    taken = site.lab.aws("ec2", "describe-snapshots", "--owner-ids", "self", profile="production")["Snapshots"]
    return workers, {each["SnapshotId"] for each in taken}


def test_a_backup_through_endpoints_alone(closed: Site) -> None:
    """Seen from inside while it transfers: what has no endpoint is not reached."""
    script = 'for h in {}; do timeout 3 bash -c "</dev/tcp/$h/443" 2>/dev/null && echo $h; done; true'
    with Backup(closed, "--limit", closed.db) as backup:
        reached = backup.on_worker(backup.worker(closed.db), f"sh -c '{script.format(' '.join(REACHED + CUT))}'")
        backup.full_speed()
        code, said = backup.ended()
    assert code == 0, said[-6000:]
    assert reached.split() == REACHED
    entry = closed.lab.report("ec2_backup")["resources"][closed.db]
    found = closed.references(closed.db)
    digests = closed.lab.digests(*found.values())
    assert {volume: digests[snapshot] for volume, snapshot in found.items()} == entry["digests"]
    assert closed.temporary() == []


def test_a_missing_endpoint_is_found_before_anything_is_made_or_named_by_the_worker(
    closed: Site, settings: Any
) -> None:
    before = made(closed)
    with without_endpoint(closed, "ebs"):
        done = closed.lab.playbook("ec2_backup", "--limit", closed.web)
        said = " ".join(done.stdout.split())
        assert done.returncode == 2, said[-6000:]
        assert f"no NAT gateway, and no endpoint for com.amazonaws.{REGION}.ebs" in said
        assert "Name a VPC and subnets in mayfly_networks from which AWS's services can be reached." in said
        assert made(closed) == before

        networks = [{**each, "preflight": False} for each in closed.seed["networks"]]
        words = settings(mayfly_networks=networks, mayfly_transfer_retry_timeout=10)
        began = time.monotonic()
        done = closed.lab.playbook("ec2_backup", "--limit", closed.web, *words)
        assert time.monotonic() - began < 150, "it hung"
    assert done.returncode == 2, done.stdout[-6000:]
    entry = closed.lab.report("ec2_backup")["resources"][closed.web]
    (error,) = entry["errors"]
    assert error["code"] == "EbsUnreachable"
    assert f"ebs.{REGION}.amazonaws.com was not reached" in error["message"]
    assert "mayfly_networks" in error["remedy"]
    assert entry["status"] == "Failed"
    assert "attempts" not in entry, "another worker would reach no more"
    assert closed.temporary() == []
    assert made(closed)[1] == before[1]
