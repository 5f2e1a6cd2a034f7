# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository on a store that is not AWS's, and copies of restore points from AWS's S3 to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import stores
from tests.labs import ROOT

from .conftest import Site, restored

pytestmark = pytest.mark.timeout(900)
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def folder(backed_up: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The store's files, while it runs."""
    made = tmp_path_factory.mktemp("elsewhere") / "store"
    with stores.seaweed(backed_up.lab, made):
        yield made


def inventory_of(path: Path, repository: dict[str, Any]) -> str:
    """An inventory of the repository's restore points, with the lab's settings."""
    (path / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    file = path / "restore_points.yml"
    file.write_text(json.dumps({"plugin": "mayfly.workers.restore_points", "repository": repository}))
    return str(file)


def restore(site: Site, host: str, repository: dict[str, Any], path: Path) -> None:
    """Restore the newest point of a host from it, and compare every block."""
    words = ("--limit", host, "-e", json.dumps({"mayfly_repository": repository}))
    done = site.lab.playbook("volume_restore", *words, inventory=inventory_of(path, repository))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    restored(site, host)


def test_a_backup_goes_to_another_store_and_comes_back(
    backed_up: Site, folder: Path, settings: Any, tmp_path: Path
) -> None:
    site, host = backed_up, backed_up.db
    repository = stores.setting(folder, passphrase=PASSPHRASE)
    stranger = {name: value for name, value in repository.items() if name != "ca_file"}
    done = site.lab.playbook("repository_create", *settings(mayfly_repository=stranger))
    assert done.returncode != 0
    assert stores.URL in done.stdout
    assert "ca_file" in done.stdout

    words = settings(mayfly_repository=repository)
    done = site.lab.playbook("repository_create", *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "replaced by their ETag alone" in done.stdout
    done = site.lab.playbook("ec2_backup", "--limit", host, *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert stores.KEYS["secret_access_key"] not in done.stdout
    restore(site, host, repository, tmp_path)
    for path in site.lab.runs.rglob("*"):
        if path.is_file():
            assert stores.KEYS["secret_access_key"].encode() not in path.read_bytes(), path
    assert site.temporary() == []


def test_restore_points_are_copied_to_it_once_and_restore_from_there(
    backed_up: Site, folder: Path, settings: Any, tmp_path: Path
) -> None:
    site, host = backed_up, backed_up.db
    second = stores.setting(folder, prefix="copies", passphrase=PASSPHRASE)
    done = site.lab.playbook("repository_create", *settings(mayfly_repository=second))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    done = site.lab.playbook("ec2_backup", "--limit", host)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    points = site.points(host)[:2]
    words = settings(mayfly_copy_repository=second, mayfly_copy_points=points)

    done = site.lab.playbook("repository_copy", "--check", *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert all(each in done.stdout for each in points)
    assert "c5.large" in done.stdout
    before = stores.keys_in(site.lab, folder)
    assert not [each for each in before if each.startswith("copies/") and host.rpartition("_")[2] in each]

    done = site.lab.playbook("repository_copy", *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (entry,) = site.lab.report("repository_copy")["resources"].values()
    told = entry["copied"]
    assert (told["failed"], told["blocks_reused"]) == (0, 0)
    path = next(each for each in told["resources"] if each.endswith(host.rpartition("_")[2]))
    assert sorted(told["resources"][path]["points"]) == sorted(points)
    assert site.temporary() == []

    copied = stores.keys_in(site.lab, folder)
    done = site.lab.playbook("repository_copy", *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "in the second repository already" in done.stdout
    assert stores.keys_in(site.lab, folder) == copied

    there = settings(mayfly_repository=second, mayfly_health_check_mode="full", mayfly_retention_count=1)
    for name in ("health_check", "retention"):
        done = site.lab.playbook(name, *there)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    (checked,) = site.lab.report("health_check")["resources"].values()
    # The first backup's point is one of the other instance as well.
    copies = sum(len(each["points"]) for each in told["resources"].values())
    assert (checked["health_check"]["points"], checked["health_check"]["damaged_points"]) == (copies, 0)
    (swept,) = site.lab.report("retention")["resources"].values()
    assert (swept["retention"]["points_deleted"], swept["retention"]["failed"]) == (1, 0)
    below = f"{path}/points/"
    left = {key.rpartition("/")[2] for key in stores.keys_in(site.lab, folder) if below in key and "copies/" in key}
    assert left == {max(points)}
    restore(site, host, second, tmp_path)
    volumes = site.lab.report("volume_restore")["resources"][host]["volumes"].values()
    whole = sum(each["blocks_total"] for each in volumes)
    # What two points share is there once: two copies of all would be twice as much.
    assert whole <= told["resources"][path]["blocks_copied"] < 2 * whole
