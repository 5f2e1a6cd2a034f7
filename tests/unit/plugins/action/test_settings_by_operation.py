# SPDX-License-Identifier: GPL-3.0-or-later
"""A lease and a deadline for each operation, written as in the manual's examples: what the keeper hears."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
BY_OPERATION = {
    "ec2_backup": {"lease": 600, "deadline": 28800},
    "volume_restore": {"lease": 1800, "deadline": 172800},
    "reap": {"lease": 600, "deadline": 86400},
}
# Asks the run's real keeper, as the module worker does before a launch.
ASK = """\
from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction

class ActionModule(KeeperAction):
    NAME = "worker_info"

    def act(self, options):
        keys = self.ask("worker.keys", {})
        return {"lease": keys["lease_seconds"], "deadline": keys["deadline_seconds"]}
"""
PLAY = """\
- name: Ask what the keeper has heard
  hosts: ec2
  gather_facts: false
  vars:
    mayfly_operation: {operation}
  tasks:
    - name: Ask
      ask:
      register: heard
    - name: Note it
      ansible.builtin.copy:
        content: "{{{{ heard | to_json }}}}"
        dest: "{{{{ playbook_dir }}}}/heard-{operation}-{{{{ inventory_hostname }}}}"
        mode: "0600"
"""


def examples() -> str:
    """The manual's examples of both settings."""
    text = (ROOT / "group_vars/all/workers.yml").read_text()
    found = re.findall(r'^##   (mayfly_(?:lease|deadline): ".*")$', text, re.M)
    assert len(found) == 2
    return "\n".join(found)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Plays of every operation over two hosts, one of them in a group with a lease of its own."""
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins/ask.py").write_text(ASK)
    (tmp_path / "play.yml").write_text("".join(PLAY.format(operation=each) for each in BY_OPERATION))
    hosts = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    inventory = {"ec2": {"hosts": {"web": hosts, "db": hosts}}, "careful": {"hosts": {"db": {}}}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/careful.yml").write_text("mayfly_lease: 900\n")
    return tmp_path


def heard(project: Path, operation: str, host: str) -> dict[str, int]:
    """What the keeper has heard; a deadline is told as what is left of it."""
    value = json.loads((project / f"heard-{operation}-{host}").read_text())
    return {"lease": value["lease"], "deadline": -(-value["deadline"] // 60) * 60}


@pytest.mark.timeout(90)
def test_each_operation_has_its_own(project: Path) -> None:
    (project / "group_vars/all.yml").write_text(examples())
    done = subprocess.run(
        ["ansible-playbook", "-i", str(project / "inventory.json"), str(project / "play.yml")],
        cwd=ROOT,
        env={**os.environ, "MAYFLY_RUNS_DIR": str(project / "runs"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for operation, values in BY_OPERATION.items():
        assert heard(project, operation, "web") == values
        assert heard(project, operation, "db") == {**values, "lease": 900}
