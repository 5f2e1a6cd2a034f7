# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for names below a folder: the nearest first, told as they are found."""

from __future__ import annotations

import fnmatch
import re
import time
from collections import deque
from collections.abc import Callable, Iterator

from .listing import described
from .names import Parts, shown_path, wire
from .refusals import Refused
from .volumes import Volume, kind_of, listed

MOST_FOUND = 1000
LONGEST_SEARCH = 120.0  # seconds
_LONGEST_WORDS = 255
_LONGEST_QUEUE = 1_000_000
_TELL_SECONDS = 0.5


def matcher(words: str) -> Callable[[bytes], bool]:
    """Whether a name has these words in it, whatever their case; with * or ? in them, whether it is like that.

    Raises Refused for nothing, or too much.
    """
    words = words.strip().casefold()
    if not 1 <= len(words) <= _LONGEST_WORDS:
        raise Refused(400, f"What is looked for has from 1 to {_LONGEST_WORDS} characters.")
    if "*" not in words and "?" not in words:
        return lambda name: words in name.decode("utf-8", "replace").casefold()
    pattern = re.compile(fnmatch.translate(words.replace("[", "[[]")))
    return lambda name: pattern.match(name.decode("utf-8", "replace").casefold()) is not None


def search(volume: Volume, base: Parts, matches: Callable[[bytes], bool]) -> Iterator[dict[str, object]]:
    """Each thing that was found, {found: …}, with its path below ``base``; twice a second how far it is, {looked: …}.

    The last is {ended: complete, many or late, looked, unreadable}.
    """
    began = told = time.monotonic()
    waiting: deque[Parts] = deque([()])
    looked = unreadable = found = 0
    while waiting:
        parts = waiting.popleft()
        try:
            with volume.folder(base + parts) as folder:
                for name, entry in listed(folder):
                    looked += 1
                    if matches(name):
                        found += 1
                        yield {"found": _found(folder, parts, name)}
                    now = time.monotonic()
                    if found == MOST_FOUND or now - began > LONGEST_SEARCH:
                        ended = "many" if found == MOST_FOUND else "late"
                        yield {"ended": ended, "looked": looked, "unreadable": unreadable}
                        return
                    if now - told > _TELL_SECONDS:
                        told = now
                        yield {"looked": looked}
                    if len(waiting) < _LONGEST_QUEUE and kind_of(entry) == "folder":
                        waiting.append((*parts, name))
        except OSError:
            unreadable += 1
    yield {"ended": "complete", "looked": looked, "unreadable": unreadable}


def _found(folder: int, parts: Parts, name: bytes) -> dict[str, object]:
    return {**described(folder, name), "path": wire((*parts, name)), "folder": shown_path(parts)}
