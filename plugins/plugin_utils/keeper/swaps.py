# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of an instance exchanged for others while it is stopped, and put back when anything goes wrong.

An exchange is whole or it is undone: from the first step on, whatever ends it (an error, the end of the run) puts the
old volumes back and starts the instance again. That is looked up, not remembered: what is where at that moment decides
what is left to do. Meanwhile each old volume bears a tag that says where it belongs, for people, should even the
keeper be killed, and a second tag by which the reaper knows what is to be undone. New volumes stay temporary until all
is well, and none that is attached is ever removed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..restore_rights import REPLACED, REPLACING
from . import aws
from .errors import KeeperError
from .machines import Machine

if TYPE_CHECKING:
    from .context import Context, Run

log = logging.getLogger(__name__)

# AWS gives none for a stop; of a large Windows instance ten minutes are not unheard of.
_BACK_SECONDS = 1800.0
_TAGS_SECONDS = 60.0
#: In the tag of volumes: the instance is to run again.
RUNNING = "running"
_BY_HAND = "Stop the instance, attach the volumes that are named under their devices, and start it."
Place = tuple[str, str]


@dataclass(frozen=True)
class Swap:
    """A device of an instance, the volume that is there (empty where none is), and the one that takes its place.

    ``goes`` says whether the volume there is deleted with the instance; it then holds for the new one.
    """

    device: str
    old: str
    new: str
    goes: bool = False


@dataclass(frozen=True)
class Exchange:
    """All that is exchanged at one instance; ``running`` says whether it is to run again afterwards."""

    instance_id: str
    swaps: tuple[Swap, ...]
    running: bool

    def as_dict(self) -> dict[str, Any]:
        """What :meth:`from_dict` takes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Exchange:
        """The reverse of :meth:`as_dict`."""
        return cls(value["instance_id"], tuple(Swap(**each) for each in value["swaps"]), bool(value["running"]))


@contextmanager
def exchanged(context: Context, place: Place, exchange: Exchange, timeout: float) -> Iterator[Machine]:
    """The instance with its new volumes, running again if it ran: they stay if the block is left without an error.

    Raises what has failed, once all is as before, and KeeperError NotPutBack when that failed too.
    """
    run = context.run
    ends = time.monotonic() + timeout
    machine = Machine(context.making(*place), exchange.instance_id, run.pause)
    with run.undoing(place, exchange):
        try:
            _mark(context, place, exchange)
            machine.stop(ends)
            for swap in exchange.swaps:
                if swap.old:
                    machine.detach(swap.old, ends)
                machine.attach(swap.new, swap.device, ends)
            machine.keep({swap.device: swap.goes for swap in exchange.swaps})
            if exchange.running:
                machine.start(ends)
            yield machine
        except BaseException as error:
            log.warning("%s: the volumes of %s are put back: %r", context.host, exchange.instance_id, error)
            put_back(run.clients.ending_client(*place), exchange, time.sleep)
            raise
        settle(context.ec2(*place), exchange)


def put_back(ec2: Any, exchange: Exchange, pause: Callable[[float], None], seconds: float = _BACK_SECONDS) -> None:
    """Have the instance as it was before, whatever has been done of the exchange; raises KeeperError NotPutBack."""
    ends = time.monotonic() + seconds
    machine = Machine(ec2, exchange.instance_id, pause, patient=True)
    try:
        disks = {device: str(ebs["VolumeId"]) for device, ebs in machine.disks().items()}
        wrong = [swap for swap in exchange.swaps if disks.get(swap.device, "") != swap.old]
        if wrong:
            machine.stop(ends)
            for swap in wrong:
                if disks.get(swap.device) == swap.new:
                    machine.detach(swap.new, ends)
                if swap.old:
                    machine.attach(swap.old, swap.device, ends)
            machine.keep({swap.device: swap.goes for swap in wrong if swap.old})
        if exchange.running:
            machine.start(ends)
        _unmark(ec2, exchange, REPLACED, REPLACING)
    except (*aws.ERRORS, KeeperError) as error:
        where = ", ".join(f"{swap.old} as {swap.device}" for swap in exchange.swaps if swap.old)
        message = f"The instance {exchange.instance_id} was not put back ({error}); its own volumes are {where}."
        raise KeeperError("NotPutBack", message, _BY_HAND) from error


def settle(ec2: Any, exchange: Exchange) -> None:
    """The old volumes are not to be put back any more."""
    _unmark(ec2, exchange, REPLACING)


def finish_for(run: Run, place: Place, value: Mapping[str, Any]) -> None:
    """Undo an exchange of a keeper that died in the middle of it, unless its new volumes are the user's already."""
    exchange = Exchange.from_dict(value)
    if all(run.temporaries.was_handed_over(swap.new) for swap in exchange.swaps):
        return
    try:
        put_back(run.clients.ending_client(*place), exchange, time.sleep)
    except KeeperError as error:
        log.error("%s", error)
        run.report.error(error)


def _mark(context: Context, place: Place, exchange: Exchange) -> None:
    """Write down at each old volume where it belongs, and that it is to be put back there."""
    state = RUNNING if exchange.running else "stopped"
    replacing = f"{context.settings.deployment} {state} {context.run.id}"
    for swap in exchange.swaps:
        if swap.old:
            tags = {REPLACED: f"{exchange.instance_id} {swap.device}", REPLACING: replacing}
            listed = [{"Key": key, "Value": value} for key, value in tags.items()]
            context.ec2(*place).create_tags(Resources=[swap.old], Tags=listed)


def _unmark(ec2: Any, exchange: Exchange, *keys: str) -> None:
    """Of the old volumes this is so no more. Where a tag stays, the reaper sees that nothing is to be done."""
    old = [swap.old for swap in exchange.swaps if swap.old]
    try:
        if old:
            aws.retrying(
                lambda: ec2.delete_tags(Resources=old, Tags=[{"Key": key} for key in keys]),
                seconds=_TAGS_SECONDS,
                again=aws.is_passing,
            )
    except aws.ERRORS:
        log.exception("the tags %s of %s were not taken away", ", ".join(keys), ", ".join(old))


def swaps_at(
    disks: Mapping[str, Mapping[str, Any]], made: Mapping[str, str], devices: Mapping[str, str]
) -> Sequence[Swap]:
    """What is exchanged: ``devices`` by original volume, ``made`` the new volume of each, ``disks`` as they are now."""
    found = []
    for original, device in sorted(devices.items(), key=lambda each: each[1]):
        there = disks.get(device, {})
        goes = bool(there.get("DeleteOnTermination", False))
        found.append(Swap(device, str(there.get("VolumeId", "")), made[original], goes))
    return found
