# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole state of a lab as plain sets, and what one has more than another. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

# kind → what there is of it
State = Mapping[str, Sequence[str]]
KINDS = (
    "instance",
    "volume",
    "network-interface",
    "security-group",
    "key-pair",
    "instance-profile",
    "snapshot",
    "multipart-upload",
    "host",
    "process",
    "folder",
)


def more(before: State, now: State, kinds: Iterable[str] = KINDS) -> list[str]:
    """What there is now and was not before, as ``kind id``."""
    return [f"{kind} {each}" for kind in kinds for each in sorted(set(now.get(kind, ())) - set(before.get(kind, ())))]


def missing(before: State, now: State) -> list[str]:
    """What was there before and is gone, although nobody should have touched it."""
    return [f"lost: {each}" for each in more(now, before, [kind for kind in KINDS if kind != "process"])]


def doubled(references: Mapping[str, Sequence[str]]) -> list[str]:
    """Volumes that have more than the one reference snapshot that is kept for the next backup."""
    return [
        f"snapshot {each} (reference of {volume})"
        for volume, kept in sorted(references.items())
        for each in sorted(kept)[1:]
    ]
