# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary things in an account and Region: found by their tags, removed in the order that AWS needs.

Whoever attaches a volume to an instance of a run's own sets DeleteOnTermination with it. What hangs on an instance is
never removed by itself: it may be the user's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from . import aws, shares
from .errors import KeeperError

log = logging.getLogger(__name__)

TEMPORARY = {"mayfly:temporary": "true"}
GOING = ("shutting-down", "terminated")
_AT_ONCE = 16
_SEE_LEASE = "It ends by its lease or its deadline; the playbook reap ends what has outlived both."
_SEE_REAP = "The playbook reap removes it."
_SEE_RIGHTS = "The role of mayfly_accounts needs the rights that docs/permissions.md lists."


@dataclass(frozen=True)
class Thing:
    """``kind`` is instance, image, volume, snapshot, snapshot-share, network-interface or security-group.

    The id of a share is its snapshot's.

    ``created`` is None where AWS does not tell it; ``held`` says that it hangs on an instance and goes with it.
    """

    kind: str
    id: str
    account: str
    region: str
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    created: datetime | None = None
    state: str = ""
    held: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """(account, Region)"""
        return self.account, self.region

    def __str__(self) -> str:
        return f"{self.kind} {self.id} in account {self.account}, {self.region}"


class NotRemoved(KeeperError):
    """A thing is still there. ``final`` says that AWS has refused it: trying again changes nothing."""

    def __init__(self, thing: Thing, why: str, *, final: bool = False) -> None:
        instance = thing.kind == "instance"
        code = "TerminationFailed" if instance else "DeletionFailed"
        remedy = _SEE_LEASE if instance else _SEE_REAP
        if final:
            remedy = f"{_SEE_RIGHTS} {remedy}"
        how = "not taken back" if thing.kind == shares.KIND else "not removed"
        super().__init__(code, f"The temporary {thing} was {how}: {why}", remedy)
        self.thing = thing
        self.final = final


@dataclass(frozen=True)
class _Kind:
    """How things of a kind are listed and removed."""

    list: str
    key: str
    id: str
    remove: str
    created: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


_KINDS: dict[str, _Kind] = {
    "instance": _Kind("describe_instances", "Reservations", "InstanceId", "terminate_instances", "LaunchTime"),
    "image": _Kind("describe_images", "Images", "ImageId", "deregister_image", "CreationDate", {"Owners": ["self"]}),
    "volume": _Kind("describe_volumes", "Volumes", "VolumeId", "delete_volume", "CreateTime"),
    "snapshot": _Kind(
        "describe_snapshots", "Snapshots", "SnapshotId", "delete_snapshot", "StartTime", {"OwnerIds": ["self"]}
    ),
    shares.KIND: _Kind(
        "describe_snapshots", "Snapshots", "SnapshotId", "modify_snapshot_attribute", None, {"OwnerIds": ["self"]}
    ),
    "network-interface": _Kind(
        "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", "delete_network_interface"
    ),
    "security-group": _Kind("describe_security_groups", "SecurityGroups", "GroupId", "delete_security_group"),
}
# What hangs on an instance can only go after it, a snapshot after its image, a group only when nothing uses it.
ORDER = tuple(_KINDS)


def find(ec2: Any, place: tuple[str, str], tags: dict[str, str], kinds: Iterable[str] = ORDER) -> list[Thing]:
    """All things with these tags that are not gone yet, in the order of their removal; raises botocore's errors."""
    found: list[Thing] = []
    for kind in kinds:
        how = _KINDS[kind]
        filters = shares.filters(tags) if kind == shares.KIND else aws.tag_filters(tags)
        for each in aws.pages(ec2, how.list, how.key, Filters=filters, **how.arguments):
            found += [_thing(kind, entry, place) for entry in (each["Instances"] if kind == "instance" else [each])]
    return [thing for thing in found if thing.state not in ("terminated", "deleting", "deleted", "deregistered")]


def remove(ec2: Any, thing: Thing, ends: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Remove it; what is gone is no failure. Raises NotRemoved when AWS refuses it, or when it is still there at
    ``ends`` (monotonic clock).

    What is young and not found is looked for again, unless a try without an answer may have removed it. An instance
    counts as removed when AWS says that it is going. Its termination protection, if somebody has set it, is lifted: it
    must be one of ours.
    """
    last = "it is not going"
    attempt = 0
    doubt = False
    while True:
        attempt += 1
        try:
            if _removed(ec2, thing):
                return
        except ClientError as error:
            if aws.is_gone(error) and (doubt or aws.was_asked_before(error) or not _young(thing)):
                return
            if aws.is_final(error):
                raise NotRemoved(thing, str(error), final=True) from error
            last = str(error)
            doubt = doubt or aws.is_doubtful(error)
            if thing.kind == "instance" and aws.code_of(error) == "OperationNotPermitted":
                _lift_protection(ec2, thing)
        except (BotoCoreError, ResponseParserError) as error:
            last = str(error)
            doubt = doubt or aws.is_doubtful(error)
        wait = aws.backoff(attempt)
        if time.monotonic() + wait > ends:
            raise NotRemoved(thing, last)
        pause(wait)


def remove_all(clients: Any, things: Iterable[Thing], ends: float) -> dict[Thing, KeeperError | None]:
    """Remove each, many at once, groups last; what went wrong with each. One failure does not stop the others."""
    listed = [thing for thing in things if not thing.held]
    results: dict[Thing, KeeperError | None] = {}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="remove") as pool:
        for kind in ORDER:
            some = [thing for thing in listed if thing.kind == kind]
            results.update(zip(some, pool.map(lambda thing: _attempt(clients, thing, ends), some), strict=True))
    return results


def _attempt(clients: Any, thing: Thing, ends: float) -> KeeperError | None:
    try:
        remove(clients.ending_client(*thing.place), thing, max(ends, time.monotonic() + 5))
    except KeeperError as error:
        log.error("%s", error)
        return error
    except aws.ERRORS as error:
        log.exception("%s was not removed", thing)
        return NotRemoved(thing, str(error), final=aws.is_final(error))
    return None


def _removed(ec2: Any, thing: Thing) -> bool:
    how = _KINDS[thing.kind]
    if thing.kind == shares.KIND:
        shares.take_back(ec2, thing.id, thing.tags)
        return True
    if thing.kind != "instance":
        getattr(ec2, how.remove)(**{how.id: thing.id})
        return True
    answer = ec2.terminate_instances(InstanceIds=[thing.id])["TerminatingInstances"]
    return all(each["CurrentState"]["Name"] in GOING for each in answer)


def _lift_protection(ec2: Any, thing: Thing) -> None:
    """Only our own workers come here: they are in the run's list, or carry its tags. Raises NotRemoved when refused."""
    try:
        ec2.modify_instance_attribute(InstanceId=thing.id, DisableApiTermination={"Value": False})
    except aws.ERRORS as error:
        if aws.is_final(error):
            raise NotRemoved(thing, str(error), final=True) from error
        log.exception("the termination protection of %s was not lifted", thing)


def _young(thing: Thing) -> bool:
    """Whether "not found" may mean "not known yet"."""
    if thing.created is None:
        return False
    return (datetime.now(thing.created.tzinfo) - thing.created).total_seconds() < aws.YOUNG_SECONDS / 2


def _thing(kind: str, entry: Mapping[str, Any], place: tuple[str, str]) -> Thing:
    how = _KINDS[kind]
    state = entry.get("State") or entry.get("Status") or ""
    tags = {tag["Key"]: tag["Value"] for tag in entry.get("Tags") or entry.get("TagSet") or ()}
    held = bool(entry.get("Attachments")) or (kind == "network-interface" and bool(entry.get("Attachment")))
    return Thing(
        kind=kind,
        id=entry[how.id],
        account=place[0],
        region=place[1],
        tags=shares.own_tags(tags) if kind == shares.KIND else tags,
        created=_time(entry.get(how.created)) if how.created else None,
        state=state["Name"] if isinstance(state, Mapping) else str(state),
        held=held,
    )


def _time(moment: datetime | str | None) -> datetime | None:
    """When AWS says that a thing was made: it is a text of images alone."""
    return datetime.fromisoformat(moment) if isinstance(moment, str) else moment
