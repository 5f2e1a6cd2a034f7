# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of the repository in small: it measures every case, and all that is restored is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.aims import Aims
from tests.benchmarks.repository import cases, report
from tests.benchmarks.repository.others import Borg, Restic, Stream, missing
from tests.benchmarks.repository.verdicts import judge

pytestmark = pytest.mark.timeout(600)


def test_every_case_is_measured(tmp_path: Path) -> None:
    """Whatever the time: nothing here says how long anything took."""
    assert not missing()
    results = cases.run(tmp_path, cases.SMALL)
    names = {cases.OURS, Restic.title, Borg.title, Stream.title}
    assert results.cases["first full"].keys() == results.cases["restore of everything"].keys() == names
    full, scattered = (results.cases[case][cases.OURS] for case in ("first full", "1 % changed, scattered"))
    assert 0 < scattered.stored < full.stored / 2
    assert full.requests > 0
    results.write(tmp_path / "results.json")
    again = cases.Results.read(tmp_path / "results.json")
    assert again == results
    judge(again, aims := Aims())
    assert len(aims.lines) == 7 + len(results.cases)
    report.plot(again, tmp_path / "plot.svg")
    assert "retention of 4 points down to 2" in report.table(again)
