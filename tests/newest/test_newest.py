# SPDX-License-Identifier: GPL-3.0-or-later
"""The project on the newest Python and ansible-core that it supports, with nothing else than a control node needs."""

from __future__ import annotations

import json
import re

import pytest

from .conftest import Controller
from .root_file_system import ROOT

pytestmark = pytest.mark.timeout(900)

# Those that touch Ansible; the rest knows nothing of it.
UNIT_TESTS = [path for name in ("playbooks", "plugins", "runner") if (path := ROOT / "tests/unit" / name).is_dir()]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


def test_ansible_is_newer_than_where_the_other_tests_run(
    controller: Controller, capsys: pytest.CaptureFixture[str]
) -> None:
    text = controller.run("ansible", "--version", wait=60).stdout
    core, python = (re.search(pattern, text) for pattern in (r"core (\d+)\.(\d+)\.\S+\b", r"python version = (\S+)"))
    assert core, text
    assert python, text
    with capsys.disabled():
        print(f"\nansible-{core[0]}, Python {python[1]}")
    assert (int(core[1]), int(core[2])) >= (2, 20)


def test_unit_tests_that_touch_ansible(controller: Controller) -> None:
    assert len(UNIT_TESTS) >= 2
    folders = [str(path.relative_to(ROOT)) for path in UNIT_TESTS]
    done = controller.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders, wait=600)
    assert re.search(r"\d+ passed", done.stdout), done.stdout


def test_processes_of_tasks_that_die_or_are_stopped(controller: Controller) -> None:
    """What the guard does then hangs on Ansible's own processes and queue, which differ between its versions."""
    tests = "tests/integration/ansible"
    done = controller.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, wait=300)
    assert re.search(r"\d+ passed", done.stdout), done.stdout


def test_every_playbook_is_understood(controller: Controller) -> None:
    assert PLAYBOOKS
    inventories = ["-i", "inventories/lab/repositories.yml"]
    names = [str(path.relative_to(ROOT)) for path in PLAYBOOKS]
    shown = controller.run("ansible-playbook", "--syntax-check", *inventories, *names, wait=120).stdout
    assert [f"playbook: {name}" for name in names] == re.findall(r"^playbook: \S+", shown, re.MULTILINE)


def test_an_instance_is_backed_up_and_its_volumes_are_restored(controller: Controller, web: str) -> None:
    lab = controller.lab
    controller.playbook("repository_create", "repositories.yml")
    controller.playbook("ec2_backup", "ec2.aws_ec2.yml", "--limit", web)
    backup = lab.report("ec2_backup")["resources"]
    assert list(backup) == [web]
    controller.playbook("volume_restore", "restore_points.yml", "--limit", web)
    volumes: dict[str, str] = lab.report("volume_restore")["resources"][web]["restored_volumes"]

    found = lab.aws("ec2", "describe-snapshots", "--owner-ids", "self", profile="production")["Snapshots"]
    snapshots = {each["VolumeId"]: each["SnapshotId"] for each in found if "mayfly:reference" in json.dumps(each)}
    digests = lab.digests(*volumes.values(), *snapshots.values())
    assert len(volumes) == 3
    assert {volume: digests[new] for volume, new in volumes.items()} == backup[web]["digests"]
    assert {volume: digests[snapshot] for volume, snapshot in snapshots.items()} == backup[web]["digests"]
