# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of restored volumes: they stand alone, are attached to an instance, or replace what is there."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from . import aws, originals, restored
from .context import Context
from .errors import KeeperError
from .machines import Machine, disks_of
from .restored import place_of

log = logging.getLogger(__name__)

ATTACH, REPLACE = "attach", "replace"
# AWS's recommendation for data volumes (https://docs.aws.amazon.com/ebs/latest/userguide/device_naming.html).
_DEVICES = tuple(f"/dev/sd{letter}" for letter in "fghijklmnop")
_BACK_SECONDS = 300.0
Place = tuple[str, str]


def plan(context: Context, arguments: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """{mode, instance_id, availability_zone, devices, …}: where each original volume's new one goes; empty for nowhere.

    ``devices`` of the arguments are devices by the recorded one, or by the volume's id. Raises KeeperError
    InstanceNotFound, DeviceInUse, NoDevice, and as originals.plan.
    """
    mode = arguments.get("attachment") or ""
    if mode not in (ATTACH, REPLACE):
        return {}
    place = place_of(arguments["target"])
    instance_id = str(arguments.get("instance_id") or point["resource"]["id"])
    named = arguments.get("devices") or {}
    wanted = {
        each["volume_id"]: named.get(each["volume_id"]) or named.get(each["device"]) or "" for each in point["volumes"]
    }
    if mode == REPLACE:
        recorded = {each["volume_id"]: wanted[each["volume_id"]] or each["device"] for each in point["volumes"]}
        return {"mode": mode, **originals.plan(context, place, instance_id, recorded, there=True)}
    instance = originals.describe(context, place, instance_id)
    devices = _free_devices(context, instance, wanted, {each["volume_id"]: each["device"] for each in point["volumes"]})
    zone = instance["Placement"]["AvailabilityZone"]
    return {"mode": mode, "instance_id": instance_id, "availability_zone": zone, "devices": devices, "notes": []}


def done(
    context: Context, place: Place, planned: Mapping[str, Any], made: Mapping[str, str], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """{devices, replaced}: the new volumes where ``planned`` says; they are the user's then."""
    if not planned:
        context.run.temporaries.hand_over(context.ec2(*place), made.values())
        return {}
    if planned["mode"] == REPLACE:
        filled = originals.fill(context, place, planned, made, arguments)
        return {"devices": planned["devices"], "replaced": filled["replaced"]}
    _attach(context, place, planned, made, time.monotonic() + float(arguments["timeout"]))
    return {"devices": planned["devices"]}


def _attach(context: Context, place: Place, planned: Mapping[str, Any], made: Mapping[str, str], ends: float) -> None:
    """Attach all, or none."""
    machine = Machine(context.making(*place), planned["instance_id"], context.run.pause)
    tried: list[str] = []
    try:
        for original, device in planned["devices"].items():
            tried.append(made[original])
            machine.attach(made[original], device, ends)
        context.run.check_open()
        restored.give(context, place, made.values())
    except BaseException:
        _detach(context, place, planned["instance_id"], tried)
        raise


def _detach(context: Context, place: Place, instance_id: str, volumes: list[str]) -> None:
    """Take volumes away again; one that stays attached is removed by nobody."""
    machine = Machine(context.run.clients.ending_client(*place), instance_id, time.sleep)
    ends = time.monotonic() + _BACK_SECONDS
    try:
        attached = {str(ebs["VolumeId"]) for ebs in machine.disks().values()}
        for each in attached.intersection(volumes):
            machine.detach(each, ends)
    except (*aws.ERRORS, KeeperError) as error:
        log.exception("%s were not detached from %s", ", ".join(volumes), instance_id)
        message = f"{context.host}: of {', '.join(volumes)} some stay attached to {instance_id}: {error}"
        context.report.warning(KeeperError("NotDetached", message, "Detach them, and delete those you do not need."))


def _free_devices(
    context: Context, instance: Mapping[str, Any], wanted: Mapping[str, str], recorded: Mapping[str, str]
) -> dict[str, str]:
    """The device of each volume: the wanted one, else the recorded one if it is free, else the next that is."""
    used = set(disks_of(instance))
    asked = [device for device in wanted.values() if device]
    taken = used.intersection(asked) or {device for device in asked if asked.count(device) > 1}
    if taken:
        message = f"{context.host}: {', '.join(sorted(taken))} of {instance['InstanceId']} is in use."
        raise KeeperError("DeviceInUse", message, "Name others in mayfly_restore_devices.")
    used.update(asked)
    found = {volume: device for volume, device in wanted.items() if device}
    for volume in sorted(wanted.keys() - found.keys()):  # none takes another's own
        if recorded[volume] not in used:
            found[volume] = recorded[volume]
            used.add(recorded[volume])
    for volume in sorted(wanted.keys() - found.keys()):
        free = next((device for device in _DEVICES if device not in used), None)
        if free is None:
            message = f"{context.host}: {instance['InstanceId']} has no device left for {volume}."
            raise KeeperError("NoDevice", message, "Name one in mayfly_restore_devices.")
        found[volume] = free
        used.add(free)
    return found
