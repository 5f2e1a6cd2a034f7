# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.invariants [--runs N] [--steps N]``: the state machine of the repository, for long."""

from __future__ import annotations

import argparse
import sys
import traceback

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.benchmarks.aims import Aims
from tests.unit.agent.retention.machine import DONE, Repository

# So many runs show each pair of steps in each order (twelve kinds of them) some tens of times.
_RUNS = 500
_STEPS = 40


def main() -> int:
    """0 when nothing was violated; the steps that violate it are printed."""
    parser = argparse.ArgumentParser(prog="invariants", description=__doc__)
    parser.add_argument("--runs", type=int, default=_RUNS)
    parser.add_argument("--steps", type=int, default=_STEPS)
    options = parser.parse_args()
    long = settings(
        max_examples=options.runs,
        stateful_step_count=options.steps,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    violated = 0
    try:
        run_state_machine_as_test(Repository, settings=long)
    except Exception:
        traceback.print_exc()
        violated = 1
    aims = Aims()
    more = ", ".join(f"{number} {name}" for name, number in DONE.items())
    aims.below("invariants of the repository violated", violated, 1, "times", more)
    aims.at_least("runs of the repository's state machine", DONE["runs"], options.runs, "runs")
    print("\n".join(aims.lines))
    return int(aims.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
