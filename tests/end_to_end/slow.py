# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that are under way while a test does something to them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.labs import ROOT

from .conftest import Site


class Backup:
    """A backup that is slow enough to be hurt while it runs: of both instances, unless ``words`` say otherwise."""

    def __init__(self, site: Site, *words: str, rate: int = 60) -> None:
        """``rate`` is how many requests to EBS are answered in a second."""
        self.site = site
        self._rate = str(rate)
        self._faults: list[str] = []
        self._words = words

    def __enter__(self) -> Backup:
        account = self.site.seed["accounts"]["production"]["id"]
        self._slow = self._add("throttle", "--service", "ebs", "--account", account, "--rate", self._rate)
        words = self.site.lab.words("exec", "--", "ansible-playbook", "-i", "inventories/lab/ec2.aws_ec2.yml")
        settings = "mayfly_transfer_retry_timeout=20 mayfly_full_backup=true"
        self._playbook = subprocess.Popen(
            [*words, "-e", settings, *self._words, "playbooks/ec2_backup.yml"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=self.site.lab.variables(),
        )  # fmt: skip
        return self

    def __exit__(self, *_error: object) -> None:
        for each in self._faults:
            self._fault("clear", each)
        self._playbook.communicate(timeout=300)

    def full_speed(self) -> None:
        """Nothing is slow any more."""
        self._fault("clear", self._slow)
        self._faults.remove(self._slow)

    def take_s3_away(self, resource: str) -> None:
        """No object of the resource can be written."""
        self._add("throttle", "--service", "s3", "--call", "PutObject", "--resource", f"*{resource}*")

    def _add(self, *words: str) -> str:
        """The id of a new fault."""
        identity = self._fault("add", *words)
        self._faults.append(identity)
        return identity

    def _fault(self, *words: str) -> str:
        """What `lab fault WORDS` prints."""
        done = self.site.lab.run("fault", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def worker(self, host: str) -> str:
        """Id of the host's worker, once it has transferred something."""
        ends = time.monotonic() + 240
        while time.monotonic() < ends:
            entry = self._living().get(host, {})
            if any(volume["blocks_done"] > 0 for volume in entry.get("volumes", {}).values()):
                identity: str = entry["worker"]["instance_id"]
                return identity
            assert self._playbook.poll() is None, self._playbook.communicate()[0][-4000:]
            time.sleep(0.2)
        raise AssertionError(f"{host} has not begun to transfer")

    def _living(self) -> dict[str, Any]:
        for path in self.site.lab.runs.glob("*/report.json"):
            report: dict[str, Any] = json.loads(path.read_text())
            if report["ended"] is None:
                return report["resources"]  # type: ignore[no-any-return]
        return {}

    def on_worker(self, instance: str, command: str) -> str:
        """What a command prints as root on a worker, through the keeper's own session."""
        folders = [Path(name) for name in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm") if name]
        path = next(found for folder in folders for found in folder.glob(f"mayfly-*/{instance}.ssh"))
        return self.site.lab.exec(
            "ssh", "-F", "none", "-S", str(path), "-o", "ControlMaster=no", "worker", "sudo", "-n", command
        )

    def ended(self) -> tuple[int, str]:
        """Exit code of the playbook, and what it said."""
        said, _nothing = self._playbook.communicate(timeout=400)
        return self._playbook.returncode, said
