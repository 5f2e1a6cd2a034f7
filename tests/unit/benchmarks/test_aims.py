# SPDX-License-Identifier: GPL-3.0-or-later
"""How figures are shown, and what a missed aim does to a run of `make bench`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.aims import Aims

MEASURES = """
import pytest

@pytest.mark.bench
def test_it(aims):
    aims.at_least("speed", {figure}, 600, "blocks/s", "best of 3")
    aims.note("another", "12 blocks/s")
    assert {holds}
"""


@pytest.mark.parametrize(("figure", "verdict"), [(600.0, "met"), (599.9, "missed"), (1234.5, "met")])
def test_a_figure_that_should_be_large(figure: float, verdict: str) -> None:
    aims = Aims()
    aims.at_least("ebs_direct", figure, 600, "blocks/s")
    assert aims.lines == [f"ebs_direct: {figure:.4g} blocks/s (aim at least 600 blocks/s): {verdict}"]
    assert aims.missed == (verdict == "missed")


@pytest.mark.parametrize(("figure", "verdict"), [(255.5, "met"), (256.0, "missed")])
def test_a_figure_that_should_be_small(figure: float, verdict: str) -> None:
    aims = Aims()
    aims.below("memory", figure, 256, "MiB", "of one process")
    assert aims.lines == [f"memory: {figure:.4g} MiB, of one process (aim below 256 MiB): {verdict}"]
    assert aims.missed == (verdict == "missed")


def run(folder: Path, root: Path, source: str, *words: str) -> subprocess.CompletedProcess[str]:
    """pytest on a folder of its own, with the hooks of the benchmarks."""
    (folder / "conftest.py").write_text("from tests.benchmarks.conftest import *\n")
    (folder / "test_it.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(root / "pyproject.toml")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command += [*words, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=root, env=environment)


@pytest.mark.parametrize(
    ("figure", "holds", "code"), [(700, True, 0), (500, True, 1), (700, False, 1)], ids=["met", "missed", "failed"]
)
def test_the_figures_come_last_and_a_missed_aim_fails_the_run(
    tmp_path: Path, root: Path, figure: int, holds: bool, code: int
) -> None:
    done = run(tmp_path, root, MEASURES.format(figure=figure, holds=holds), "-s", "-m", "bench")
    assert done.returncode == code, done.stdout + done.stderr
    verdict = "met" if figure == 700 else "missed"
    line = f"speed: {figure} blocks/s, best of 3 (aim at least 600 blocks/s): {verdict}"
    assert done.stdout.splitlines()[-3:] == ["=== figures", line, "another: 12 blocks/s"]


def test_nothing_is_measured_unless_it_is_asked_for(tmp_path: Path, root: Path) -> None:
    done = run(tmp_path, root, MEASURES.format(figure=1, holds=False))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout
    assert "figures" not in done.stdout
