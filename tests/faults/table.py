# SPDX-License-Identifier: GPL-3.0-or-later
"""The results as a table: for a terminal, and as Markdown between two marks of a page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from .promises import Line, Result

BEGIN = "<!-- table of one run: begin -->"
END = "<!-- table of one run: end -->"
_HEAD = ("case", "layer that cleaned up", "seconds until clean", "leaks", "outcome")
_PHASES = {
    "matrix": "Every kill and every fault at every moment",
    "random": "Kills at random moments",
    "lease": "The lease alone",
    "reaper": "The reaper alone",
}


def row(result: Result) -> tuple[str, ...]:
    """The cells of one case."""
    seconds = "never" if result.seconds is None else f"{result.seconds:.1f}"
    moment = f" at {result.moment}" if result.phase == "random" else ""
    leaks = f"{len(result.leaks)}: {', '.join(result.leaks)}" if result.leaks else "0"
    outcome = result.outcome if result.good else f"WRONG: {result.error or result.outcome}"
    return f"{result.name}{moment}", result.layer or "-", seconds, leaks, outcome


def line(result: Result) -> str:
    """A case as one line of progress."""
    name, layer, seconds, leaks, outcome = row(result)
    return f"{'ok' if result.good else 'WRONG':5} {name}: {layer}, clean after {seconds} s, leaks {leaks}, {outcome}"


def text(results: Sequence[Result]) -> str:
    """All cases in columns."""
    rows = [_HEAD, *(row(each) for each in results)]
    widths = [max(len(each[column]) for each in rows) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(each, widths, strict=True)).rstrip() for each in rows
    )


def markdown(results: Sequence[Result], lines: Sequence[Line], about: str) -> str:
    """All of a run: what it was, its promises, and a table for each phase."""
    parts = [about, "", "| promise | figure | aim | |", "| --- | --- | --- | --- |"]
    parts += [f"| {each.name} | {each.figure} | {each.aim} | {'met' if each.met else '**missed**'} |" for each in lines]
    for phase, some in groupby(sorted(results, key=lambda each: list(_PHASES).index(each.phase)), lambda r: r.phase):
        parts += ["", f"### {_PHASES[phase]}", "", f"| {' | '.join(_HEAD)} |", f"|{' --- |' * len(_HEAD)}"]
        parts += [f"| {' | '.join(cell.replace('|', '/') for cell in row(each))} |" for each in some]
    return "\n".join([*parts, ""])


def replaced(page: str, content: str) -> str:
    """The page with other content between its marks; without marks, the content alone."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return content
    return f"{before}{BEGIN}\n\n{content}\n{END}{after}"
