# SPDX-License-Identifier: GPL-3.0-or-later
"""A task whose process is killed or stopped fails its host, whose always block runs; the other hosts go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.labs import ROOT

PLAYBOOK = """\
- name: Wait on every host
  hosts: all
  strategy: ansible.builtin.host_pinned
  gather_facts: false
  connection: local
  tasks:
    - name: Wait, then tidy up
      block:
        - name: Wait
          ansible.builtin.wait_for:
            timeout: 6
      always:
        - name: Tidy up
          ansible.builtin.file:
            path: "{{ playbook_dir }}/tidied-{{ inventory_hostname }}"
            state: touch
            mode: "0600"
"""
HOSTS = ("a", "b", "c")


def task_process(playbook: int) -> int:
    """A process of a task: a child of the playbook that leads a session of its own, and runs the same program."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        for child in Path(f"/proc/{playbook}/task/{playbook}/children").read_text().split():
            try:
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                program = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            if fields[3] == child and b"play.yml" in program:  # proc(5): fields[3] is the session
                time.sleep(1.5)  # within its wait
                return int(child)
        time.sleep(0.05)
    raise AssertionError("no task has begun")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("number", "longest", "words"), [(signal.SIGKILL, 25, "died"), (signal.SIGSTOP, 60, "was stopped for too long")]
)
def test_the_host_fails_and_tidies_up(tmp_path: Path, number: signal.Signals, longest: float, words: str) -> None:
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    command = ["ansible-playbook", "-i", ",".join(HOSTS), "-e", f"ansible_python_interpreter={sys.executable}"]
    environment = {**os.environ, "MAYFLY_RUNS_DIR": str(tmp_path / "runs"), "ANSIBLE_NOCOLOR": "1"}
    process = subprocess.Popen(
        [*command, str(tmp_path / "play.yml")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    began = time.monotonic()
    os.kill(task_process(process.pid), number)
    said, _ = process.communicate(timeout=90)
    assert process.returncode == 2, said
    assert words in said
    assert "TaskProcessDied" in said
    assert time.monotonic() - began < longest
    assert sorted(path.name for path in tmp_path.glob("tidied-*")) == [f"tidied-{host}" for host in HOSTS]
    assert said.count("failed=1") == 1
    assert said.count("failed=0") == 2
