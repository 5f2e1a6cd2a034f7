# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention through ansible-playbook, with the rights of iam/mayfly.yaml: what goes, what stays, what is left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Site, restored

pytestmark = pytest.mark.timeout(600)
OBJECTS = ("packs", "trees")


def keys_in(site: Site) -> set[str]:
    """Keys of all objects of the repository."""
    bucket = site.seed["repository"]["bucket"]
    return {each["Key"] for each in site.lab.aws("s3api", "list-objects-v2", "--bucket", bucket)["Contents"]}


def test_one_of_three_restore_points_is_kept_and_restores(backed_up: Site, settings: Any) -> None:
    site, host = backed_up, backed_up.db
    for _ in range(2):
        done = site.lab.playbook("ec2_backup", "--limit", host)
        assert done.returncode == 0, done.stdout[-6000:]
    newest, *older = site.points(host)
    before, words = keys_in(site), settings(mayfly_retention_count=1)

    done = site.lab.playbook("retention", "--check", *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert all(each in done.stdout for each in older)
    assert newest not in done.stdout
    assert "c5.large" in done.stdout
    assert keys_in(site) == before
    assert site.workers() == []

    done = site.lab.playbook("retention", *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert site.points(host) == [newest]
    (entry,) = site.lab.report("retention")["resources"].values()
    told = entry["retention"]
    assert (told["failed"], told["objects_deleted"], told["locked"]) == (0, 0, 0)
    assert told["points_deleted"] >= len(older)
    assert told["bytes_condemned"] > 0
    kept = {each for each in before if not set(OBJECTS).isdisjoint(each.split("/"))}
    assert kept <= keys_in(site)  # whoever reads or writes now needs them still
    assert site.temporary() == []

    text = site.lab.exec("python", "-m", "tests.end_to_end.late_sweep", json.dumps(site.seed["repository"]))
    late = json.loads(text)
    assert late["deleted"] > 0
    assert late["left"] == late["needed"]
    done = site.lab.playbook("volume_restore", "--limit", host)
    assert done.returncode == 0, done.stdout[-6000:]
    restored(site, host)
