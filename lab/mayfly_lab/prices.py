# SPDX-License-Identifier: GPL-3.0-or-later
"""Prices and sizes of the instance types that workers use. Pure.

On-demand prices are those of aws.amazon.com/ec2/pricing/on-demand for Linux, shared tenancy, as known in 2025; of Spot
they are a fixed share, as Spot prices change by the hour and the lab's must not.
"""

from __future__ import annotations

import hashlib
import re

# USD an hour of the size "large", by family: (us-east-1, eu-central-1). The other sizes are multiples of it.
_LARGE = {
    "c5": (0.085, 0.097),
    "c5a": (0.077, 0.087),
    "c6a": (0.0765, 0.0873),
    "c6g": (0.068, 0.0776),
    "c6i": (0.085, 0.097),
    "c7a": (0.10264, 0.11713),
    "c7g": (0.0725, 0.0827),
    "c7i": (0.08925, 0.10185),
    "m5": (0.096, 0.115),
    "m5a": (0.086, 0.104),
    "m6a": (0.0864, 0.1035),
    "m6g": (0.077, 0.092),
    "m6i": (0.096, 0.115),
    "m7g": (0.0816, 0.0978),
    "r5": (0.126, 0.152),
    "r6g": (0.1008, 0.1216),
    "r6i": (0.126, 0.152),
    "t3": (0.0832, 0.096),
    "t3a": (0.0752, 0.0864),
    "t4g": (0.0672, 0.0768),
}
_REGIONS = ("us-east-1", "eu-central-1")
_SMALL = {"nano": 1 / 16, "micro": 1 / 8, "small": 1 / 4, "medium": 1 / 2, "large": 1.0, "xlarge": 2.0}
_LARGER = re.compile(r"(\d+)xlarge")
_SPOT_SHARE = 0.4
_ZONES_APART = 0.02  # of the price: zones differ


def on_demand(instance_type: str, region: str) -> float | None:
    """USD an hour of a type in a Region; None for one that is not in the table."""
    family, _, size = instance_type.partition(".")
    larger = _LARGER.fullmatch(size)
    factor = 2.0 * int(larger[1]) if larger else _SMALL.get(size)
    if family not in _LARGE or region not in _REGIONS or factor is None:
        return None
    return round(_LARGE[family][_REGIONS.index(region)] * factor, 6)


def spot(instance_type: str, zone: str) -> float | None:
    """USD an hour of a type on the Spot market of an Availability Zone (by name); None without an on-demand price."""
    price = on_demand(instance_type, zone[:-1])
    if price is None:
        return None
    step = hashlib.sha256(f"{instance_type} {zone}".encode()).digest()[0] % 5
    return round(price * (_SPOT_SHARE + _ZONES_APART * step), 6)
