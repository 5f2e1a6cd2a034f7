# SPDX-License-Identifier: GPL-3.0-or-later
"""What the calls of a run share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report

from tests.unit.plugins.keeper.fakes import ACCOUNT, HOST, REGION

PLACE = (ACCOUNT, REGION)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has done nothing yet."""
    return Run("the-run", tmp_path, tmp_path, Report(tmp_path, "the-run"))


@pytest.mark.parametrize(
    ("place", "status", "may"),
    [
        (None, {"state": "running"}, False),
        (PLACE, {}, True),
        (PLACE, {"state": "running"}, True),
        (PLACE, {"state": "failed"}, False),
        (PLACE, {"state": "succeeded"}, False),
    ],
    ids=["a backup", "not heard of yet", "under way", "failed", "done"],
)
def test_an_agent_may_make_snapshots_until_it_was_seen_to_end(
    run: Run, place: Any, status: dict[str, Any], may: bool
) -> None:
    run.host("another")
    state = run.host(HOST)
    state.restore_place, state.status = place, status
    assert run.may_still_make() is may


def test_a_new_keeper_does_not_know_what_agents_do(run: Run) -> None:
    assert not run.may_still_make()
    run.replaced = True
    assert run.may_still_make()
