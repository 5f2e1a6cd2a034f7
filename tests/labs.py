# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs of their own for tests; the machine image is shared through the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema

from tests.aws_cli import AwsCli

ROOT = Path(__file__).resolve().parent.parent
Done = subprocess.CompletedProcess[str]
_SCHEMA = json.loads((ROOT / "docs/run-report.schema.json").read_text())
_CLIS: dict[Path, AwsCli] = {}


@dataclass(frozen=True)
class Lab:
    """The command `lab` for one state directory."""

    state: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        """Where runs of playbooks leave their reports."""
        return self.state / "runs"

    def words(self, *words: str) -> list[str]:
        """The command line of `lab WORDS`."""
        return [sys.executable, "-m", "mayfly_lab.cli", *words]

    def variables(self) -> dict[str, str]:
        """The environment of every command."""
        own = {"MAYFLY_LAB_STATE": str(self.state), "MAYFLY_RUNS_DIR": str(self.runs), "ANSIBLE_NOCOLOR": "1"}
        return {**os.environ, **own, **self.environment}

    def run(self, *words: str, wait: float = 120, text: str | None = None, cwd: Path = ROOT) -> Done:
        """Run `lab WORDS`; never raises for an exit code."""
        return subprocess.run(
            self.words(*words),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=wait,
            check=False,
            cwd=cwd,
            env=self.variables(),
        )

    def exec(self, *words: str, wait: float = 120, text: str | None = None) -> str:
        """What a command prints in the lab; fails the test when its exit code is not 0."""
        done = self.run("exec", "--", *words, wait=wait, text=text)
        assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout[-3000:]} {done.stderr[-4000:]}"
        return done.stdout

    def aws(self, *words: str, profile: str = "backup", region: str = "us-east-1") -> Any:
        """The answer of `aws WORDS`."""
        code, text, errors = self._cli().run(["--profile", profile, "--region", region, "--output", "json", *words])
        assert code == 0, f"aws {words}: {code}: {errors[-4000:]}"
        return json.loads(text) if text.strip() else None

    def _cli(self) -> AwsCli:
        found = _CLIS.get(self.state)
        if found is None or not found.alive:
            words = self.words("exec", "--", sys.executable, "-m", "tests.aws_cli")
            found = _CLIS[self.state] = AwsCli(words, self.variables(), str(ROOT))
        return found

    def playbook(self, name: str, *words: str, inventory: str = "", wait: float = 300) -> Done:
        """Run a playbook of the project; the inventory is the one that fits it, unless another is given."""
        fitting = {
            "archive": "repositories.yml",
            "archive_sets": "repositories.yml",
            "ec2_restore": "restore_points.yml",
            "health_check": "repositories.yml",
            "repository_create": "repositories.yml",
            "repository_copy": "repositories.yml",
            "repository_keys": "repositories.yml",
            "retention": "repositories.yml",
            "volume_restore": "restore_points.yml",
            "worker_check": "worker_networks.yml",
            "worker_image": "worker_images.yml",
        }
        inventory = inventory or f"inventories/lab/{fitting.get(name, 'ec2.aws_ec2.yml')}"
        command = ["ansible-playbook", "-i", inventory, f"playbooks/{name}.yml", *words]
        return self.run("exec", "--", *command, wait=wait)

    def report(self, operation: str) -> dict[str, Any]:
        """The newest report of an operation, once its keeper has ended."""
        ends = time.monotonic() + 60
        while (report := self._report(operation))["ended"] is None:
            assert time.monotonic() < ends, f"the keeper of {report['run']} has not ended"
            time.sleep(0.2)
        jsonschema.validate(report, _SCHEMA, format_checker=jsonschema.FormatChecker())
        return report

    def _report(self, operation: str) -> dict[str, Any]:
        for path in sorted(self.runs.glob("*/report.json"), key=lambda path: path.stat().st_mtime, reverse=True):
            report: dict[str, Any] = json.loads(path.read_text())
            if report["operation"] == operation:
                return report
        raise AssertionError(f"there is no report of {operation}")

    def digests(self, *identities: str) -> dict[str, str]:
        """The digest of each volume or snapshot, from the lab's files alone."""
        done = self.run("digest", *identities)
        assert done.returncode == 0, done.stderr
        return dict(line.split() for line in done.stdout.splitlines())
