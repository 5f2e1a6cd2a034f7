# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of a schedule for the playbook reap are what systemd and cron take."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "examples/systemd"
CRON = ROOT / "examples/cron/mayfly-reap"
PLAYBOOK = re.compile(r"-i (\S+) (playbooks/\S+\.yml)")


def project(folder: Path, code: int) -> Path:
    """A folder that stands in for the checkout; its ansible-playbook says a word and ends with ``code``."""
    program = folder / ".venv/bin/ansible-playbook"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "asked for $*"\nexit {code}\n')
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize("path", [*sorted(UNITS.glob("*.service")), CRON], ids=lambda path: path.name)
def test_what_is_run_is_there(path: Path) -> None:
    [(inventory, playbook)] = PLAYBOOK.findall(path.read_text())
    assert (ROOT / inventory).exists()
    assert (ROOT / playbook).exists()


class TestSystemd:
    @pytest.mark.parametrize("fault", ["", "OnCalender=hourly", "OnCalendar=*:0/61"])
    def test_its_own_check_finds_faults_and_none_in_the_example(self, tmp_path: Path, fault: str) -> None:
        checkout = project(tmp_path / "checkout", 0)
        for path in UNITS.iterdir():
            text = path.read_text().replace("/opt/mayfly", str(checkout))
            (tmp_path / path.name).write_text(text.replace("OnCalendar=*:0/15", fault or "OnCalendar=*:0/15"))
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(tmp_path / "mayfly-reap.timer")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = "".join(line for line in done.stderr.splitlines(keepends=True) if "mayfly-reap" in line)
        assert (not said) == (not fault), done.stderr
        assert fault or done.returncode == 0, done.stderr

    def test_the_timer_has_its_service(self) -> None:
        assert {path.name for path in UNITS.iterdir()} == {"mayfly-reap.service", "mayfly-reap.timer"}


def cron_job() -> tuple[list[str], str, str]:
    """The time's five fields, the user and the command of the one job."""
    lines = [line for line in CRON.read_text().splitlines() if line and not line.startswith("#")]
    [job] = [line for line in lines if not re.match(r"[A-Z]+=", line)]
    fields = job.split(maxsplit=6)
    return fields[:5], fields[5], fields[6]


class TestCron:
    def test_runs_every_15_minutes_as_its_own_user(self) -> None:
        assert cron_job()[:2] == (["*/15", "*", "*", "*", "*"], "mayfly")

    def test_has_no_sign_that_ends_a_command(self) -> None:
        """To cron, a percent sign is the end of the line; and so is the end of the file, which must have one."""
        assert "%" not in cron_job()[2]
        assert CRON.read_text().endswith("\n")

    @pytest.mark.parametrize("code", [0, 2])
    def test_says_something_when_a_sweep_failed_and_then_alone(self, tmp_path: Path, code: int) -> None:
        done = self.run(tmp_path, project(tmp_path / "checkout", code))
        assert (done.returncode != 0) == (code != 0)
        assert ("asked for -i inventories/aws/repositories.yml playbooks/reap.yml" in done.stdout) == (code != 0)
        assert done.stderr == ""

    def test_is_quiet_while_another_sweep_is_under_way(self, tmp_path: Path) -> None:
        checkout = project(tmp_path / "checkout", 2)
        holding = ["flock", str(tmp_path / "reap.lock"), "sh", "-c", "echo held; cat"]
        with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            done = self.run(tmp_path, checkout)
            other.communicate("")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @staticmethod
    def run(home: Path, checkout: Path) -> subprocess.CompletedProcess[str]:
        """Run the job's command as cron does, but for the user."""
        return subprocess.run(
            ["/bin/sh", "-c", cron_job()[2].replace("/opt/mayfly", str(checkout))],
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
