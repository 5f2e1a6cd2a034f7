# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of AWS's query protocols (EC2, STS, IAM, RDS): flat names with numbers in them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TAG = re.compile(r"(?:^|\.)Tags?(?:\.(?:member|Tag))?\.(\d+)\.(Key|Value)$")
_SPECIFICATION = re.compile(r"^TagSpecifications?\.(\d+)\.")


class Parameters:
    """Names and values, in the order of the request."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = list(pairs)

    def get(self, *names: str) -> str | None:
        """The value of the first of ``names`` that the request has."""
        return next((value for name in names for value in self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """The values of ``name``, of ``name.N`` and of ``name.member.N``."""
        wanted = re.compile(re.escape(name) + r"(?:(?:\.[A-Za-z]+)?\.\d+)?$")
        return [value for key, value in self._pairs if wanted.match(key)]

    def groups(self, name: str) -> list[Parameters]:
        """What stands below ``name.1``, ``name.2``, …, each by itself."""
        wanted = re.compile(re.escape(name) + r"(?:\.[A-Za-z]+)?\.(\d+)\.(.+)$")
        found: dict[int, list[tuple[str, str]]] = {}
        for key, value in self._pairs:
            match = wanted.match(key)
            if match:
                found.setdefault(int(match[1]), []).append((match[2], value))
        return [Parameters(found[number]) for number in sorted(found)]

    def named(self) -> list[tuple[str, str]]:
        """Every pair that is in no filter and no tag."""
        return [pair for pair in self._pairs if not pair[0].startswith("Filter") and not _is_tag(pair[0])]

    def tags(self) -> dict[str, str]:
        """The tags that a request gives or takes, those of its tag specifications left out."""
        return _tags((name, value) for name, value in self._pairs if not _SPECIFICATION.match(name))

    def tag_specifications(self) -> dict[str, dict[str, str]]:
        """The tags of a request that makes resources, by the kind of resource."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, value in self._pairs:
            match = _SPECIFICATION.match(name)
            if match:
                found.setdefault(match[1], []).append((name[match.end() :], value))
        return {kind: _tags(pairs) for pairs in found.values() for name, kind in pairs if name in ("ResourceType",)}


def _is_tag(name: str) -> bool:
    return bool(_TAG.search(name) or _SPECIFICATION.match(name))


def _tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    parts: dict[str, dict[str, str]] = {}
    for name, value in pairs:
        match = _TAG.search(name)
        if match:
            parts.setdefault(match[1], {})[match[2]] = value
    return {part["Key"]: part.get("Value", "") for part in parts.values() if "Key" in part}
