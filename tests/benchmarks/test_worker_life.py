# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: lives of workers that do nothing. A test in tests/end_to_end runs the same for one worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.aims import Aims
from tests.benchmarks.worker_life import worker_life
from tests.labs import Lab

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]


def test_worker_life(seeded: Lab, aims: Aims, tmp_path: Path) -> None:
    worker_life(seeded, tmp_path, Aims(), (1,))  # Python compiles what it imports, once
    worker_life(seeded, tmp_path, aims, (1, 5, 20))
