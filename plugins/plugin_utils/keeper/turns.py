# SPDX-License-Identifier: GPL-3.0-or-later
"""A cap on workers over all runs of a deployment, for each account and Region, counted by their tags."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from . import aws
from .errors import KeeperError
from .things import GOING, TEMPORARY

Pause = Callable[[float], None]

_LOOK_SECONDS = 10.0
# DescribeInstances may not show at once what RunInstances has made.
_SEEN_SECONDS = 15.0


def live_workers(ec2: Any, deployment: str) -> list[dict[str, Any]]:
    """The deployment's instances that live in the client's account and Region, oldest first."""
    filters = aws.tag_filters({"mayfly:deployment": deployment, **TEMPORARY})
    found = [
        instance
        for reservation in aws.pages(ec2, "describe_instances", "Reservations", Filters=filters)
        for instance in reservation["Instances"]
        if instance["State"]["Name"] not in GOING
    ]
    return sorted(found, key=lambda each: (each["LaunchTime"], each["InstanceId"]))


class Turns:
    """Whose turn it is. Launches of one run take theirs one after the other; runs see each other by tags.

    Runs that launch in the same moment can pass the cap together: the younger workers give way, see :meth:`keeps`.
    """

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)
        self._launched: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)

    def lock(self, place: tuple[str, str]) -> threading.Lock:
        """To be held from the wait until the launch has been noted."""
        return self._locks[place]

    def launched(self, place: tuple[str, str], instance_id: str) -> None:
        """Count an instance that AWS may not show yet."""
        self._launched[place][instance_id] = time.monotonic()

    def is_free(self, ec2: Any, place: tuple[str, str], deployment: str, cap: int) -> bool:
        """Whether one more worker may live there; a ``cap`` of 0 is none."""
        if not cap:
            return True
        known = self._launched[place]
        for instance_id, since in list(known.items()):
            if time.monotonic() - since > _SEEN_SECONDS:
                del known[instance_id]
        return len({each["InstanceId"] for each in live_workers(ec2, deployment)} | known.keys()) < cap

    def keeps(self, ec2: Any, deployment: str, cap: int, instance_id: str) -> bool:
        """Whether a new worker is among the oldest ``cap`` of the place."""
        if not cap:
            return True
        oldest = [each["InstanceId"] for each in live_workers(ec2, deployment)[:cap]]
        return instance_id in oldest or len(oldest) < cap


def await_turn(is_free: Callable[[], bool], pause: Pause, seconds: float, what: str) -> None:
    """Wait until ``is_free``; raises KeeperError after ``seconds``, and what ``pause`` does."""
    ends = time.monotonic() + seconds
    while not is_free():
        if time.monotonic() > ends:
            message = f"{what} for {seconds:.0f} s, and none of them ended."
            remedy = "Raise mayfly_capacity_timeout, mayfly_max_workers or the quota, or run less at once."
            raise KeeperError("NoTurn", message, remedy)
        pause(_LOOK_SECONDS)
