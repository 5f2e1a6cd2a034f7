# SPDX-License-Identifier: GPL-3.0-or-later
"""`lab up`, `lab down` and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.labs import Lab

from .machine import running_instance


def remains(lab: Lab) -> dict[str, list[str]]:
    """Everything of a lab that this machine still has."""
    own = str(lab.state)
    loops = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if own in backing.read_text():
                loops.append(str(backing))
        except OSError:  # freed between the listing and the reading
            continue
    processes = list(processes_of(lab).values())
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob("*/mayfly-lab-*") if group_of(lab) in path.name]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if own in line]
    return {"loops": loops, "processes": processes, "groups": groups, "mounts": mounts}


def processes_of(lab: Lab) -> dict[int, str]:
    """The command line of each process of a lab, this one's own excepted."""
    processes = {}
    for environment in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environment.parent.name)
        try:
            if pid != os.getpid() and f"MAYFLY_LAB_STATE={lab.state}".encode() in environment.read_bytes():
                processes[pid] = (environment.parent / "cmdline").read_text()
        except OSError:
            continue
    return processes


def group_of(lab: Lab) -> str:
    from mayfly_lab.paths import Paths

    return Paths(lab.state, Path("/var/cache/mayfly-lab")).name


def assert_nothing_remains(lab: Lab) -> None:
    limit = time.monotonic() + 10
    while any(remains(lab).values()) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not any(remains(lab).values()), remains(lab)


def namespaces() -> tuple[str, str]:
    """This machine's own routes and firewall, which no lab may touch."""
    import subprocess

    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True, timeout=10).stdout
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True, timeout=10).stdout
    return routes, rules


def test_a_lab_that_is_down_runs_nothing(fresh_lab: Lab) -> None:
    done = fresh_lab.run("exec", "--", "true")
    assert done.returncode == 2
    assert "down" in done.stderr
    assert fresh_lab.run("status").returncode == 2


@pytest.mark.timeout(300)
def test_down_leaves_nothing(fresh_lab: Lab) -> None:
    before = namespaces()
    assert fresh_lab.run("up", wait=300).returncode == 0
    running_instance(fresh_lab, wait=False)
    assert fresh_lab.run("status").returncode == 0
    assert fresh_lab.run("down").returncode == 0
    assert_nothing_remains(fresh_lab)
    assert not (fresh_lab.state / "run").exists()
    assert namespaces() == before


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", [0, 1], ids=["holder", "process-1"])
def test_down_leaves_nothing_after_a_kill(fresh_lab: Lab, victim: int) -> None:
    assert fresh_lab.run("up", wait=300).returncode == 0
    running_instance(fresh_lab)
    home = json.loads((fresh_lab.state / "run/home.json").read_text())
    os.kill(home[victim]["pid"], signal.SIGKILL)
    assert fresh_lab.run("exec", "--", "true").returncode == 2
    assert fresh_lab.run("down").returncode == 0
    assert_nothing_remains(fresh_lab)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["mayfly_lab.control", "mayfly_lab.ebs", "mayfly_lab.supervisor", "systemd-nspawn"])
def test_down_leaves_nothing_after_the_kill_of_a_part(fresh_lab: Lab, part: str) -> None:
    before = namespaces()
    assert fresh_lab.run("up", wait=300).returncode == 0
    running_instance(fresh_lab)
    victims = [pid for pid, command in processes_of(fresh_lab).items() if part in command]
    assert victims, processes_of(fresh_lab)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    assert fresh_lab.run("down").returncode == 0
    assert_nothing_remains(fresh_lab)
    assert namespaces() == before


@pytest.mark.timeout(300)
def test_up_after_a_crash_starts_anew(fresh_lab: Lab) -> None:
    assert fresh_lab.run("up", wait=300).returncode == 0
    home = json.loads((fresh_lab.state / "run/home.json").read_text())
    os.kill(home[1]["pid"], signal.SIGKILL)
    assert fresh_lab.run("up", wait=300).returncode == 0
    assert "111122223333" in fresh_lab.exec("aws", "sts", "get-caller-identity")


@pytest.mark.timeout(300)
def test_status_tells_of_a_service_that_died(fresh_lab: Lab) -> None:
    assert fresh_lab.run("up", wait=300).returncode == 0
    pid = int(fresh_lab.exec("pgrep", "-f", "mayfly_lab.s3$").split()[0])
    fresh_lab.exec("kill", "-KILL", str(pid))
    time.sleep(0.3)
    done = fresh_lab.run("status")
    assert done.returncode == 1
    assert "s3" in done.stdout
    assert "ended" in done.stdout


def test_exec_passes_exit_codes_and_the_working_folder(lab: Lab) -> None:
    assert lab.run("exec", "--", "sh", "-c", "exit 7").returncode == 7
    assert lab.run("exec", "--", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM
    assert lab.exec("pwd").strip() == str(Path.cwd())
    assert lab.run("exec", "--", "no-such-command").returncode == 127


def test_there_is_no_way_out(lab: Lab) -> None:
    assert lab.exec("ip", "route", "show", "default") == ""
    done = lab.run("exec", "--", "python3", "-c", "import socket; socket.create_connection(('192.0.2.1', 443), 3)")
    assert "Network is unreachable" in done.stderr
    done = lab.run("exec", "--", "python3", "-c", "import socket; socket.getaddrinfo('example.org', 443)")
    assert done.returncode != 0
