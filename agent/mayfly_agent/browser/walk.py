# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that was chosen in a folder, and all that is below it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .names import Parts
from .volumes import Volume, kind, listed

# Folders that are known of and not yet walked, at once.
_LONGEST_QUEUE = 1_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """A thing: its path below where the walk began, what it is, and where it leads when it is a link."""

    parts: Parts
    status: os.stat_result
    target: bytes = b""

    @property
    def kind(self) -> str:
        """As volumes.kind has it."""
        return kind(self.status.st_mode)


def walk(
    volume: Volume, base: Parts, chosen: Sequence[Parts], lost: Callable[[Parts, OSError], None]
) -> Iterator[Found]:
    """What was chosen, each a path below ``base``, () for all of it; a folder before what is in it.

    Files of a folder come before its folders. No link is followed. What cannot be read is told to ``lost``, with its
    path below ``base``, and passed over.
    """
    waiting: list[Parts] = []
    for parts in chosen:
        yield from _one(volume, base, parts, waiting, lost)
        while waiting:
            yield from _folder(volume, base, waiting.pop(), waiting, lost)


def _one(
    volume: Volume, base: Parts, parts: Parts, waiting: list[Parts], lost: Callable[[Parts, OSError], None]
) -> Iterator[Found]:
    try:
        status, target = volume.status(base + parts)
    except OSError as error:
        lost(parts, error)
        return
    found = Found(parts, status, target)
    if parts:
        yield found
    if found.kind == "folder":
        waiting.append(parts)


def _folder(
    volume: Volume, base: Parts, parts: Parts, waiting: list[Parts], lost: Callable[[Parts, OSError], None]
) -> Iterator[Found]:
    try:
        with volume.folder(base + parts) as folder:
            names = sorted(name for name, _ in listed(folder))
            folders = []
            for name in names:
                try:
                    status = os.stat(os.fsdecode(name), dir_fd=folder, follow_symlinks=False)
                    link = kind(status.st_mode) == "link"
                    target = os.fsencode(os.readlink(os.fsdecode(name), dir_fd=folder)) if link else b""
                except OSError as error:
                    lost((*parts, name), error)
                    continue
                found = Found((*parts, name), status, target)
                if found.kind == "folder":
                    folders.append(found.parts)
                yield found
    except OSError as error:
        lost(parts, error)
        return
    if len(waiting) + len(folders) > _LONGEST_QUEUE:
        lost(parts, OSError("It has too many folders."))
        return
    waiting.extend(reversed(folders))
