# SPDX-License-Identifier: GPL-3.0-or-later
"""Locked backups through ansible-playbook, with the rights of iam/mayfly.yaml: retention leaves them while they are, a
copy in another account and Region is locked like them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Site

pytestmark = pytest.mark.timeout(600)
SECOND_REGION = "eu-central-1"
DEFAULT_RETENTION = '{"ObjectLockEnabled":"Enabled","Rule":{"DefaultRetention":{"Mode":"GOVERNANCE","Days":1}}}'


@pytest.fixture
def bucket(backed_up: Site, tmp_path: Path) -> Iterator[str]:
    """A bucket with Object Lock, and another one, with "-second", in the other account and another Region.

    The roles of each account have their rights on its bucket meanwhile.
    """
    site, name = backed_up, f"mayfly-locked-{secrets.token_hex(4)}"
    make = ("s3api", "create-bucket", "--object-lock-enabled-for-bucket", "--bucket")
    site.lab.aws(*make, name)
    there = ("--create-bucket-configuration", f"LocationConstraint={SECOND_REGION}")
    site.lab.aws(*make, f"{name}-second", *there, profile="production", region=SECOND_REGION)
    path = tmp_path / "seed.json"
    mine = {"repository": {**site.seed["repository"], "bucket": name}, "buckets": {"production": f"{name}-second"}}
    path.write_text(json.dumps({**site.seed, **mine}))
    site.lab.exec("python", "-m", "tests.roles", str(path), "production.BackupAccount")
    yield name
    site.lab.exec("python", "-m", "tests.roles", str(site.lab.state / "run/seed.json"))


def test_retention_leaves_what_is_locked(backed_up: Site, bucket: str, settings: Any) -> None:
    site, host = backed_up, backed_up.db
    place = {**site.seed["repository"], "bucket": bucket}

    def play(name: str, *more: str, code: int = 0, **values: Any) -> str:
        given = settings(mayfly_repository=place, mayfly_object_lock="governance", mayfly_object_lock_days=1, **values)
        done = site.lab.playbook(name, *given, *more)
        assert done.returncode == code, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def locks(*words: str, of: str = bucket, profile: str = "backup", region: str = "us-east-1") -> dict[str, Any]:
        who = ("env", f"AWS_PROFILE={profile}", f"AWS_DEFAULT_REGION={region}")
        text = site.lab.exec(*who, "python", "-m", "tests.end_to_end.locks", of, *words)
        found: dict[str, Any] = json.loads(text)
        return found

    put = ("s3api", "put-object-lock-configuration", "--bucket", bucket, "--object-lock-configuration")
    site.lab.aws(*put, DEFAULT_RETENTION)
    assert "DefaultRetention" in play("repository_create", code=2)
    site.lab.aws(*put, '{"ObjectLockEnabled":"Enabled"}')
    play("repository_create")
    points = []
    for _ in range(2):
        play("ec2_backup", "--limit", host)
        points.append(site.lab.report("ec2_backup")["resources"][host])
    first, second = (each["restore_point"] for each in points)
    assert second > first
    assert points[1]["parent"] == first

    found = locks()
    manifests = {key.rpartition("/")[2]: lock for key, lock in found.items() if "/points/" in key}
    assert set(manifests) == {first, second}
    for key, lock in found.items():
        assert lock is not None, key
        assert lock[0] == "GOVERNANCE"
        assert lock[1] >= manifests[second][1] or key.endswith(first), key
    assert points[1]["locked_until"] == manifests[second][1]

    account = site.seed["accounts"]["production"]["id"]
    elsewhere = {"bucket": f"{bucket}-second", "prefix": "copies", "region": SECOND_REGION, "account": account}
    elsewhere["passphrase"] = "correct horse battery staple"
    done = site.lab.playbook("repository_create", *settings(mayfly_repository=elsewhere))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    play("repository_copy", mayfly_copy_repository=elsewhere, mayfly_copy_points="latest")
    (entry,) = site.lab.report("repository_copy")["resources"].values()
    assert (entry["copied"]["points_copied"], entry["copied"]["failed"]) == (1, 0)
    assert entry["worker"]["account"] == site.seed["accounts"]["backup"]["id"]
    copied = locks(of=f"{bucket}-second", profile="production", region=SECOND_REGION)
    (manifest,) = [key for key in copied if "/points/" in key]
    assert manifest.endswith(second)
    for key, lock in copied.items():
        assert lock is not None, key
        assert lock[0] == "GOVERNANCE"
        assert lock[1] >= copied[manifest][1], key

    said = play("retention", mayfly_retention_count=1)
    assert f"{first} is locked until {manifests[first][1]}" in said
    (entry,) = site.lab.report("retention")["resources"].values()
    assert (entry["retention"]["points_deleted"], entry["retention"]["failed"]) == (0, 0)
    assert found.keys() <= locks("--lift").keys()

    play("retention", mayfly_retention_count=1)
    assert [key.rpartition("/")[2] for key in locks() if "/points/" in key] == [second]
    assert site.temporary() == []
    words = ("describe-snapshots", "--owner-ids", "self", "--filters", f"Name=tag:mayfly:reference,Values={second}")
    for each in site.lab.aws("ec2", *words, profile="production")["Snapshots"]:
        site.lab.aws("ec2", "delete-snapshot", "--snapshot-id", each["SnapshotId"], profile="production")
