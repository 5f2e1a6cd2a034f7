# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard beside other callbacks of a user's: each hears of everything, and none ends the run for another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[4]
GUARD, PROFILE, JUNIT = "mayfly.workers.guard", "ansible.posix.profile_tasks", "ansible.builtin.junit"
RESOURCE = {"account": "111122223333", "region": "eu-central-1", "kind": "ec2", "name": "web"}
PLAYBOOK = """\
- name: Do two things
  hosts: all
  strategy: ansible.builtin.host_pinned
  connection: local
  gather_facts: false
  tasks:
    - name: Ask the keeper
      mayfly.workers.worker_info:
    - name: Fail on one host
      ansible.builtin.assert:
        that: inventory_hostname != failing | default('')
"""


@pytest.mark.parametrize("order", [(GUARD, PROFILE, JUNIT), (JUNIT, PROFILE, GUARD)], ids=["first", "last"])
@pytest.mark.parametrize("failing", [False, True])
def test_all_of_them_tell_what_happened(tmp_path: Path, order: tuple[str, ...], failing: bool) -> None:
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    hosts = {host: {"mayfly_resource": {**RESOURCE, "id": f"i-{host}"}} for host in ("a", "b")}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            *("-i", str(tmp_path / "hosts.yml"), *(("-e", "failing=b") if failing else ()), str(tmp_path / "play.yml")),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACKS_ENABLED": ",".join(order),
            "ANSIBLE_RETRY_FILES_ENABLED": "false",
            "JUNIT_OUTPUT_DIR": str(tmp_path / "junit"),
            "MAYFLY_RUNS_DIR": str(tmp_path / "runs"),
            "MAYFLY_RUN_ID": "r",
        },
    )
    said = done.stdout + done.stderr
    assert done.returncode == (2 if failing else 0), said
    assert "Traceback" not in said
    assert "WARNING" not in said, said
    # the guard
    assert said.count("Report of run r:") == 1
    report = json.loads((tmp_path / "runs/r/report.json").read_text())
    assert report["ended"]
    assert {host: report["resources"][host]["status"] for host in ("a", "b")} == {
        "a": "Succeeded",
        "b": "Failed" if failing else "Succeeded",
    }
    # the times of tasks
    assert said.count("Ask the keeper ---") == 1
    # the report for CI
    [written] = (tmp_path / "junit").glob("*.xml")
    cases = list(ElementTree.parse(written).iter("testcase"))  # noqa: S314 - our own file
    assert len(cases) == 4
    bad = [case for case in cases if {part.tag for part in case} & {"failure", "error"}]
    assert [case.get("name", "").count("Fail on one host") for case in bad] == [1] * failing
