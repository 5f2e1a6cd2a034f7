# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: figures of this machine, beside their aims. A test in tests/integration runs the same in small."""

from __future__ import annotations

import pytest

from tests.benchmarks import speeds
from tests.benchmarks.aims import Aims
from tests.benchmarks.data import Source
from tests.benchmarks.placements import placements
from tests.labs import Lab

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
_REPEATS = 3


def test_ebs_direct(lab: Lab, source: Source, aims: Aims) -> None:
    speeds.ebs_direct(lab, source, aims, _REPEATS)


def test_agent_backup(lab: Lab, source: Source, aims: Aims) -> None:
    speeds.agent_backup(lab, source, aims, _REPEATS)


def test_placements(aims: Aims) -> None:
    placements(aims, 10_000)
