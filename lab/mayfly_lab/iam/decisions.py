# SPDX-License-Identifier: GPL-3.0-or-later
"""Every decision, one JSON object a line, in files of bounded size; denials in files of their own, so they stay."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mayfly_lab import locks

_MOST_BYTES = 4 << 20  # of a file; the one before it is kept as well
_NAMES = {True: "denied.jsonl", False: "decisions.jsonl"}


class Decisions:
    """The decisions of all services of a lab, in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, entries: list[dict[str, Any]]) -> None:
        """Write decisions down, each with its time; several processes may do so at once."""
        now = round(time.time(), 3)
        lines = [json.dumps({"time": now, **entry}, default=str) + "\n" for entry in entries]
        denied = [line for line, entry in zip(lines, entries, strict=True) if not entry["allowed"]]
        for name, chosen in ((_NAMES[False], lines), (_NAMES[True], denied)):
            if chosen:
                self._append(self._folder / name, "".join(chosen).encode())

    def recent(self, most: int, *, denied: bool) -> list[dict[str, Any]]:
        """The newest decisions, the newest last; all of them, or the denials alone."""
        path = self._folder / _NAMES[denied]
        found = [json.loads(line) for each in (_older(path), path) for line in _lines(each)]
        return found[-most:]

    def _append(self, path: Path, lines: bytes) -> None:
        with path.open("ab", buffering=0) as stream:  # one write, which the kernel puts at the end whoever else writes
            stream.write(lines)
            size = stream.tell()
        if size > _MOST_BYTES:
            with locks.held(self._folder / "lock"):
                if path.exists() and path.stat().st_size > _MOST_BYTES:
                    path.replace(_older(path))


def _older(path: Path) -> Path:
    return path.with_suffix(".1.jsonl")


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open() as stream:
            yield from (line for line in stream if line.endswith("\n"))
    except FileNotFoundError:
        return
