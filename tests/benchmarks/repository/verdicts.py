# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, beside what it should be."""

from __future__ import annotations

from tests.benchmarks.aims import Aims
from tests.benchmarks.repository.cases import OURS, Results
from tests.benchmarks.repository.others import Restic

_INCREMENTAL_AIM = 20.0
_UNCHANGED_AIM_SECONDS = 2.0
_RESTORE_AIM = 1.5
_MEMORY_AIM_MIB = 256.0
# What a block more may take of memory and a volume of 16 TiB still stay below the aim.
_BLOCKS_OF_16_TIB = 16384 * 2048


def judge(results: Results, aims: Aims) -> None:
    """A line for each aim, and one for each case of which there is none."""
    gib = results.sizes.image / 2**30
    full = {name: gib / each.cpu_seconds for name, each in results.cases["first full"].items()}
    fastest = max((name for name in full if name != OURS), key=lambda name: full[name])
    text = ", ".join(f"{name} {speed:.3f}" for name, speed in full.items())
    aims.at_least("repository first full", full[OURS], full[fastest], "GiB per CPU s", f"{fastest} is the next: {text}")
    for case in ("1 % changed in clusters", "1 % changed, scattered"):
        _beside_restic(results, aims, case, _INCREMENTAL_AIM)
    _beside_restic(results, aims, "restore of everything", _RESTORE_AIM)
    per_tib = results.facts["unchanged: s"] * 1024 / results.sizes.unchanged_gib
    aims.below("repository no change", per_tib, _UNCHANGED_AIM_SECONDS, "s per TiB", "without the agent's start")
    ours = {case: found[OURS].peak_mib for case, found in results.cases.items() if OURS in found}
    largest = max(ours, key=lambda case: ours[case])
    aims.below("repository memory", ours[largest], _MEMORY_AIM_MIB, "MiB", f"the most was for: {largest}")
    few, many = results.facts["simulated: few: MiB"], results.facts["simulated: MiB"]
    blocks = results.sizes.simulated_blocks
    grown = many + max(0.0, many - few) * (_BLOCKS_OF_16_TIB - blocks) / (blocks * 3 / 4)
    more = f"{many:.0f} MiB after {blocks} blocks, {few:.0f} MiB after a quarter of them, and so on to 16 TiB"
    aims.below("repository memory, a volume of 16 TiB", grown, _MEMORY_AIM_MIB, "MiB", more)
    for case, found in results.cases.items():
        told = (f"{name} {each.seconds:.2f} s, {each.cpu_seconds:.2f} CPU s" for name, each in found.items())
        aims.note(f"repository {case}", "; ".join(told))


def _beside_restic(results: Results, aims: Aims, case: str, aim: float) -> None:
    ours, theirs = results.cases[case][OURS], results.cases[case][Restic.title]
    more = (
        f"{ours.seconds:.2f} s and {theirs.seconds:.2f} s, {theirs.cpu_seconds / ours.cpu_seconds:.1f} times by CPU s"
    )
    aims.at_least(f"repository {case}", theirs.seconds / ours.seconds, aim, "times restic's speed", more)
