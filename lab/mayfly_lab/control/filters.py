# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of EC2's Describe calls, for what the lab describes itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Values = Mapping[str, str | Sequence[str]]


def matches(values: Values, tags: Mapping[str, str], filters: Mapping[str, Sequence[str]]) -> bool:
    """Whether something with these values and tags passes all ``filters``; raises KeyError for an unknown one."""
    for name, wanted in filters.items():
        if name.startswith("tag:"):
            key = name.removeprefix("tag:")
            have: Sequence[str] = [tags[key]] if key in tags else []
        elif name == "tag-key":
            have = list(tags)
        else:
            value = values[name]
            have = [value] if isinstance(value, str) else value
        if not any(_pattern(pattern).fullmatch(value) for pattern in wanted for value in have):
            return False
    return True


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in text), re.DOTALL)
