# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: the repository beside restic, borg and a plain stream. A test in tests/integration runs it in small."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.aims import Aims
from tests.benchmarks.repository import cases, report
from tests.benchmarks.repository.verdicts import judge
from tests.labs import ROOT

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


def test_repository(aims: Aims) -> None:
    """MAYFLY_BENCH_MIB is the size of the image; MAYFLY_BENCH_DIR has eight times that much space."""
    size = int(os.environ.get("MAYFLY_BENCH_MIB", cases.FULL.image >> 20)) << 20
    with tempfile.TemporaryDirectory(dir=os.environ.get("MAYFLY_BENCH_DIR"), prefix="mayfly-bench-") as folder:
        results = cases.run(Path(folder), replace(cases.FULL, image=size))
    results.write(ROOT / "build/repository.json")
    print(report.table(results))
    report.plot(results, ROOT / "build/repository.svg")
    judge(results, aims)
