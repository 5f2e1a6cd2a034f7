# SPDX-License-Identifier: GPL-3.0-or-later
"""What the repository promises, and how often it was broken."""

from __future__ import annotations

from collections import Counter

RESTORES = "listed restore points that do not restore bit for bit"
LIVE = "objects deleted that a manifest refers to"
DEAD = "dead objects that outlive two sweeps further apart than G"
COMMITTED = "restore points committed without all that they refer to"
LOCKED = "locked restore points that outlast the locks of what they stand on"
LATE = "requests that act later than deletion reckons with"
LOST = "restore points gone that nobody chose, or the newest good one"
READ = "restores beside sweeps that give other bytes"
SPREAD = "damage that a health check misses, or that a backup after it takes over"
OTHER = "errors that nothing explains"
PROMISES = (RESTORES, LIVE, DEAD, COMMITTED, LOCKED, LATE, LOST, READ, SPREAD, OTHER)

#: What all machines of this process have done, and how often each promise was broken.
DONE: Counter[str] = Counter()
BROKEN: Counter[str] = Counter()


class Broken(AssertionError):
    """A promise was."""


def check(promise: str, kept: bool, what: str) -> None:
    """Raises Broken when it was not kept. By any thread."""
    if not kept:
        BROKEN[promise] += 1
        raise Broken(f"{promise}: {what}")


def did(what: str) -> None:
    """A step of a machine."""
    DONE["steps"] += 1
    DONE[what] += 1
