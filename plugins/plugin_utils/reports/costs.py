# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker of a resource has cost, about. Pure.

On-demand prices of Linux in us-east-1, in USD an hour and without taxes, are those of
https://aws.amazon.com/ec2/pricing/on-demand as known in DATE; those of c5 were compared with
https://docs.aws.amazon.com/autoscaling/ec2/userguide/weights-spot-price-per-unit-hour-example.html, the others with
nothing since. Sizes of a family cost in proportion to their vCPUs. Other Regions cost up to about twice as much, Spot
less. Volumes, requests and traffic are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

DATE = "2025"
NOTE = (
    f"the worker's hours at the on-demand price of us-east-1 as known in {DATE}; without storage, requests and traffic"
)
#: USD an hour of a family's ``large``.
_LARGE = {
    "c5": 0.085,
    "c6i": 0.085,
    "c6a": 0.0765,
    "c6g": 0.068,
    "c7g": 0.0725,
    "t3": 0.0832,
    "t4g": 0.0672,
}
#: Sizes by what they cost of a ``large``.
_SIZES = {"micro": 0.125, "small": 0.25, "medium": 0.5, "large": 1, "xlarge": 2, "2xlarge": 4, "4xlarge": 8}
#: An instance is billed by the second, from a minute on.
_LEAST_SECONDS = 60.0


def hourly(instance_type: str) -> float | None:
    """USD an hour; None for a type that the table does not know."""
    family, _, size = instance_type.partition(".")
    price, share = _LARGE.get(family), _SIZES.get(size)
    return None if price is None or share is None else price * share


def worker_cost(entry: Mapping[str, Any]) -> float | None:
    """USD for the worker that a resource had last, from its launch to the end of its last stage; None when unknown."""
    worker = entry.get("worker") or {}
    price = hourly(str(worker.get("type") or ""))
    ends = [stage["end"] for stage in entry.get("stages") or () if stage.get("end")]
    if price is None or not worker.get("launched") or not ends:
        return None
    seconds = (datetime.fromisoformat(max(ends)) - datetime.fromisoformat(worker["launched"])).total_seconds()
    return price * max(_LEAST_SECONDS, seconds) / 3600
