# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request must be allowed to do: one action on one resource, with the conditions it is made under. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Context = dict[str, "str | list[str]"]
ANY = "*"  # where AWS puts no resource of its own: one that is made now, or all of a kind


@dataclass(frozen=True)
class Place:
    """The account that asks (12 digits) and the Region that is asked."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource of this account and Region."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True)
class Check:
    """One thing to be allowed.

    ``account`` owns the resource; ``resource_policy`` is the text of the resource's own policy, where it has one.
    An ``open`` check is a guess at the resource: where the action has no such resources, it counts for nothing if
    another check of the action is right.
    """

    action: str
    resource: str
    account: str
    context: Mapping[str, str | list[str]] = field(default_factory=dict)
    resource_policy: str | None = None
    open: bool = False


def request_tags(tags: Mapping[str, str]) -> Context:
    """The conditions that tags of a request make."""
    if not tags:
        return {}
    return {"aws:TagKeys": list(tags), **{f"aws:RequestTag/{key}": value for key, value in tags.items()}}


def resource_tags(tags: Mapping[str, str], *prefixes: str) -> Context:
    """The conditions that a resource's tags make, below ``aws:ResourceTag`` and ``prefixes`` (``ec2:ResourceTag``)."""
    return {f"{prefix}/{key}": value for prefix in ("aws:ResourceTag", *prefixes) for key, value in tags.items()}


def different(checks: Iterable[Check]) -> list[Check]:
    """Each of ``checks`` once, in their order."""
    found: list[Check] = []
    for check in checks:
        if check not in found:
            found.append(check)
    return found
