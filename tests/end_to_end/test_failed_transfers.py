# SPDX-License-Identifier: GPL-3.0-or-later
"""A transfer that fails takes nothing with it: not the other resource, not the repository, and no worker stays."""

from __future__ import annotations

import pytest

from .conftest import Site, restored
from .slow import Backup

pytestmark = [pytest.mark.timeout(600), pytest.mark.faults]


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
