# SPDX-License-Identifier: GPL-3.0-or-later
"""Object Lock: what is locked cannot be deleted, locks are made longer, and of mode governance lifted by who may."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from mayfly_agent.job import LockJob
from mayfly_agent.objects import Lock, LockedOtherwise
from mayfly_agent.progress import Progress
from mayfly_agent.repository import layout, repository
from mayfly_agent.repository_jobs import Chosen
from mayfly_agent.s3 import S3Objects
from mayfly_agent.sweep import Sweep

from tests.unit.agent.lines import KEY, NAME, Line, Points, blocks, volume

BYPASS = {"BypassGovernanceRetention": True}
GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"


@pytest.fixture
def locked_bucket(s3: Any) -> str:
    name = f"bucket-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def end_in(seconds: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


def put(s3: Any, bucket: str, mode: str, seconds: float = 3600, key: str = "k") -> str:
    lock = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": end_in(seconds)}
    version: str = s3.put_object(Bucket=bucket, Key=key, Body=b"x", **lock)["VersionId"]
    return version


def extend(s3: Any, bucket: str, mode: str, seconds: float, **more: Any) -> None:
    retention = {"Mode": mode, "RetainUntilDate": end_in(seconds)}
    s3.put_object_retention(Bucket=bucket, Key="k", Retention=retention, **more)


def refused(code: str, call: Any, *words: Any, **more: Any) -> None:
    with pytest.raises(ClientError) as raised:
        call(*words, **more)
    assert raised.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("mode", [GOVERNANCE, COMPLIANCE])
def test_a_locked_version_stays_until_its_end(s3: Any, locked_bucket: str, mode: str) -> None:
    version = put(s3, locked_bucket, mode, seconds=2)
    refused("AccessDenied", s3.delete_object, Bucket=locked_bucket, Key="k", VersionId=version)
    objects = [{"Key": "k", "VersionId": version}, {"Key": "other"}]
    answer = s3.delete_objects(Bucket=locked_bucket, Delete={"Objects": objects})
    assert [(each["Key"], each["VersionId"], each["Code"]) for each in answer["Errors"]] == [
        ("k", version, "AccessDenied")
    ]
    assert [each["Key"] for each in answer["Deleted"]] == ["other"]
    assert s3.delete_object(Bucket=locked_bucket, Key="k")["DeleteMarker"]  # a marker hides it; it is there
    assert s3.get_object(Bucket=locked_bucket, Key="k", VersionId=version)["Body"].read() == b"x"
    time.sleep(2.1)
    s3.delete_object(Bucket=locked_bucket, Key="k", VersionId=version)
    refused("NoSuchVersion", s3.get_object, Bucket=locked_bucket, Key="k", VersionId=version)


def test_governance_is_lifted_by_the_header_alone_and_compliance_never(s3: Any, locked_bucket: str) -> None:
    for mode in (GOVERNANCE, COMPLIANCE):
        version = put(s3, locked_bucket, mode)
        named = {"Bucket": locked_bucket, "Key": "k", "VersionId": version}
        refused("AccessDenied", s3.delete_object, **named)
        if mode == GOVERNANCE:
            s3.delete_object(**named, **BYPASS)
        else:
            refused("AccessDenied", s3.delete_object, **named, **BYPASS)


def test_a_lock_is_made_longer_and_not_shorter(s3: Any, locked_bucket: str) -> None:
    put(s3, locked_bucket, GOVERNANCE)
    extend(s3, locked_bucket, GOVERNANCE, 7200)
    refused("AccessDenied", extend, s3, locked_bucket, GOVERNANCE, 3600)
    refused("AccessDenied", extend, s3, locked_bucket, COMPLIANCE, 9000)
    extend(s3, locked_bucket, GOVERNANCE, 3600, **BYPASS)
    extend(s3, locked_bucket, COMPLIANCE, 7200, **BYPASS)
    extend(s3, locked_bucket, COMPLIANCE, 9000)
    refused("AccessDenied", extend, s3, locked_bucket, COMPLIANCE, 3600, **BYPASS)
    head = s3.head_object(Bucket=locked_bucket, Key="k")
    assert head["ObjectLockMode"] == COMPLIANCE
    assert abs((head["ObjectLockRetainUntilDate"] - end_in(9000)).total_seconds()) < 30


def test_what_cannot_be_locked(s3: Any, bucket: str, locked_bucket: str) -> None:
    refused("InvalidRequest", put, s3, bucket, GOVERNANCE)
    refused("InvalidArgument", put, s3, locked_bucket, GOVERNANCE, -5)
    refused("NoSuchKey", extend, s3, locked_bucket, GOVERNANCE, 60)


def test_the_agents_store_locks_and_sees_locks(s3: Any, locked_bucket: str) -> None:
    store, until = S3Objects(s3, locked_bucket, "p", None), end_in(3600)
    store.put("a", b"a", lock=Lock(until, COMPLIANCE))
    store.put("b", b"b")
    assert store.lock("a", None) == Lock(until, COMPLIANCE)
    store.extend_lock("b", Lock(until, GOVERNANCE))
    store.extend_lock("a", Lock(until - timedelta(seconds=60), COMPLIANCE))  # it is locked for longer
    assert {key: store.lock(key, None) for key in "ab"} == {
        "a": Lock(until, COMPLIANCE),
        "b": Lock(until, GOVERNANCE),
    }
    for seconds in (-60, 60):
        with pytest.raises(LockedOtherwise, match="mode GOVERNANCE"):
            store.extend_lock("b", Lock(until + timedelta(seconds=seconds), COMPLIANCE))


def test_a_locked_backup_outlives_retention_until_the_end_of_its_lock(
    s3: Any, locked_bucket: str, tmp_path: Path
) -> None:
    """Two backups, the second on the first's data; the first is to go. Versions are named: none is left behind."""
    store = S3Objects(s3, locked_bucket, "p", None)
    repository.create(store, lambda _identity: [])
    points, line = Points(store, tmp_path), Line({"snap-0": {0: 1, 3000: 2}, "snap-1": {0: 5, 3000: 2}})
    lock = LockJob(COMPLIANCE, 4.0)
    first = points.make(line, volume("snap-0"), lock=lock)
    second = points.make(line, volume("snap-1", "snap-0"), parent=first.id, lock=lock)
    assert second.volumes[0].blocks_stored == 1
    for point in (first, second):
        assert point.lock is not None
        held = {key: store.lock(key, None) for key in points.referenced(point.id)}
        assert all(each and each.until and each.until >= point.lock.until for each in held.values())

    def sweep() -> Sweep:
        made = Sweep(store, Chosen(NAME, KEY, frozenset({first.id})), "run", Progress(), grace=timedelta(0))
        made.run()
        return made

    done = sweep().swept
    assert (done.points_deleted, done.points_locked, done.locked_until) == ([], [first.id], first.lock.until)
    assert points.restored(first.id) == blocks(line.snapshots["snap-0"])
    time.sleep(6.5)
    assert sweep().swept.points_deleted == [first.id]
    for _ in range(2):
        time.sleep(1.1)
        sweep()
    left = {each.key for each in store.list(f"{NAME.path}/", versions=True)}
    assert left == points.referenced(second.id) | {layout.point_key(NAME, second.id)}
    assert points.restored(second.id) == blocks(line.snapshots["snap-1"])
