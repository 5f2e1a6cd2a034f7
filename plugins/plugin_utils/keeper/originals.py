# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances that are there already and get restored volumes: what forbids it, what would be exchanged, and doing it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from . import restored
from .context import Context
from .errors import KeeperError
from .machines import disks_of
from .swaps import Exchange, exchanged, swaps_at
from .things import GOING

# AWS itself sets it on every member of a group, also on those that were attached to it later.
GROUP_TAG = "aws:autoscaling:groupName"
_STEADY = ("running", "stopped")
_SEE_NEW = "Restore to a new place: mayfly_restore_location."
Place = tuple[str, str]


def describe(context: Context, place: Place, instance_id: str) -> dict[str, Any]:
    """AWS's description; raises KeeperError InstanceNotFound."""
    try:
        found = context.ec2(*place).describe_instances(InstanceIds=[instance_id])["Reservations"]
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("InvalidInstanceID"):
            raise
        found = []
    instance = dict(found[0]["Instances"][0]) if found else {}
    if not instance or instance["State"]["Name"] in GOING:
        message = f"{context.host}: account {place[0]} has no instance {instance_id} in {place[1]}."
        raise KeeperError("InstanceNotFound", message, _SEE_NEW)
    return instance


def check(context: Context, place: Place, instance: Mapping[str, Any]) -> None:
    """Raises KeeperError for an instance that cannot be stopped for a while, or must not be."""
    name, state = instance["InstanceId"], instance["State"]["Name"]
    group = next((tag["Value"] for tag in instance.get("Tags", ()) if tag["Key"] == GROUP_TAG), None)
    if group is not None:
        message = f"{context.host}: {name} is a member of the Auto Scaling group {group}, which replaces what stops."
        raise KeeperError("AutoScaling", message, f"{_SEE_NEW} Or detach it from the group.")
    if instance.get("InstanceLifecycle") == "spot":
        message = f"{context.host}: {name} is a Spot Instance, which AWS does not let everybody stop."
        raise KeeperError("SpotInstance", message, _SEE_NEW)
    if instance.get("RootDeviceType", "ebs") != "ebs":
        message = f"{context.host}: the root of {name} is no EBS volume, so it cannot be stopped."
        raise KeeperError("NoVolumes", message, _SEE_NEW)
    if state not in _STEADY:
        message = f"{context.host}: {name} is {state}."
        raise KeeperError("InstanceBusy", message, "Start the operation again when it is running or stopped.")
    ec2 = context.ec2(*place)
    asked = ec2.describe_instance_attribute(InstanceId=name, Attribute="disableApiStop")
    if state == "running" and asked["DisableApiStop"].get("Value"):
        message = f"{context.host}: {name} is protected from being stopped."
        raise KeeperError("StopProtection", message, "Lift its stop protection (DisableApiStop), or restore elsewhere.")


def plan(context: Context, place: Place, instance_id: str, wanted: Mapping[str, str], *, there: bool) -> dict[str, Any]:
    """{instance_id, availability_zone, running, devices, replaced, notes}: what is exchanged, and what is told of it.

    ``wanted`` is the device of each original volume. Where that very volume is attached elsewhere now, that device
    counts. With ``there``, a device without a volume is an error. Raises KeeperError as :func:`check` does.
    """
    instance = describe(context, place, instance_id)
    check(context, place, instance)
    disks = disks_of(instance)
    now = {str(ebs["VolumeId"]): device for device, ebs in disks.items()}
    devices = {original: now.get(original, device) for original, device in wanted.items()}
    replaced = {device: str(disks[device]["VolumeId"]) for device in devices.values() if device in disks}
    free = sorted(set(devices.values()) - replaced.keys())
    if there and free:
        message = f"{context.host}: {instance_id} has no volume at {', '.join(free)} whose place could be taken."
        raise KeeperError("NothingAttached", message, "Name what is there in mayfly_restore_devices, or attach it.")
    return {
        "instance_id": instance_id,
        "availability_zone": instance["Placement"]["AvailabilityZone"],
        "running": instance["State"]["Name"] == "running",
        "devices": devices,
        "replaced": replaced,
        "notes": _notes(instance),
    }


def fill(
    context: Context, place: Place, planned: Mapping[str, Any], made: Mapping[str, str], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """{instance_id, replaced: {device: volume}}: the instance with its restored volumes, checked if it runs.

    The volumes are the user's then, and so are those that they have replaced. Otherwise the instance is as it was
    before. Raises KeeperError as :func:`check` does, and ChecksFailed.
    """
    instance_id = planned["instance_id"]
    instance = describe(context, place, instance_id)
    check(context, place, instance)
    swaps = tuple(swaps_at(disks_of(instance), made, planned["devices"]))
    exchange = Exchange(instance_id, swaps, instance["State"]["Name"] == "running")
    with exchanged(context, place, exchange, float(arguments["timeout"])) as machine:
        if exchange.running:
            said = machine.status(time.monotonic() + float(arguments["boot_timeout"]))
            if said != "ok":
                message = f"{context.host}: {instance_id} fails its status checks with what was restored ({said})."
                raise KeeperError(
                    "ChecksFailed", message, "It has its own volumes again. See mayfly_restore_boot_timeout."
                )
        context.run.check_open()
        restored.give(context, place, made.values())
    replaced = {swap.device: swap.old for swap in swaps if swap.old}
    context.report.set(restored_instance=instance_id, replaced_volumes=replaced)
    return {"instance_id": instance_id, "replaced": replaced}


def _notes(instance: Mapping[str, Any]) -> list[str]:
    """What people should know before it is stopped."""
    owners = {
        each["Association"]["PublicIp"]: each["Association"].get("IpOwnerId")
        for each in instance.get("NetworkInterfaces", ())
        if each.get("Association", {}).get("PublicIp")
    }
    given = sorted(address for address, owner in owners.items() if owner == "amazon")
    return [f"{address} is no Elastic IP address: a stop gives the instance another one." for address in given]
