# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that are measured, ours and others' alike, each in a process of its own."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.repository import agent, direct
from tests.benchmarks.repository.machine import environment, free_ports, with_us
from tests.benchmarks.repository.store import Store
from tests.labs import ROOT

_LIMIT = 900.0


@dataclass(frozen=True)
class Figures:
    """What a command has cost: itself and its children, and what it has stored and asked of the store."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    stored: int = 0
    requests: int = 0


@dataclass(frozen=True)
class Ran:
    """Figures, and what the command has printed last before them."""

    figures: Figures
    said: str


def measured(command: list[str], store: Store, bucket: str, variables: dict[str, str] | None = None) -> Ran:
    """Run a command; raises RuntimeError when it fails."""
    asked = store.requests(bucket)
    wrapped = [sys.executable, "-m", "tests.benchmarks.consumption", str(_LIMIT), *command]
    done = subprocess.run(
        wrapped,
        capture_output=True,
        text=True,
        timeout=_LIMIT + 60,
        cwd=ROOT,
        env={**environment(), **(variables or {})},
        check=False,
    )
    lines = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if done.returncode == 0 else {"code": done.returncode}
    if found["code"]:
        raise RuntimeError(
            f"{command[:4]} has failed with {found['code']}: {done.stdout[-1000:]} {done.stderr[-3000:]}"
        )
    figures = Figures(
        found["seconds"], found["cpu_seconds"], found["peak_mib"], requests=store.requests(bucket) - asked
    )
    return Ran(figures, lines[-2] if len(lines) > 1 else "")


class Agent:
    """The transfer agent with a repository of its own, and the server of the EBS direct APIs beside it."""

    def __init__(self, store: Store, ebs_url: str, snapshots: Path, bucket: str) -> None:
        self.snapshots = snapshots
        self._store = store
        self._ebs_url = ebs_url
        self.bucket = bucket
        store.client().create_bucket(Bucket=bucket)
        self.run("create")

    def run(self, operation: str, **fields: Any) -> tuple[Figures, dict[str, Any]]:
        """(what an operation has cost, what it says of itself); ``fields`` are a Job's."""
        run = f"20261124T000000Z-{secrets.token_hex(3)}"
        job = agent.Job(self._store.url, self._ebs_url, self.bucket, run, **fields)
        command = [sys.executable, "-m", "tests.benchmarks.repository.agent", operation, json.dumps(asdict(job))]
        ran = measured(command, self._store, self.bucket)
        return ran.figures, json.loads(ran.said)

    def stored(self) -> int:
        """Bytes in the repository."""
        return self._store.stored(self.bucket)

    def server_cpu_seconds(self) -> float:
        """Of the server so far."""
        with urllib.request.urlopen(f"{self._ebs_url}/cpu", timeout=10) as answer:  # noqa: S310 - loopback
            return float(json.load(answer)["cpu_seconds"])


@contextmanager
def ebs_direct(snapshots: Path) -> Iterator[str]:
    """The server's URL, until the block is left."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", direct.__name__, str(snapshots), str(port)]
    with subprocess.Popen(with_us(command), cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the server of the EBS direct APIs does not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)
