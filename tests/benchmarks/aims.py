# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, beside what it should be: one line each."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Aims:
    """The lines of a run, in the order in which they were measured."""

    lines: list[str] = field(default_factory=list)
    missed: int = 0

    def at_least(self, name: str, figure: float, aim: float, unit: str, more: str = "") -> None:
        """A figure that should be no smaller than ``aim``; ``more`` stands behind it."""
        self._judge(name, figure, f"at least {aim:.4g} {unit}", unit, more, met=figure >= aim)

    def below(self, name: str, figure: float, aim: float, unit: str, more: str = "") -> None:
        """A figure that should be smaller than ``aim``."""
        self._judge(name, figure, f"below {aim:.4g} {unit}", unit, more, met=figure < aim)

    def note(self, name: str, text: str) -> None:
        """A figure without an aim, as that of an alternative."""
        self.lines.append(f"{name}: {text}")

    def _judge(self, name: str, figure: float, aim: str, unit: str, more: str, *, met: bool) -> None:
        self.missed += not met
        behind = f", {more}" if more else ""
        self.lines.append(f"{name}: {figure:.4g} {unit}{behind} (aim {aim}): {'met' if met else 'missed'}")
