# SPDX-License-Identifier: GPL-3.0-or-later
"""Exchanges of volumes that died in the middle with all that could have undone them: found by tags, and undone."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .. import reaping
from ..restore_rights import REPLACED, REPLACING
from . import aws, things
from .machines import Machine, disks_of
from .swaps import RUNNING, Exchange, Swap, put_back, settle

Place = tuple[str, str]
# The reaper goes on with other places; what has not come back by then is tried again by the next sweep.
_SECONDS = 600.0


@dataclass(frozen=True)
class Unfinished:
    """An exchange of a dead run. Of one that is ``settled``, something else has its place: only tags are left of it."""

    exchange: Exchange
    run: str
    settled: bool


def find(ec2: Any, place: Place, rule: reaping.Rule, now: datetime) -> list[Unfinished]:
    """Those of this deployment; raises botocore's errors."""
    old: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    filters = [{"Name": "tag-key", "Values": [REPLACING]}]
    for volume in aws.pages(ec2, "describe_volumes", "Volumes", Filters=filters):
        tags = {tag["Key"]: tag["Value"] for tag in volume["Tags"]}
        deployment, state, run = (*tags[REPLACING].split(" ", 2), "", "")[:3]
        instance, _, device = tags.get(REPLACED, "").partition(" ")
        if deployment == rule.deployment and device:
            old[run, instance, state][device] = str(volume["VolumeId"])
    found = []
    for (run, instance, state), volumes in sorted(old.items()):
        tags = {reaping.DEPLOYMENT: rule.deployment, reaping.RUN: run, **things.TEMPORARY}
        new = things.find(ec2, place, tags, ["volume"])
        if rule.run in (None, run) and all(reaping.judge(each.tags, each.created, now, rule).remove for each in new):
            exchange = Exchange(
                instance, tuple(Swap(device, name, "") for device, name in volumes.items()), state == RUNNING
            )
            found.append(
                _judged(exchange, run, {each.id for each in new}, Machine(ec2, instance, time.sleep).describe())
            )
    return found


def finish(ec2: Any, unfinished: Unfinished) -> None:
    """Put the volumes back, or take away what is left of their tags; raises KeeperError NotPutBack."""
    if unfinished.settled:
        settle(ec2, unfinished.exchange)
    else:
        put_back(ec2, unfinished.exchange, time.sleep, _SECONDS)


def _judged(begun: Exchange, run: str, new: set[str], instance: Mapping[str, Any]) -> Unfinished:
    """What is left to do of an exchange: ``begun`` has the old volumes, ``instance`` is AWS's description of it."""
    if not instance or instance["State"]["Name"] in things.GOING:
        return Unfinished(begun, run, settled=True)
    disks = disks_of(instance)
    there = {device: str(ebs["VolumeId"]) for device, ebs in disks.items()}
    old = {swap.device: swap.old for swap in begun.swaps}
    settled = any(device in there and there[device] not in {volume, *new} for device, volume in old.items())
    devices = {**dict.fromkeys((device for device, volume in there.items() if volume in new), ""), **old}
    swaps = tuple(
        Swap(device, volume, there.get(device, ""), bool(disks.get(device, {}).get("DeleteOnTermination")))
        for device, volume in sorted(devices.items())
    )
    return Unfinished(Exchange(begun.instance_id, swaps, begun.running), run, settled)
