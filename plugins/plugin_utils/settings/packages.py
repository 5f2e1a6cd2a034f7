# SPDX-License-Identifier: GPL-3.0-or-later
"""``mayfly_image_packages``: what a baked image has beside the transfer agent."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

# Neither can be taken for an option of a package manager.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:=~_-]*|https://[^\s'\"]+/[A-Za-z0-9][^\s/'\"]*")


def package(value: Any) -> str:
    """A package's name or a package file's https address; raises ValueError for anything else."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is neither a package's name nor the https address of a package file")
    return value


Packages = Annotated[tuple[Annotated[str, BeforeValidator(package)], ...], Field(max_length=64)]
