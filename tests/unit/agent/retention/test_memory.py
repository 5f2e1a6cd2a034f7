# SPDX-License-Identifier: GPL-3.0-or-later
"""What marking keeps of each pack and each node, which bounds what a worker can sweep."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable

from mayfly_agent.marking import Marked
from mayfly_agent.repository.packs import Location

from tests.unit.agent.lines import KEY
from tests.unit.agent.memory import MemoryObjects

COUNT = 50_000
# As many as blocks of 512 KiB that compress to half of it.
FRAMES = (0, 20, 40, 63)


def bytes_each(add: Callable[[Marked], None]) -> float:
    marked = Marked(MemoryObjects(), KEY)
    tracemalloc.start()
    try:
        for _ in range(COUNT):
            add(marked)
        return tracemalloc.get_traced_memory()[0] / COUNT
    finally:
        tracemalloc.stop()


def use(marked: Marked) -> None:
    pack = os.urandom(16)
    for frame in FRAMES:
        marked._use(Location(pack, b"", frame, 0, 250_000))


def test_a_pack_takes_about_210_bytes() -> None:
    """Measured: see the module's own words."""
    assert bytes_each(use) < 230


def test_a_node_takes_about_110_bytes() -> None:
    assert bytes_each(lambda marked: marked._nodes.add(os.urandom(32))) < 130
