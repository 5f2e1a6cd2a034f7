#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the molecule scenario of every role, or of those that are named, on hosts of a lab of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_SCENARIO_SECONDS = 300


def main(names: list[str]) -> int:
    """0 when every scenario came through; a role without one has failed."""
    roles = sorted(path for path in ROOT.glob("roles/*") if path.is_dir() and path.name in (names or [path.name]))
    with tempfile.TemporaryDirectory(prefix="mayfly-molecule-") as folder:
        state = Path(folder) / "state"
        environment = {
            **os.environ,
            "MAYFLY_LAB_STATE": str(state),
            "MAYFLY_RUNS_DIR": str(Path(folder) / "runs"),
            "MAYFLY_ROOT": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        try:
            backup = _playbook("ec2.aws_ec2.yml", "ec2_backup", "--limit", "web-1_*")  # something to restore
            for words in (["up"], ["seed"], _playbook("repositories.yml", "repository_create"), backup):
                subprocess.run(["lab", *words], cwd=ROOT, env=environment, check=True, timeout=600)
            source = json.loads((state / "run/seed.json").read_text())["sources"]["web-1"]["id"]
            environment |= {"MAYFLY_HOST": f"web-1_{source}", "MAYFLY_INVENTORY": "ec2.aws_ec2.yml"}
            failed = [role.name for role in roles if not _test(role, environment)]
        finally:
            subprocess.run(["lab", "down"], cwd=ROOT, env=environment, check=False, timeout=120)
    print(f"molecule: {len(roles) - len(failed)} of {len(roles)} roles passed{': not ' if failed else ''}", *failed)
    return 1 if failed or not roles else 0


def _playbook(inventory: str, name: str, *words: str) -> list[str]:
    path = str(ROOT / f"playbooks/{name}.yml")
    return _exec("ansible-playbook", "-i", str(ROOT / "inventories/lab" / inventory), path, *words)


def _exec(*words: str) -> list[str]:
    return ["exec", "--", *words]


def _test(role: Path, environment: dict[str, str]) -> bool:
    """Whether the role's scenario came through; what it printed is shown when it did not."""
    began = time.monotonic()
    done = subprocess.run(
        ["lab", *_exec("molecule", "--base-config", str(ROOT / ".config/molecule/config.yml"), "test")],
        cwd=role, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=_SCENARIO_SECONDS, check=False,
    )  # fmt: skip
    verdict = "passed" if done.returncode == 0 else "FAILED"
    print(f"molecule {role.name}: {verdict} after {time.monotonic() - began:.1f} s", flush=True)
    if done.returncode != 0:
        print(done.stdout)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
