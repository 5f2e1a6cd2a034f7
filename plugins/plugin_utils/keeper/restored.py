# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes of a restore: volumes made of the transfer's snapshots, the run's until they are handed over."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ..settings.model import read
from ..settings.tags import OwnTags
from ..settings.volume_types import OTHERS
from . import aws, things
from .context import Context, tag_list
from .errors import KeeperError
from .things import Thing

# Of one volume or instance, AWS's limit for any resource.
TAGS = 50
TIMEOUT = "mayfly_restore_timeout"
_DELETE_SECONDS = 60.0
# Attributes that CreateVolume takes as they were recorded; what AWS derives is left to it.
_IOPS_TYPES = ("io1", "io2", "gp3")
# These must be told how many; https://docs.aws.amazon.com/ebs/latest/userguide/provisioned-iops.html
_LEAST_IOPS = {"io1": 100, "io2": 100}
Place = tuple[str, str]


def place_of(target: Mapping[str, Any]) -> Place:
    """(account, Region) of a restore's target."""
    return str(target["account"]), str(target["region"])


def own_tags(arguments: Mapping[str, Any]) -> dict[str, str]:
    """``mayfly_restore_tags``; raises SettingError."""
    tags: dict[str, str] = read(OwnTags, "mayfly_restore_tags", arguments.get("tags"))
    return tags


def check_tags(context: Context, what: str, recorded: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Raises KeeperError BadTags when a thing would have more than AWS allows, those of the run included."""
    count = len({**recorded, **own, **context.tags()})
    if count > TAGS:
        message = f"{context.host}: {what} would have {count} tags, AWS allows {TAGS}."
        raise KeeperError("BadTags", message, "Give fewer tags in mayfly_restore_tags.")


def make_volumes(context: Context, arguments: Mapping[str, Any], ends: float) -> dict[str, str]:
    """{original: new}: made from the transfer's ``snapshots`` in ``target``, and waited for until ``ends``."""
    target, snapshots = arguments["target"], arguments["snapshots"]
    place = place_of(target)
    ec2 = context.making(*place)
    wait = context.run.watching.wait
    wait(context.host, place, "snapshot", snapshots.values(), _left(ends), setting=TIMEOUT)
    made: dict[str, str] = {}
    for volume in arguments["restore_point"]["volumes"]:
        original = volume["volume_id"]
        request = _request(context, volume, snapshots[original], arguments)
        context.run.check_open()
        # With its client token, it may be asked as often as it takes.
        answer = aws.retrying(
            partial(ec2.create_volume, **request),
            seconds=aws.YOUNG_SECONDS,
            again=lambda error: aws.is_passing(error) or aws.is_gone(error),
            pause=context.run.pause,
        )
        made[original] = answer["VolumeId"]
        context.run.temporaries.add(*place, answer["VolumeId"], "volume")
    wait(context.host, place, "volume", made.values(), _left(ends), setting=TIMEOUT)
    return made


def delete_snapshots(context: Context, place: Place, ids: Iterable[str]) -> None:
    """They have served; what cannot be deleted now, the run's end deletes."""
    remove(context, [context.run.temporaries.get(each) or Thing("snapshot", each, *place) for each in ids])


def remove(context: Context, doomed: Iterable[Thing]) -> None:
    """Remove things of the run; what cannot be removed now, the run's end removes."""
    for thing, error in things.remove_all(context.run.clients, doomed, time.monotonic() + _DELETE_SECONDS).items():
        if error is None:
            context.run.temporaries.forget(thing.id)


def attributes(volume: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Type and speed as recorded, unless ``types`` names another type for the device, or for all others.

    Encryption is the snapshot's own, which was written with the right key.
    """
    recorded = volume["attributes"]
    kind = types.get(volume["device"]) or types.get(OTHERS) or recorded.get("type") or "gp3"
    taken: dict[str, Any] = {"VolumeType": kind, "Size": volume["size_gib"]}
    same = kind == (recorded.get("type") or kind)
    # Of gp2, AWS tells IOPS that come with the size: another type is not asked for these.
    if recorded.get("iops") and kind in _IOPS_TYPES and (same or recorded.get("type") in _IOPS_TYPES):
        taken["Iops"] = recorded["iops"]
    elif kind in _LEAST_IOPS:
        taken["Iops"] = _LEAST_IOPS[kind]
    if recorded.get("throughput") and kind == "gp3" and same:
        taken["Throughput"] = recorded["throughput"]
    return taken


def give(context: Context, place: Place, ids: Iterable[str]) -> None:
    """Hand things over to the user with nothing of ours in their tags."""
    context.run.temporaries.hand_over(context.ec2(*place), ids, tuple(context.tags()))


def _request(
    context: Context, volume: Mapping[str, Any], snapshot: str, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """CreateVolume for a volume of the restore point."""
    own = arguments.get("tags") or {}
    tags = context.tags(user={**volume["attributes"].get("tags", {}), **own})
    unique = hashlib.sha256(f"{context.run.id} {volume['volume_id']} {snapshot}".encode()).hexdigest()
    return {
        **attributes(volume, arguments.get("volume_types") or {}),
        "SnapshotId": snapshot,
        "AvailabilityZone": arguments["target"]["availability_zone"],
        "ClientToken": unique,
        "TagSpecifications": [{"ResourceType": "volume", "Tags": tag_list(tags)}],
    }


def _left(ends: float) -> float:
    return max(1.0, ends - time.monotonic())
