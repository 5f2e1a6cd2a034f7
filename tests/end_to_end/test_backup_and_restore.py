# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup and restore through ansible-playbook; every block is compared."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Site, restored

pytestmark = pytest.mark.timeout(600)


def stage(entry: dict[str, Any], name: str) -> tuple[str, str]:
    """(start, end) of a stage of a resource."""
    found = next(each for each in entry["stages"] if each["name"] == name)
    return found["start"], found["end"]


def test_a_repository_is_made_once(backed_up: Site) -> None:
    done = backed_up.lab.playbook("repository_create")
    assert done.returncode == 0
    assert "changed=0" in done.stdout


def test_a_backup_takes_what_the_snapshots_hold(backed_up: Site, first_backup: dict[str, Any]) -> None:
    report = first_backup
    assert report["status"] == "Succeeded"
    assert set(report["resources"]) == {backed_up.web, backed_up.db}
    for host, entry in report["resources"].items():
        references = backed_up.references(host)
        digests = backed_up.lab.digests(*references.values())
        assert {volume: digests[snapshot] for volume, snapshot in references.items()} == entry["digests"]
        assert len(references) == 3
        assert entry["image"]["id"].startswith("ami-")
        assert all(volume["bytes_read"] > 0 for volume in entry["volumes"].values())
    assert backed_up.temporary() == []


def test_only_written_blocks_are_read(backed_up: Site, first_backup: dict[str, Any]) -> None:
    volumes = first_backup["resources"][backed_up.db]["volumes"]
    # One of 100 GiB that holds next to nothing; all of it would be 204,800 blocks.
    assert all(volume["blocks_total"] < 2000 for volume in volumes.values())


def test_both_workers_live_at_once(backed_up: Site, first_backup: dict[str, Any]) -> None:
    entries = first_backup["resources"]
    (web_start, web_end), (db_start, db_end) = (
        stage(entries[host], "Configuring") for host in (backed_up.web, backed_up.db)
    )
    assert web_start < db_end
    assert db_start < web_end
    assert entries[backed_up.web]["worker"]["instance_id"] != entries[backed_up.db]["worker"]["instance_id"]


def test_a_worker_goes_as_soon_as_its_own_resource_is_done(backed_up: Site, first_backup: dict[str, Any]) -> None:
    entries = first_backup["resources"]
    (_start, ended), (_began, transferred) = (
        stage(entries[backed_up.db], "Terminating"),
        stage(entries[backed_up.web], "Transferring"),
    )
    assert ended < transferred


def test_check_mode_shows_the_placement_and_launches_nothing(backed_up: Site) -> None:
    snapshots = backed_up.references(backed_up.web)
    done = backed_up.lab.playbook("ec2_backup", "--check", "--limit", backed_up.web)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "free addresses in the resource's zone" in done.stdout
    assert "c6a.large" in done.stdout
    assert backed_up.workers() == []
    assert backed_up.references(backed_up.web) == snapshots
    assert backed_up.temporary() == []


def test_limit_and_a_second_backup_that_replaces_the_reference_snapshots(backed_up: Site) -> None:
    before, points, others = (
        backed_up.references(backed_up.web),
        backed_up.points(backed_up.web),
        backed_up.points(backed_up.db),
    )
    done = backed_up.lab.playbook("ec2_backup", "--limit", backed_up.web)
    assert done.returncode == 0, done.stdout[-6000:]
    after = backed_up.references(backed_up.web)
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())
    assert len(backed_up.points(backed_up.web)) == len(points) + 1
    assert backed_up.points(backed_up.db) == others


def test_check_mode_of_a_restore_shows_the_placement_and_makes_nothing(backed_up: Site) -> None:
    def made() -> list[int]:
        shown = (("Volumes", ("describe-volumes",)), ("Snapshots", ("describe-snapshots", "--owner-ids", "self")))
        return [len(backed_up.lab.aws("ec2", *words, profile="production")[name]) for name, words in shown]

    before = made()
    done = backed_up.lab.playbook("volume_restore", "--check", "--limit", backed_up.web)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "c6a.large" in done.stdout
    assert made() == before
    assert backed_up.workers() == []


def test_the_latest_restore_point_is_restored_by_default(backed_up: Site) -> None:
    done = backed_up.lab.playbook("volume_restore", "--limit", backed_up.web)
    assert done.returncode == 0, done.stdout[-6000:]
    volumes = restored(backed_up, backed_up.web)
    references = backed_up.references(backed_up.web)
    digests = backed_up.lab.digests(*volumes.values(), *references.values())
    assert {volumes[each]: digests[volumes[each]] for each in volumes} == {
        volumes[each]: digests[references[each]] for each in volumes
    }
    assert backed_up.temporary() == []
