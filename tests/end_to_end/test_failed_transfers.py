# SPDX-License-Identifier: GPL-3.0-or-later
"""A transfer that fails takes nothing with it: not the other resource, not the repository, and no worker stays."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.labs import ROOT

from .conftest import Site, restored

pytestmark = [pytest.mark.timeout(600), pytest.mark.faults]


class Backup:
    """A backup of both instances that is slow enough to be hurt while it runs."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def __enter__(self) -> Backup:
        account = self.site.seed["accounts"]["production"]["id"]
        self._slow = self._fault("add", "throttle", "--service", "ebs", "--account", account, "--rate", "60")
        words = self.site.lab.words("exec", "--", "ansible-playbook", "-i", "inventories/lab/ec2.aws_ec2.yml")
        self._playbook = subprocess.Popen(
            [*words, "-e", "mayfly_transfer_retry_timeout=20 mayfly_full_backup=true", "playbooks/ec2_backup.yml"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=self.site.lab.variables(),
        )  # fmt: skip
        return self

    def __exit__(self, *_error: object) -> None:
        self._fault("clear")
        self._playbook.communicate(timeout=300)

    def full_speed(self) -> None:
        """Nothing is slow any more."""
        self._fault("clear", self._slow)

    def take_s3_away(self, resource: str) -> None:
        """No object of the resource can be written."""
        self._fault("add", "throttle", "--service", "s3", "--call", "PutObject", "--resource", f"*{resource}*")

    def _fault(self, *words: str) -> str:
        """What `lab fault WORDS` prints."""
        done = self.site.lab.run("fault", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def worker(self, host: str) -> str:
        """Id of the host's worker, once it has transferred something."""
        ends = time.monotonic() + 240
        while time.monotonic() < ends:
            entry = self._living().get(host, {})
            if any(volume["blocks_done"] > 0 for volume in entry.get("volumes", {}).values()):
                identity: str = entry["worker"]["instance_id"]
                return identity
            assert self._playbook.poll() is None, self._playbook.communicate()[0][-4000:]
            time.sleep(0.2)
        raise AssertionError(f"{host} has not begun to transfer")

    def _living(self) -> dict[str, Any]:
        for path in self.site.lab.runs.glob("*/report.json"):
            report: dict[str, Any] = json.loads(path.read_text())
            if report["ended"] is None:
                return report["resources"]  # type: ignore[no-any-return]
        return {}

    def on_worker(self, instance: str, command: str) -> None:
        """Run a command as root on a worker, through the keeper's own session."""
        folders = [Path(name) for name in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm") if name]
        path = next(found for folder in folders for found in folder.glob(f"mayfly-*/{instance}.ssh"))
        self.site.lab.exec(
            "ssh", "-F", "none", "-S", str(path), "-o", "ControlMaster=no", "worker", "sudo", "-n", command
        )

    def ended(self) -> tuple[int, str]:
        """Exit code of the playbook, and what it said."""
        said, _nothing = self._playbook.communicate(timeout=400)
        return self._playbook.returncode, said


def assert_only_web_failed(site: Site, backup: Backup, points: dict[str, list[str]], *words: str) -> None:
    """web-1 failed for the reason in ``words``, db-1 has a restore point more, nothing stays, no byte is lost."""
    code, said = backup.ended()
    assert code == 2, said[-4000:]
    report = site.lab.report("ec2_backup")
    assert report["status"] != "Succeeded"
    assert report["resources"][site.db]["status"] == "Succeeded"
    entry = report["resources"][site.web]
    assert entry["status"] == "Failed"
    reason = " ".join(error["message"] for error in entry["errors"])
    assert all(word in reason for word in words), reason
    assert site.temporary() == []
    assert site.points(site.web) == points[site.web]
    assert site.points(site.db)[1:] == points[site.db]


@pytest.fixture
def points(backed_up: Site) -> dict[str, list[str]]:
    """The restore points of both hosts beforehand."""
    return {host: backed_up.points(host) for host in (backed_up.web, backed_up.db)}


def test_an_agent_that_is_killed(backed_up: Site, points: dict[str, list[str]]) -> None:
    references = backed_up.references(backed_up.web)
    with Backup(backed_up) as backup:
        worker = backup.worker(backed_up.web)
        backup.on_worker(worker, "systemctl kill --signal=KILL mayfly-transfer.service")
        backup.full_speed()
        assert_only_web_failed(backed_up, backup, points, backed_up.web, "agent died", "KILL")
    assert backed_up.references(backed_up.web) == references


def test_a_worker_whose_disk_is_full(backed_up: Site, points: dict[str, list[str]]) -> None:
    with Backup(backed_up) as backup:
        worker = backup.worker(backed_up.web)
        # The agent keeps its state in memory, so that its file system is filled as well; a small one, not all memory.
        backup.on_worker(
            worker,
            "sh -c 'mount -o remount,size=32M /run; cat /dev/zero >/run/fill;"
            " fallocate -l $(df --output=avail -B1 / | tail -1) /fill; true'",
        )
        backup.full_speed()
        assert_only_web_failed(backed_up, backup, points, "No space left on device")


def test_s3_that_is_taken_away(backed_up: Site, points: dict[str, list[str]]) -> None:
    with Backup(backed_up) as backup:
        backup.worker(backed_up.web)
        backup.take_s3_away(backed_up.seed["sources"]["web-1"]["id"])
        backup.full_speed()
        assert_only_web_failed(backed_up, backup, points, "S3", backed_up.seed["repository"]["bucket"])
    # After all of them.
    done = backed_up.lab.playbook("volume_restore", "--limit", backed_up.web)
    assert done.returncode == 0, done.stdout[-4000:]
    restored(backed_up, backed_up.web)
