# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that evaluates policies, for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mayfly_lab.iam.engine import Engine
from mayfly_lab.iam.switch import Switch


@pytest.fixture(scope="session")
def switched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a switch that is on."""
    folder = tmp_path_factory.mktemp("iam")
    switch = Switch(folder, folder / "log")
    switch.turn(True)
    yield folder
    switch.turn(False)


@pytest.fixture(scope="session")
def engine(switched: Path) -> Engine:
    return Engine(switched / "engine.sock")
