# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the system's own tools, with a time limit and their words in the error."""

from __future__ import annotations

import subprocess
from pathlib import Path


class CommandFailed(RuntimeError):
    """A tool ended with an error, or not in time; the message holds what it printed."""


def run(*arguments: str | Path, text: str | None = None, wait: float = 60.0) -> str:
    """The output of a command, which is killed after ``wait`` seconds; raises CommandFailed."""
    words = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=wait, check=False)
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"{' '.join(words)}: not done after {wait:g} s") from None
    if done.returncode:
        raise CommandFailed(f"{' '.join(words)}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
