# SPDX-License-Identifier: GPL-3.0-or-later
"""The same operations from Python and as one command, from any folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.labs import ROOT, Done

from .conftest import Site, restored

pytestmark = pytest.mark.timeout(600)

INVENTORY = str(ROOT / "inventories/lab/ec2.aws_ec2.yml")


def runner(site: Site, folder: Path, *words: str) -> Done:
    """What ``python runner.py WORDS`` does from a folder."""
    return site.lab.run("exec", "--", sys.executable, str(ROOT / "runner.py"), *words, wait=300, cwd=folder)


def test_a_backup_and_a_restore_from_another_folder(backed_up: Site, tmp_path: Path) -> None:
    points = backed_up.points(backed_up.db)
    done = runner(backed_up, tmp_path, "ec2_backup", "--inventory", INVENTORY, "--limit", backed_up.db, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["status"] == "Succeeded"
    resource = result["resources"][backed_up.db]
    assert resource["restore_point"] not in points
    assert backed_up.points(backed_up.db) == [resource["restore_point"], *points]
    assert resource["worker"]["instance_id"].startswith("i-")
    assert [stage["name"] for stage in resource["stages"]][-1] == "Terminating"
    assert backed_up.db in done.stderr, "progress is shown"
    assert backed_up.temporary() == []

    done = runner(backed_up, tmp_path, "volume_restore", "--limit", backed_up.db)
    assert done.returncode == 0, done.stdout + done.stderr
    restored(backed_up, backed_up.db)
    assert list(tmp_path.iterdir()) == []


def test_some_failed(backed_up: Site, tmp_path: Path) -> None:
    hooks = json.dumps({"mayfly_hooks": {"before": "test $(hostname) != nowhere && exit 7", "after": ""}})
    done = runner(backed_up, tmp_path, "ec2_backup", "--limit", backed_up.web, "-e", hooks, "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["resources"][backed_up.web]["status"] == "Failed"
    assert "hook before" in json.dumps(result["resources"][backed_up.web]["errors"])
    assert backed_up.temporary() == []


@pytest.mark.parametrize(
    "words", [("ec2_backups",), ("ec2_backup", "--limit", "nobody"), ("ec2_backup", "--inventory", "/nowhere.yml")]
)
def test_bad_input(backed_up: Site, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = runner(backed_up, tmp_path, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words[-1] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_resource_that_is_refused_is_bad_input(backed_up: Site, tmp_path: Path) -> None:
    words = ("volume_restore", "--limit", backed_up.web, "-e", "mayfly_restore_point=20200101T000000Z", "--json")
    done = runner(backed_up, tmp_path, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    errors = json.loads(done.stdout)["resources"][backed_up.web]["errors"]
    assert "RestorePointMissing" in [error["code"] for error in errors]


def test_no_secret_outlives_a_run(backed_up: Site) -> None:
    """Nothing that a run leaves holds a private key, a session token or a repository's key."""
    files = [path for path in backed_up.lab.runs.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for secret in (b"PRIVATE KEY", b"aws_session_token", b"SessionToken", b"SecretAccessKey"):
            assert secret not in content, path


def test_the_package_is_imported_elsewhere(backed_up: Site, tmp_path: Path) -> None:
    """Installed from a checkout in which nothing has been built, with nothing of it on the path."""
    checkout, site = tmp_path / "checkout", tmp_path / "site"
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=shutil.ignore_patterns(".*", "*.tar.gz", "build", "tests"))
    words = ["install", "--quiet", "--no-deps", "--target", str(site), str(checkout)]
    command = [sys.executable, "-m", "pip", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(checkout)
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import mayfly; assert {str(site)!r} in mayfly.__file__;"
        f"result = mayfly.run('ec2_backup', inventory={INVENTORY!r}, limit={backed_up.web!r});"
        "print(result.status, *(entry.restore_point for entry in result.resources.values()))"
    )
    done = backed_up.lab.run("exec", "--", sys.executable, "-c", program, wait=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["Succeeded", backed_up.points(backed_up.web)[0]]


def test_playbooks_run_by_their_full_names(backed_up: Site) -> None:
    words = ("-i", INVENTORY, "mayfly.workers.ec2_backup", "--check", "--limit", backed_up.web)
    done = backed_up.lab.run("exec", "--", "ansible-playbook", *words, wait=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "free addresses" in done.stdout


def test_the_collection_is_built_installed_and_run(backed_up: Site, tmp_path: Path) -> None:
    """With nothing of the project's folder but the lab's inventory."""
    galaxy = [str(Path(sys.executable).with_name("ansible-galaxy")), "collection"]
    for words in (
        ["build", "--output-path", str(tmp_path), str(ROOT)],
        [
            "install",
            "--no-deps",
            "--offline",
            "--collections-path",
            str(tmp_path),
            str(tmp_path / "mayfly-workers-0.1.0.tar.gz"),
        ],
    ):
        done = subprocess.run([*galaxy, *words], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    installed = tmp_path / "ansible_collections/mayfly/workers"
    assert len(list((installed / "roles/transfer_agent/files").glob("*.tar.gz"))) == 8
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path), "ANSIBLE_CALLBACKS_ENABLED": "mayfly.workers.guard"}
    lab = replace(backed_up.lab, environment=environment)
    words = ("-i", INVENTORY, "mayfly.workers.ec2_backup", "--limit", backed_up.web)
    points = backed_up.points(backed_up.web)
    done = lab.run("exec", "--", "ansible-playbook", *words, wait=300, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert backed_up.points(backed_up.web)[1:] == points
