# SPDX-License-Identifier: GPL-3.0-or-later
"""The results as docs show them: ``python -m tests.benchmarks.repository.report RESULTS PLOT``.

Prints the table of docs/performance.md, and writes the plot.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.repository.cases import OURS, Results
from tests.benchmarks.repository.others import OTHERS

_NAMES = (OURS, *(each.title for each in OTHERS))
_COLOURS = ("#0b6e4f", "#c4572b", "#8a8d91", "#3b6ea8")


def table(results: Results) -> str:
    """In Markdown, a line for each case and contestant."""
    lines = [
        "| case | | wall, s | CPU s | CPU s/GiB | peak memory, MiB | stored, MiB | requests |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    gib = results.sizes.image / 2**30
    for case, found in results.cases.items():
        for number, (name, each) in enumerate(found.items()):
            per_gib = f"{each.cpu_seconds / gib:.2f}" if _of_the_image(case) else ""
            figures = f"{each.seconds:.2f} | {each.cpu_seconds:.2f} | {per_gib} | {each.peak_mib:.0f}"
            stored, shown = f"{each.stored / 2**20:.1f} | {each.requests or ''}", name.replace("|", "\\|")
            lines.append(f"| {case if number == 0 else ''} | {shown} | {figures} | {stored} |")
    return "\n".join(lines)


def plot(results: Results, path: Path) -> None:
    """Processor seconds and wall seconds of each case, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mayfly"
    from matplotlib import pyplot

    cases = [case for case in results.cases if _of_the_image(case)]
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    for axis, field, title in zip(axes, ("cpu_seconds", "seconds"), ("CPU s", "wall s"), strict=True):
        for number, (name, colour) in enumerate(zip(_NAMES, _COLOURS, strict=True)):
            places = [at for at, case in enumerate(cases) if name in results.cases[case]]
            values = [getattr(results.cases[cases[at]][name], field) for at in places]
            bars = axis.barh([at + 0.2 * number for at in places], values, 0.19, color=colour, label=name)
            axis.bar_label(bars, fmt="%.2g", padding=2, fontsize=7)
        axis.set_yticks([at + 0.3 for at in range(len(cases))], cases)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        axis.set_xlabel(f"{title}, image of {results.sizes.image / 2**30:.1f} GiB (logarithmic)")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    axes[1].legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def _of_the_image(case: str) -> bool:
    """Whether all of the image is what it is about."""
    return not case.startswith(("retention", "listing", "restore of one"))


if __name__ == "__main__":
    read = Results.read(Path(sys.argv[1]))
    print(table(read))
    plot(read, Path(sys.argv[2]))
