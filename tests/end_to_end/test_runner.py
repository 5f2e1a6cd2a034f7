# SPDX-License-Identifier: GPL-3.0-or-later
"""The same operations from Python and as one command, from any folder."""

from __future__ import annotations

import json
import subprocess
import sys
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


def test_no_secret_outlives_a_run(backed_up: Site) -> None:
    """Nothing that a run leaves holds a private key, a session token or a repository's key."""
    files = [path for path in backed_up.lab.runs.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for secret in (b"PRIVATE KEY", b"aws_session_token", b"SessionToken", b"SecretAccessKey"):
            assert secret not in content, path


def test_the_package_is_imported_elsewhere(backed_up: Site, tmp_path: Path) -> None:
    """Installed from a wheel, with nothing of the project's folder on the path."""
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet"]
    for words in (
        ["build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(wheels), str(ROOT)],
        ["pip", "install", "--no-deps", "--target", str(site), "--find-links", str(wheels), "--no-index", "mayfly"],
    ):
        done = subprocess.run([*uv, *words], capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
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
