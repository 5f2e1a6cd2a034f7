# SPDX-License-Identifier: GPL-3.0-or-later
"""A placement, and what was found of a network, as text for people: what ``--check`` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_ROW = "{:>9}  {:14} {:12} {:22} {:18} {:26} {:22} {}"
_CHECK = "{:28} {:7} {:8} {}"
_NAMES = ("account", "instance_type", "market", "availability_zone", "subnet_id", "image_id", "price")
_HEAD = ("account", "type", "market", "zone", "subnet", "image", "USD/h")


def table(host: str, placed: Mapping[str, Any]) -> str:
    """The candidates and the reasons of a host's placement, as the module ``worker_placement`` returns them."""
    lines = [f"Where the worker of {host} would go:", _ROW.format("candidate", *_HEAD)]
    for number, each in enumerate(placed["candidates"], start=1):
        lines.append(_ROW.format(number, *(str(each.get(name) or "") for name in _NAMES)))
    lines.append("")
    lines += [f"{each['decision']:9}  {each['subject']}: {each['reason']}" for each in placed["reasons"]]
    if placed.get("checks"):
        lines += ["", checks(placed["checks"])]
    return "\n".join([line.rstrip() for line in lines])


def checks(found: Iterable[Mapping[str, Any]]) -> str:
    """The rows of a check of a network, each failure with its remedy."""
    rows = [_CHECK.format("service", "check", "result", "what was seen")]
    for each in found:
        said = f"{each['reason']} {each['remedy']}"
        rows.append(_CHECK.format(each["service"], each["check"], "ok" if each["ok"] else "FAILED", said))
    return "\n".join(row.rstrip() for row in rows)
