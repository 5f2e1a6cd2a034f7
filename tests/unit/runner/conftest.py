# SPDX-License-Identifier: GPL-3.0-or-later
"""A project of small playbooks that stand in for operations: no keeper, no AWS, real ansible-runner."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

PLAYBOOKS = {
    "two_results": """
        - name: Succeed on one host, fail on the other
          hosts: ec2
          gather_facts: false
          tasks:
            - name: Fail where told
              ansible.builtin.assert:
                that: inventory_hostname != failing_host | default('')
                fail_msg: The disk of {{ inventory_hostname }} is full.
        """,
    "reported": """
        - name: Leave a report as a keeper does
          hosts: ec2
          gather_facts: false
          tasks:
            - name: Make the run's folder
              ansible.builtin.file:
                path: "{{ lookup('env', 'MAYFLY_RUNS_DIR') }}/{{ lookup('env', 'MAYFLY_RUN_ID') }}"
                state: directory
                mode: "0700"
              delegate_to: localhost
              run_once: true
            - name: Write the report
              ansible.builtin.copy:
                content: "{{ report | to_json }}"
                dest: "{{ lookup('env', 'MAYFLY_RUNS_DIR') }}/{{ lookup('env', 'MAYFLY_RUN_ID') }}/report.json"
                mode: "0600"
              delegate_to: localhost
              run_once: true
            - name: Give it time to be seen
              ansible.builtin.pause:
                seconds: 2
        """,
    "long": """
        - name: Last for a long time
          hosts: ec2
          gather_facts: false
          tasks:
            - name: Wait
              ansible.builtin.command: sleep 120
              delegate_to: localhost
              changed_when: false
        """,
    "broken": """
        - name: Name a module that does not exist
          hosts: ec2
          gather_facts: false
          tasks:
            - name: Break
              mayfly.workers.no_such_module:
        """,
}

INVENTORY = """
    ec2:
      hosts:
        web-1_i-0001: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
        web-2_i-0002: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
    """


@pytest.fixture
def small_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of such a project; runs leave their folders in ``runs`` below it."""
    playbooks = tmp_path / "collections/ansible_collections/mayfly/workers/playbooks"
    playbooks.mkdir(parents=True)
    for name, text in PLAYBOOKS.items():
        (playbooks / f"{name}.yml").write_text(textwrap.dedent(text))
    (playbooks.parent / "galaxy.yml").write_text("namespace: mayfly\nname: workers\nversion: 0.1.0\n")
    configuration = """\
        [defaults]
        collections_path = collections
        [inventory]
        any_unparsed_is_failed = True
        """
    (tmp_path / "ansible.cfg").write_text(textwrap.dedent(configuration))
    (tmp_path / "inventory.yml").write_text(textwrap.dedent(INVENTORY))
    monkeypatch.setattr("mayfly.project.root", lambda: tmp_path)
    monkeypatch.setenv("MAYFLY_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path
