# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

from tests.faults import table
from tests.faults.promises import Line, Result

GOOD = Result("SIGKILL, boot", "matrix", "keeper", "boot", layer="keeper", seconds=4.26, outcome="Canceled")
RANDOM = Result("random 1", "random", "keeper", "7.5 s", seconds=1.0)
BAD = Result(
    "a | b", "reaper", "reaper alone", "boot", leaks=["volume vol-1"], outcome="nothing", error="it hangs"
)  # fmt: skip


def test_a_row() -> None:
    assert table.row(GOOD) == ("SIGKILL, boot", "keeper", "4.3", "0", "Canceled")
    assert table.row(RANDOM)[0] == "random 1 at 7.5 s"
    assert table.row(BAD) == ("a | b", "-", "never", "1: volume vol-1", "WRONG: it hangs")


def test_a_line_of_progress() -> None:
    assert table.line(GOOD).startswith("ok ")
    assert table.line(BAD).startswith("WRONG")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    head, *rows = table.text([GOOD, BAD]).splitlines()
    assert head.index("layer") == rows[0].index("keeper") == len("SIGKILL, boot") + 2


def test_markdown_has_every_case_in_its_phase() -> None:
    page = table.markdown([BAD, RANDOM, GOOD], [Line("leaks", "1", "0", False)], "Seed 7.")
    assert page.startswith("Seed 7.\n")
    assert "| leaks | 1 | 0 | **missed** |" in page
    places = [page.index(each) for each in ("SIGKILL, boot", "### Kills at random", "random 1 at", "### The reaper")]
    assert places == sorted(places)
    rows = [each for each in page.splitlines() if each.startswith("| a / b")]
    assert rows[0].count("|") == 6


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = f"above\n{table.BEGIN}\nold\n{table.END}\nbelow\n"
    assert table.replaced(page, "new") == f"above\n{table.BEGIN}\n\nnew\n{table.END}\nbelow\n"
    assert table.replaced(table.replaced(page, "new"), "newer").count("new") == 1
    assert table.replaced("no marks", "new") == "new"


def test_the_page_has_its_marks(root: Path) -> None:
    page = (root / "docs/guarantees.md").read_text()
    assert page.count(table.BEGIN) == page.count(table.END) == 1
