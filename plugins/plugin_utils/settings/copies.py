# SPDX-License-Identifier: GPL-3.0-or-later
"""``mayfly_copy_points``: which restore points go to a second repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from .model import is_blank

NEW, MISSING, LATEST = "new", "missing", "latest"


def copy_points(value: Any) -> str | tuple[str, ...]:
    """new, missing or latest, or ids of restore points; blank is new. Raises ValueError for anything else."""
    if is_blank(value):
        return NEW
    if isinstance(value, str):
        if value not in (NEW, MISSING, LATEST):
            raise ValueError(f"it is {value!r}, not {NEW}, {MISSING}, {LATEST} or a list of ids")
        return value
    if not isinstance(value, Sequence) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"it is {value!r}, not {NEW}, {MISSING}, {LATEST} or a list of ids")
    return tuple(value)


CopyPoints = Annotated[str | tuple[str, ...], BeforeValidator(copy_points)]
