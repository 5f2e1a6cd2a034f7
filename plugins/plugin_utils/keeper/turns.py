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
Place = tuple[str, str]

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
    """Whose turn it is: a launch reserves its place before it asks AWS, and runs see each other by tags.

    Runs that launch in the same moment can pass the cap together: the younger workers give way, see :meth:`keeps`, at
    the latest when they have booted, which takes longer than EC2 takes to show a launch to everybody.
    """

    def __init__(self) -> None:
        self._locks: dict[Place, threading.Lock] = defaultdict(threading.Lock)
        self._launching: dict[Place, set[str]] = defaultdict(set)
        self._launched: dict[Place, dict[str, float]] = defaultdict(dict)

    def reserve(self, ec2: Any, place: Place, host: str, deployment: str, cap: int) -> bool:
        """Whether one more worker may live there, which is this host's then, until :meth:`settle`."""
        with self._locks[place]:
            known = self._launched[place]
            for instance_id, since in list(known.items()):
                if time.monotonic() - since > _SEEN_SECONDS:
                    del known[instance_id]
            live = {each["InstanceId"] for each in live_workers(ec2, deployment)} | known.keys()
            if len(live) + len(self._launching[place]) >= cap:
                return False
            self._launching[place].add(host)
            return True

    def settle(self, place: Place, host: str, instance_id: str = "") -> None:
        """The host's launch has ended, with this instance if there is one, which AWS may not show yet."""
        with self._locks[place]:
            self._launching[place].discard(host)
            if instance_id:
                self._launched[place][instance_id] = time.monotonic()

    def keeps(self, ec2: Any, deployment: str, cap: int, instance_id: str) -> bool:
        """Whether a new worker is among the oldest ``cap`` of the place."""
        oldest = [each["InstanceId"] for each in live_workers(ec2, deployment)[:cap]]
        return instance_id in oldest or len(oldest) < cap


def await_turn(is_free: Callable[[], bool], pause: Pause, ends: float, what: str) -> None:
    """Wait until ``is_free``, until ``ends`` (monotonic clock); raises KeeperError then, and what ``pause`` does."""
    while not is_free():
        if time.monotonic() > ends:
            remedy = "Raise mayfly_capacity_timeout or mayfly_max_workers, or run less at once."
            raise KeeperError("NoTurn", f"{what}, and none of them ended in time.", remedy)
        pause(_LOOK_SECONDS)
