#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run parts of the test suite one after another: all of them, also after one has failed, with the time of each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Names both as the collection and as plain packages; tests are not typed.
TYPED = ["-p", "ansible_collections.mayfly.workers.plugins", "-p", "mayfly_lab", "-p", "mayfly_agent", "-p", "mayfly"]
_PROGRAMS = ("check_docs", "make_permissions", "make_release", "make_surveys", "run_molecule", "run_tests")
TOOLS = [f"tools/{name}.py" for name in _PROGRAMS]
PYTEST = [sys.executable, "-m", "pytest", "-q"]
# Much of a test is waiting. Each file stays in one process, for files share a lab.
TWO_AT_ONCE = [*PYTEST, "--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder"]
# A time limit for each command, in seconds: a hang is a failure, not a wait for ever.
PARTS: dict[str, list[tuple[list[str], int]]] = {
    "lint": [
        (["ruff", "check", "--quiet", "."], 60),
        (["ruff", "format", "--check", "--quiet", "."], 60),
        (["mypy", *TYPED], 300),
        (["mypy", "runner.py", "hatch_build.py", "demo/demo.py", *TOOLS], 120),
        (["yamllint", "--strict", "."], 120),
        (["ansible-lint", "-q"], 600),
        (["antsibull-changelog", "lint"], 60),
        ([sys.executable, "tools/check_docs.py"], 300),
        ([sys.executable, "tools/make_permissions.py", "--check"], 60),
        (["cfn-lint", "iam/mayfly.yaml"], 120),
    ],
    "unit": [([*TWO_AT_ONCE, "tests/unit"], 1200)],
    "integration": [([*TWO_AT_ONCE, "tests/integration"], 1500)],
    "molecule": [([sys.executable, "tools/run_molecule.py"], 900)],
    "end_to_end": [([*TWO_AT_ONCE, "tests/end_to_end"], 1500)],
    "invariants": [([sys.executable, "-m", "tests.invariants", "--table", "build/invariants.md"], 7200)],
    "campaign": [([sys.executable, "-m", "tests.faults", "--fast", "--seed", "1", "--labs", "2"], 400)],
    "faults": [([sys.executable, "-m", "tests.faults", "--table", "build/faults.md"], 7200)],
    "newest": [([*PYTEST, "tests/newest"], 900)],
    "bench": [([*PYTEST, "-s", "-m", "bench", "tests/benchmarks"], 4500)],
}


def main(names: list[str]) -> int:
    """Run the named parts; 0 when every command of them came through."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ANSIBLE_NOCOLOR": "1", "PY_COLORS": "0"}
    # Tests start Python some thousand times, which takes twice as long where nothing may be kept compiled.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    lines: list[str] = []
    failed = False
    # A shell that starts this in the background ignores SIGINT, and whatever a test interrupts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in names:
        print(f"=== {name}", flush=True)
        for command, limit in PARTS[name]:
            began, worked = time.monotonic(), _worked()
            verdict = _run(command, limit, environment)
            seconds = time.monotonic() - began
            busy = 100 * (_worked() - worked) / seconds / (os.cpu_count() or 1)
            failed = failed or verdict != "passed"
            shown = " ".join(Path(word).name if word == sys.executable else word for word in command[:5])
            lines.append(f"{name:12} {seconds:7.1f} s {busy:3.0f} % busy  {verdict:10} {shown}")
            if len(PARTS[name]) > 1:
                print(lines[-1], flush=True)
    print("\n".join(["=== times", *lines]))
    print(f"=== {'FAILED' if failed else 'all parts passed'}")
    return int(failed)


def _worked() -> float:
    """Seconds that the machine's processors have worked, for whomever: hosts of a lab are no children of its tests."""
    user, nice, system = Path("/proc/stat").read_text().split(maxsplit=4)[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def _run(command: list[str], limit: int, environment: dict[str, str]) -> str:
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        return "TIMED OUT"
    return "passed" if code == 0 else "FAILED"


if __name__ == "__main__":
    unknown = [name for name in sys.argv[1:] if name not in PARTS]
    if unknown or len(sys.argv) < 2:
        sys.exit(f"usage: run-tests {'|'.join(PARTS)} …")
    sys.exit(main(sys.argv[1:]))
