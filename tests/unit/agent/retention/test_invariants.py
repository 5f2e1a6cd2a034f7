# SPDX-License-Identifier: GPL-3.0-or-later
"""The state machine of the repository, for some seconds; ``make invariants`` runs it for as long as one likes."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.invariants.machine import Repository


def test_backups_sweeps_kills_and_pauses_in_any_order() -> None:
    few = settings(
        max_examples=40,
        stateful_step_count=30,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Repository, settings=few)
