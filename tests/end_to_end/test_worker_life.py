# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of the control node's speed, in small: that it measures what it says, not how fast anything is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.aims import Aims
from tests.benchmarks.worker_life import worker_life

from .conftest import Site

pytestmark = pytest.mark.timeout(600)


def test_one_worker_lives_and_ends_in_both_ways(site: Site, tmp_path: Path) -> None:
    aims = Aims()
    ((ours, plain),) = worker_life(site.lab, tmp_path, aims, (1,))
    for life in (ours, plain):
        assert (life.calls["ec2 RunInstances"], life.calls["ec2 TerminateInstances"]) == (1, 1)
        assert 0 < life.cpu_seconds < 2 * life.seconds
    assert ours.calls["sts AssumeRole"] == 1
    # The keeper counts as well, which the playbook leaves behind.
    assert 0.2 < ours.behind_cpu_seconds < ours.cpu_seconds
    assert [line.partition(":")[0] for line in aims.lines] == [
        "worker_life of 1",
        "worker_life of 1 by amazon.aws",
        "worker_life of 1, the boots alone",
        "worker_life of 1, CPU",
        "worker_life of 1, wall",
        "worker_life of 1, calls",
    ]
    assert site.workers() == []
    assert site.temporary() == []
