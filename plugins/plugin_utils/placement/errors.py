# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part of placement raises."""

from __future__ import annotations

from ..operations import OPERATIONS, Operation


class PlacementError(Exception):
    """No worker can be placed: a code, a message that names the place, and the setting that would mend it."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(f"{code}: {message} {remedy}")
        self.code = code
        self.message = message
        self.remedy = remedy


def known_operation(name: str) -> Operation:
    """The operation of that name; raises PlacementError for one that has no worker."""
    if name not in OPERATIONS:
        message = f"Operation {name} has no worker."
        raise PlacementError("UnknownOperation", message, f"Known are {', '.join(OPERATIONS)}.")
    return OPERATIONS[name]
