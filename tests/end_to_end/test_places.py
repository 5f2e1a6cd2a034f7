# SPDX-License-Identifier: GPL-3.0-or-later
"""Where workers go: two Regions and two accounts in one run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Site

pytestmark = pytest.mark.timeout(600)
FAR = "eu-central-1"


@pytest.fixture(scope="module")
def far(backed_up: Site) -> Iterator[str]:
    """The host name of a small instance in another Region."""
    aws, where = backed_up.lab.aws, {"profile": "production", "region": FAR}
    found = aws("ec2", "describe-images", "--filters", "Name=name,Values=debian-12-a*", **where)["Images"]
    image = next(each["ImageId"] for each in found if each["Architecture"] == "x86_64")
    tags = "ResourceType=instance,Tags=[{Key=Name,Value=far-1},{Key=backup,Value=daily}]"
    words = ("--image-id", image, "--instance-type", "t3.micro", "--tag-specifications", tags)
    made = aws("ec2", "run-instances", *words, **where)["Instances"][0]["InstanceId"]
    try:
        aws("ec2", "wait", "instance-running", "--instance-ids", made, **where)
        yield f"far-1_{made}"
    finally:
        aws("ec2", "terminate-instances", "--instance-ids", made, **where)


def test_two_regions_and_two_accounts_in_one_run(backed_up: Site, far: str, settings: Any) -> None:
    """Each worker is in the Region of its resource: one in the account that owns it, one in the backup account.

    Their tags are the user's own, filled in with what the run knows.
    """
    here = backed_up.db
    which = f"{{{{ 'backup' if mayfly_resource.region == '{FAR}' else 'production' }}}}"
    tags = {
        "Run": "{{ mayfly_run_id }} {{ mayfly_operation }}",
        "Policy": "{{ policy_name }} of {{ mayfly_resource.id }}",
    }
    words = settings(mayfly_worker_account=which, mayfly_worker_tags=tags, policy_name="daily")
    done = backed_up.lab.playbook("ec2_backup", "--limit", f"{here},{far}", *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    report = backed_up.lab.report("ec2_backup")
    assert {host: entry["status"] for host, entry in report["resources"].items()} == dict.fromkeys(
        (here, far), "Succeeded"
    )
    accounts = {name: each["id"] for name, each in backed_up.seed["accounts"].items()}
    workers = {host: entry["worker"] for host, entry in report["resources"].items()}
    places = {host: (each["account"], each["region"]) for host, each in workers.items()}
    assert places == {here: (accounts["production"], "us-east-1"), far: (accounts["backup"], FAR)}
    for host, region, profile in ((here, "us-east-1", "production"), (far, FAR, "backup")):
        entry = report["resources"][host]
        words = ("describe-instances", "--instance-ids", workers[host]["instance_id"])
        (group,) = backed_up.lab.aws("ec2", *words, profile=profile, region=region)["Reservations"]
        carried = {each["Key"]: each["Value"] for each in group["Instances"][0]["Tags"]}
        assert carried["Run"] == f"{report['run']} ec2_backup"
        assert carried["Policy"] == f"daily of {host.rpartition('_')[2]}"
        found = backed_up.references(host, region)
        digests = backed_up.lab.digests(*found.values())
        assert {volume: digests[snapshot] for volume, snapshot in found.items()} == entry["digests"]
        assert backed_up.points(host)[0] == entry["restore_point"]
        assert backed_up.temporary(region) == []


def test_snapshots_that_are_shared_with_the_workers_account_are_its_alone_again(
    backed_up: Site, far: str, settings: Any
) -> None:
    """The worker in the backup account reads what has changed with that account's rights; nothing stays shared."""
    site, where = backed_up, {"profile": "production", "region": FAR}
    seed, log = str(site.lab.state / "run/seed.json"), site.lab.state / "run/log/control.log"
    start = log.stat().st_size
    site.lab.exec("python", "-m", "tests.roles", seed, "backup.SharedSnapshots")
    try:
        before = set(site.references(far, FAR).values())
        done = site.lab.playbook("ec2_backup", "--limit", far, *settings(mayfly_snapshot_access="share"))
    finally:
        site.lab.exec("python", "-m", "tests.roles", seed)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    entry = site.lab.report("ec2_backup")["resources"][far]
    assert entry["worker"]["account"] == site.seed["accounts"]["backup"]["id"]
    assert {each["method"] for each in entry["volumes"].values()} == {"changed"}
    # Of the one volume, two snapshots are shared, and shared no more.
    assert log.read_text()[start:].count("ModifySnapshotAttribute") == 4 * len(entry["volumes"])
    after = set(site.references(far, FAR).values())
    assert before
    assert after
    assert not before & after
    for snapshot in after:
        words = ("--snapshot-id", snapshot, "--attribute", "createVolumePermission")
        told = site.lab.aws("ec2", "describe-snapshot-attribute", *words, **where)
        assert told["CreateVolumePermissions"] == []
    assert site.temporary(FAR) == []
