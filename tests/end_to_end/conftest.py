# SPDX-License-Identifier: GPL-3.0-or-later
"""One lab with two seeded instances, backed up once, for all end-to-end tests."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.labs import Lab

LIVING = "Name=instance-state-name,Values=pending,running,stopping,stopped,shutting-down"


@dataclass(frozen=True)
class Site:
    """The seeded lab, and the host names of its two instances."""

    lab: Lab
    seed: dict[str, Any]
    web: str
    db: str

    def workers(self) -> list[str]:
        """Ids of the workers that live."""
        found = self.lab.aws("ec2", "describe-instances", "--filters", "Name=tag-key,Values=mayfly:run", LIVING)
        return [each["InstanceId"] for group in found["Reservations"] for each in group["Instances"]]

    def temporary(self, region: str = "us-east-1") -> list[str]:
        """Ids of all that is tagged as temporary in either account, once workers have had time to shut down."""
        ends = time.monotonic() + 30
        while (left := self._temporary(region)) and time.monotonic() < ends:
            time.sleep(1)
        return left

    def _temporary(self, region: str) -> list[str]:
        tagged = ("--filters", "Name=tag-key,Values=mayfly:temporary")
        left = []
        for profile in ("backup", "production"):
            where = {"profile": profile, "region": region}
            images = self.lab.aws("ec2", "describe-images", "--owners", "self", *tagged, **where)["Images"]
            left += [each["ImageId"] for each in images]
            found = self.lab.aws("ec2", "describe-instances", *tagged, LIVING, **where)["Reservations"]
            left += [each["InstanceId"] for group in found for each in group["Instances"]]
            for kind, identity in (("Snapshot", "SnapshotId"), ("Volume", "VolumeId"), ("SecurityGroup", "GroupId")):
                words = ("ec2", f"describe-{kind.lower().replace('group', '-group')}s", *tagged)
                left += [each[identity] for each in self.lab.aws(*words, **where)[f"{kind}s"]]
        return left

    def references(self, host: str, region: str = "us-east-1") -> dict[str, str]:
        """The reference snapshot of each volume of a host."""
        words = ("describe-snapshots", "--owner-ids", "self", "--filters", "Name=tag-key,Values=mayfly:reference")
        found = self.lab.aws("ec2", *words, profile="production", region=region)
        wanted = {"mayfly:resource": host.rpartition("_")[2], "mayfly:repository": self.repository}
        tags = [({tag["Key"]: tag["Value"] for tag in each["Tags"]}, each) for each in found["Snapshots"]]
        ours = [each for carried, each in tags if wanted.items() <= carried.items()]
        assert len({each["VolumeId"] for each in ours}) == len(ours), "a volume has two reference snapshots"
        return {each["VolumeId"]: each["SnapshotId"] for each in ours}

    @cached_property
    def repository(self) -> str:
        """The id of the repository that the lab's settings name; tests have others beside it."""
        setting = self.seed["repository"]
        place = f"s3://{setting['bucket']}/{setting['prefix']}/repository.json"
        identity: str = json.loads(self.lab.exec("aws", "--profile", "backup", "s3", "cp", place, "-"))["id"]
        return identity

    def points(self, host: str) -> list[str]:
        """Ids of a host's restore points, newest first."""
        text = self.lab.exec("ansible-inventory", "-i", "inventories/lab/restore_points.yml", "--host", host)
        found = json.loads(text)["mayfly_restore_points"]
        return [each["__ansible_unsafe"] if isinstance(each, dict) else each for each in found]


@contextmanager
def faulty(site: Site, *fault: str) -> Iterator[None]:
    """A fault of the lab's meanwhile."""
    done = site.lab.run("fault", "add", *fault)
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        assert site.lab.run("fault", "clear", done.stdout.strip()).returncode == 0


def restored(site: Site, host: str) -> dict[str, str]:
    """The new volume of each original one, after a check of every block against the restore point's own digest."""
    entry = site.lab.report("volume_restore")["resources"][host]
    volumes: dict[str, str] = entry["restored_volumes"]
    found = site.lab.digests(*volumes.values())
    assert {original: found[new] for original, new in volumes.items()} == entry["digests"]
    return volumes


@contextmanager
def seeded(folder: Path, network: str = "nat") -> Iterator[Site]:
    """A lab up and seeded, whose private subnets reach AWS by a NAT gateway, or through endpoints alone."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    lab = Lab(folder / "state")
    for wait, *words in ((600, "up"), (300, "seed", "--network", network)):
        done = lab.run(*words, wait=wait)
        assert done.returncode == 0, done.stderr
    seed = json.loads((lab.state / "run/seed.json").read_text())
    # From here on, every test runs with the rights that iam/mayfly.yaml gives, and no others.
    lab.exec("python", "-m", "tests.roles", str(lab.state / "run/seed.json"))
    assert lab.run("iam", "enforce").returncode == 0
    names = {name: f"{name}_{seed['sources'][name]['id']}" for name in ("web-1", "db-1")}
    yield Site(lab, seed, names["web-1"], names["db-1"])
    lab.run("down")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The lab of all tests but those of another network."""
    with seeded(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture(scope="session")
def first_backup(site: Site) -> dict[str, Any]:
    """The report of a first backup, in which web-1 took some seconds longer than db-1."""
    slow = ("--service", "s3", "--call", "PutObject", "--resource", f"*{site.seed['sources']['web-1']['id']}*")
    with faulty(site, "slow", *slow, "--seconds", "10", "--times", "2"):
        for name in ("repository_create", "ec2_backup"):
            done = site.lab.playbook(name)
            assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return site.lab.report("ec2_backup")


@pytest.fixture(scope="session")
def backed_up(site: Site, first_backup: dict[str, Any]) -> Site:
    """The site with a first backup."""
    del first_backup
    return site


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    """Writes settings for one run; the words that hand them to ansible-playbook."""

    def write(**values: Any) -> list[str]:
        path = tmp_path / "settings.json"
        path.write_text(json.dumps(values))
        return ["-e", f"@{path}"]

    return write
