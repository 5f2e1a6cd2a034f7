# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.invariants [--seed N] [--steps N] [--table FILE]``: the repository's state machine, for long."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.invariants.machine import Repository
from tests.invariants.mutations import MUTATIONS, apply
from tests.invariants.promises import BROKEN, DONE, OTHER, PROMISES

_STEPS = 12_000
_STEPS_A_RUN = 40
_RUNS_AT_ONCE = 10
STEPS = "steps of the state machine"
Kept = tuple[str, int, str, bool]


def main() -> int:
    """0 when every promise was kept; the steps that broke one are printed."""
    parser = argparse.ArgumentParser(prog="invariants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=_STEPS, help="so many at least")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--table", type=Path, help="Markdown for docs/repository-format.md")
    parser.add_argument("--break", dest="broken", choices=MUTATIONS, help="break the agent first, which must be found")
    options = parser.parse_args()
    if options.broken:
        apply(options.broken)
    began = time.monotonic()
    done, broken = campaign(options.seed, options.steps, options.processes)
    minutes = (time.monotonic() - began) / 60
    kept = [(name, broken[name], "0", not broken[name]) for name in PROMISES]
    kept.append((STEPS, done["steps"], f"at least {options.steps}", done["steps"] >= options.steps))
    for name, figure, aim, met in kept:
        print(f"{name}: {figure} (aim {aim}): {'met' if met else 'missed'}")
    if options.table:
        options.table.parent.mkdir(parents=True, exist_ok=True)
        options.table.write_text(table(kept, done, f"Seed {options.seed}, {minutes:.0f} minutes."))
    return int(not all(met for *_, met in kept))


def campaign(number: int, steps: int, processes: int) -> tuple[Counter[str], Counter[str]]:
    """What was done in so many steps, and how often each promise was broken; ends when one was."""
    done: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    began = time.monotonic()
    seeds = range(number * 1_000_000, number * 1_000_000 + steps)  # each gives more than one step
    with TemporaryDirectory(prefix="invariants-") as folder:
        tempfile.tempdir = folder  # what is under way at the end is ended as well
        # Forked: what was broken on purpose is so there too.
        with get_context("fork").Pool(processes) as pool:
            for more, worse in pool.imap_unordered(batch, seeds):
                done += more
                broken += worse
                print(f"{done['steps']} steps, {time.monotonic() - began:.0f} s", flush=True)
                if done["steps"] >= steps or broken:
                    break
    return done, broken


def batch(number: int, runs: int = _RUNS_AT_ONCE, steps: int = _STEPS_A_RUN) -> tuple[Counter[str], Counter[str]]:
    """Some runs, as drawn from a seed: what they did, and what they broke, of which the steps are printed."""
    DONE.clear()
    BROKEN.clear()
    wanted = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(type("Seeded", (Repository,), {})), settings=wanted)
    except Exception:
        traceback.print_exc()
        if not BROKEN:
            BROKEN[OTHER] += 1
    return Counter(DONE), Counter(BROKEN)


def table(kept: list[Kept], done: Counter[str], about: str) -> str:
    """Of a campaign what was kept, and what was done."""
    lines = [about, "", "| promise | figure | aim | |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {figure} | {aim} | {'met' if met else 'missed'} |" for name, figure, aim, met in kept]
    lines += ["", "| what was done | times |", "| --- | --- |"]
    lines += [f"| {name} | {times} |" for name, times in sorted(done.items()) if name != "steps"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
