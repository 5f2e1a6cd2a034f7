# SPDX-License-Identifier: GPL-3.0-or-later
"""The job as the controller sends it, and what becomes of it."""

from __future__ import annotations

import base64
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mayfly_agent import operations
from mayfly_agent.errors import AgentError
from mayfly_agent.job import BackupJob, CheckJob, Job, JobVolume, Port, RestoreJob, Service, Target, read_job
from mayfly_agent.main import main
from mayfly_agent.operations import Operation, carry_out
from mayfly_agent.progress import Progress
from mayfly_agent.status import Status

ARN = "arn:aws:kms:us-east-1:444455556666:key/1"
COMMON: dict[str, Any] = {
    "version": 1,
    "run": "run",
    "seconds_left": 3600,
    "resource": {"account": "444455556666", "region": "us-east-1", "kind": "ec2", "id": "i-1", "name": "web-1"},
    "repository": {"bucket": "bucket", "prefix": "", "region": "us-east-1"},
    "resource_key": base64.b64encode(b"k" * 32).decode(),
    "concurrency": 4,
    "retry_timeout": 60,
}
VOLUME = {"volume_id": "vol-1", "snapshot_id": "snap-1", "device": "/dev/xvdf", "size_gib": 1}
BACKUP = {
    "operation": "backup",
    "source_region": "us-east-1",
    "restore_point_time": "2026-11-24T00:00:00+00:00",
    "volumes": [VOLUME],
    "settings": {"type": "t3.micro"},
}
CHECK = {
    "operation": "check",
    "services": [{"name": "ebs", "region": "us-east-1", "host": "ebs.us-east-1.amazonaws.com", "private": True}],
    "ports": [{"host": "10.0.0.9", "port": 2049}],
    "snapshot_id": "snap-0",
}
CHECKED = {"account": "444455556666", "region": "us-east-1", "kind": "ec2", "id": "i-1", "key": COMMON["resource_key"]}
HEALTH = {"operation": "health_check", "resources": [CHECKED], "mode": "sample", "percent": 5, "seed": "run"}
RESTORE = {"operation": "restore", "restore_point": "point", "target": {"region": "us-east-1"}, "attempt": 1}


def restore_to(target: Any) -> RestoreJob:
    return RestoreJob.parse({**COMMON, **RESTORE, "target": target})


@pytest.mark.parametrize(
    ("sent", "target"),
    [
        ({"region": "us-east-1"}, Target("us-east-1", {}, {})),
        (
            {"region": "us-east-1", "tags": {"a": "b"}, "encryption": {"vol-1": ARN, "vol-2": ""}},
            Target("us-east-1", {"a": "b"}, {"vol-1": ARN, "vol-2": ""}),
        ),
    ],
    ids=["no encryption", "two keys"],
)
def test_the_target_says_which_volumes_are_encrypted(sent: dict[str, Any], target: Target) -> None:
    assert restore_to(sent).target == target


@pytest.mark.parametrize(
    "parts", [{}, {"parent": "point", "volumes": [{**VOLUME, "parent_snapshot_id": "snap-0"}]}], ids=["full", "parent"]
)
def test_a_backup_says_what_it_goes_on_from(parts: dict[str, Any]) -> None:
    job = BackupJob.parse({**COMMON, **BACKUP, **parts})
    before = "snap-0" if parts else ""
    assert job.volumes == (JobVolume("vol-1", "snap-1", "/dev/xvdf", 1, {}, before),)
    assert job.parent == parts.get("parent", "")
    assert (job.settings, job.name.path) == ({"type": "t3.micro"}, "444455556666/us-east-1/ec2/i-1")


def test_a_check_is_told_no_key_of_any_data() -> None:
    sent = {name: value for name, value in COMMON.items() if name not in ("resource_key", "concurrency")}
    job = CheckJob.parse({**sent, **CHECK})
    assert job.services == (Service("ebs", "us-east-1", "ebs.us-east-1.amazonaws.com", True),)
    assert (job.ports, job.snapshot_id) == ((Port("10.0.0.9", 2049),), "snap-0")


class TestCarryOut:
    """What an operation is begun with, and what is refused before."""

    @pytest.fixture
    def ran(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Job, Status]]:
        """The jobs that were begun; each operation is replaced by one that does nothing."""
        begun: list[tuple[Job, Status]] = []

        def run(job: Job, status: Status) -> dict[str, object]:
            begun.append((job, status))
            return {"done": type(job).__name__}

        for name, operation in operations.OPERATIONS.items():
            monkeypatch.setitem(operations.OPERATIONS, name, Operation(operation.parse, run))
        return begun

    @pytest.fixture(autouse=True)
    def handler(self) -> Iterator[None]:
        """The command sets one of its own."""
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)

    @pytest.fixture
    def status(self, tmp_path: Path, progress: Progress) -> Status:
        return Status(tmp_path / "status.json", progress)

    @pytest.mark.parametrize(
        ("parts", "kind"),
        [(BACKUP, "BackupJob"), (RESTORE, "RestoreJob"), (CHECK, "CheckJob"), (HEALTH, "HealthCheckJob")],
        ids=["backup", "restore", "check", "health_check"],
    )
    def test_each_operation_has_its_own_job(
        self, ran: list[tuple[Job, Status]], status: Status, parts: dict[str, Any], kind: str
    ) -> None:
        assert carry_out({**COMMON, **parts}, status, 1000.0) == {"done": kind}
        ((job, given),) = ran
        assert type(job).__name__ == kind
        assert given is status

    def test_time_is_counted_from_the_jobs_arrival(self, ran: list[tuple[Job, Status]], status: Status) -> None:
        carry_out({**COMMON, **BACKUP, "seconds_left": 90.5}, status, 1000.0)
        assert status.progress.deadline == 1090.5
        assert status.progress.retry_timeout == 60

    @pytest.mark.parametrize(
        "parts",
        [
            *({**RESTORE, "operation": name} for name in ("archive", "", None, "Backup", "restore ")),
            *({**RESTORE, "target": {"region": "us-east-1", "encryption": each}} for each in (
                {"vol-1": None}, {"vol-1": True}, ["vol-1"], None
            )),
            {**RESTORE, "target": {"region": "us-east-1", "tags": {"a": 1}}},
            {**RESTORE, "target": {"region": "us-east-1", "kms_key_id": ARN}},
            {**RESTORE, "target": {"encryption": {}}},
            {**RESTORE, "target": None},
            {**CHECK, "operation": "backup"},
            {**CHECK, "services": None},
            {**CHECK, "services": [{"name": "ebs"}]},
            *({**CHECK, "ports": [{"host": "a", "port": each}]} for each in (0, 65536, "ssh", None)),
            *({**HEALTH, "percent": each} for each in (0, -1, 100.5, float("nan"), None)),
            {**HEALTH, "seed": ""},
            *({**HEALTH, "mode": each} for each in ("all", "", None)),
            *({**HEALTH, "resources": [{**CHECKED, name: ".."}]} for name in ("key", "account", "id")),
            {**BACKUP, "operation": "restore"},
            {**RESTORE, "operation": "backup"},
            {**BACKUP, "restore_point_time": None},
            {**BACKUP, "restore_point_time": "soon"},
            {**BACKUP, "volumes": None},
            {**BACKUP, "volumes": [{**VOLUME, "new": 1}]},
            {**BACKUP, "resource_key": "!"},
            {**BACKUP, "resource": {"id": "i-1"}},
            {**BACKUP, "resource": {**COMMON["resource"], "account": "1"}},
            *({**BACKUP, "seconds_left": each} for each in (-1, 604_801, float("nan"), "soon", None)),
            *({**BACKUP, "retry_timeout": each} for each in (-1, 0, 900.5, float("nan"), float("inf"), None)),
        ],
        ids=lambda parts: ascii(parts)[-70:],
    )  # fmt: skip
    def test_what_is_misunderstood_is_no_job(
        self, ran: list[tuple[Job, Status]], status: Status, parts: dict[str, Any]
    ) -> None:
        """A key that is none could give an unencrypted volume; an operation that is none, one that nobody asked for."""
        with pytest.raises(AgentError) as raised:
            carry_out({**COMMON, **parts}, status, 1000.0)
        assert raised.value.code == "BadJob"
        assert not ran

    @pytest.mark.parametrize("seconds", [0, 604_800])
    @pytest.mark.parametrize("retry", [1, 900])
    def test_what_is_just_within_bounds_is_one(
        self, ran: list[tuple[Job, Status]], status: Status, seconds: float, retry: float
    ) -> None:
        carry_out({**COMMON, **BACKUP, "seconds_left": seconds, "retry_timeout": retry}, status, 0.0)
        assert len(ran) == 1

    @pytest.mark.parametrize(
        ("parts", "code", "state"),
        [(BACKUP, 0, "succeeded"), ({**BACKUP, "operation": "archive"}, 1, "failed")],
        ids=["known", "unknown"],
    )
    def test_the_command_tells_what_became_of_it(
        self, ran: list[tuple[Job, Status]], tmp_path: Path, parts: dict[str, Any], code: int, state: str
    ) -> None:
        path, before = tmp_path / "job.json", time.monotonic()
        path.write_text(json.dumps({**COMMON, **parts}))
        assert main(["run", str(path)]) == code
        assert json.loads((tmp_path / "status.json").read_text())["state"] == state
        for _job, status in ran:
            assert before + 3600 <= status.progress.deadline <= time.monotonic() + 3600


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"version": 2}'])
def test_what_cannot_be_read_is_no_job(tmp_path: Path, text: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(AgentError) as raised:
        read_job(path)
    assert raised.value.code == "BadJob"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps({**COMMON, **BACKUP}))
    assert read_job(path) == {**COMMON, **BACKUP}
