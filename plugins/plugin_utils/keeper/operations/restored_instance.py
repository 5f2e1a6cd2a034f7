# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole instance from its restored volumes: a new one in any place, or the very one that was backed up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from .. import elsewhere, originals
from ..context import Context, tag_list
from ..errors import KeeperError
from ..groups import isolated
from ..launch import CandidateFailed, client_token, run_instances
from ..machines import Machine, disks_of
from ..restored import check_tags, delete_snapshots, give, make_volumes, own_tags, place_of, remove
from ..things import Thing
from . import operation
from .restore import settle

ORIGINAL = "original"
_KINDS = ("instance", "volume", "network-interface")
Place = tuple[str, str]


@operation("restored_instance.check")
def check(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{target, site, plan}: what is restored to where; all that would fail when the data has been moved is refused.

    Raises KeeperError as elsewhere.plan, or for the original location as originals.plan does.
    """
    point, target, tags = arguments["restore_point"], dict(arguments["target"]), own_tags(arguments)
    for volume in point["volumes"]:
        check_tags(context, volume["volume_id"], volume["attributes"].get("tags", {}), tags)
    if arguments["location"] == ORIGINAL:
        resource = point["resource"]
        target |= {"account": resource["account"], "region": resource["region"]}
        wanted = {each["volume_id"]: str(each["device"]) for each in point["volumes"]}
        plan = originals.plan(context, place_of(target), str(resource["id"]), wanted, there=False)
    else:
        plan = elsewhere.plan(context, arguments, point)
    target["availability_zone"] = plan["availability_zone"]
    for note in plan["notes"]:
        context.report.warning(KeeperError("NotAsItWas", f"{context.host}: {note}"))
    return {"changed": False, **settle(context, target, point), "plan": plan}


@operation("restored_instance.present")
def present(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed, instance_id, volumes, …}: the instance with its restored volumes, checked; the user's from then on.

    A new one that is ``temporary`` stays the run's. Raises KeeperError for what could not be done; of a new instance
    nothing is left then, and the original one runs with its own volumes as before.
    """
    place, plan = place_of(arguments["target"]), arguments["plan"]
    ends = time.monotonic() + float(arguments["timeout"])
    with context.report.stage("Creating volumes"):
        made = make_volumes(context, arguments, ends)
    with context.report.stage("Restoring the instance"):
        if arguments["location"] == ORIGINAL:
            result = originals.fill(context, place, plan, made, arguments)
        else:
            result = _launched(context, place, arguments, made, ends)
    delete_snapshots(context, place, arguments["snapshots"].values())
    context.report.set(restored_volumes=made, restored_instance=result["instance_id"])
    return {"changed": True, "volumes": made, **result}


@operation("restored_instance.absent")
def absent(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
    """{changed}: whether there was an instance that a run has restored for a while; it goes with all of its volumes."""
    thing = context.run.temporaries.get(str(arguments["instance_id"]))
    if thing is None:
        return {"changed": False}
    remove(context, [thing])
    return {"changed": True}


def _launched(
    context: Context, place: Place, arguments: Mapping[str, Any], made: Mapping[str, str], ends: float
) -> dict[str, Any]:
    """{instance_id, private_ip_address, status}: a new instance that has booted from the volumes."""
    plan = arguments["plan"]
    machine = Machine(context.making(*place), _launch(context, place, plan), context.run.pause)
    machine.wait_for("running", ends)
    machine.stop(ends)
    root = _empty(context, place, machine, ends)
    devices = {made[original]: root if original == plan["root"] else name for original, name in plan["devices"].items()}
    for volume, device in devices.items():
        machine.attach(volume, device, ends)
        machine.keep({device: True})  # until it is the user's, all goes with the instance
    machine.move_to(plan["security_group_ids"])
    if not plan["source_dest_check"]:
        machine.forward()
    machine.start(ends)
    status = machine.status(time.monotonic() + float(arguments["boot_timeout"]))
    if status != "ok":
        message = f"{context.host}: {machine.id} runs, but fails its status checks ({status})."
        remedy = "See its console (GetConsoleOutput) and mayfly_restore_boot_timeout."
        context.report.warning(KeeperError("ChecksFailed", message, remedy))
    described = machine.describe()
    if not arguments.get("temporary"):
        machine.keep(_flags(arguments["restore_point"], devices, made))
        context.run.check_open()
        interfaces = [each["NetworkInterfaceId"] for each in described.get("NetworkInterfaces", ())]
        give(context, place, [machine.id, *interfaces, *made.values()])
    address = described.get("PrivateIpAddress")
    return {"instance_id": machine.id, "private_ip_address": address, "status": status}


def _launch(context: Context, place: Place, plan: Mapping[str, Any]) -> str:
    """The id of an instance of the image, which nothing reaches and which reaches nothing."""
    ec2 = context.making(*place)
    tags = context.tags()

    def group() -> str:
        made = isolated(ec2, plan["vpc_id"], context.run.id, tags)
        context.run.temporaries.add(*place, made, "security-group")
        return made

    group_id = context.run.once(f"isolated {place} {plan['vpc_id']}", group)
    resource = {**(context.resource or {}), "kind": "restored-instance"}
    addresses = dict.fromkeys((plan["private_ip_address"], None))
    for number, address in enumerate(addresses):
        token = client_token(context.run.id, resource, 1, number)
        try:
            instance = run_instances(ec2, _request(plan, group_id, tags, token, address), context.run.pause)
        except CandidateFailed as error:
            message = f"{context.host}: no {plan['instance_type']} could be launched in {plan['subnet_id']}: {error}"
            remedy = "Set mayfly_restore_instance_type or mayfly_restore_subnet_id, or try again later."
            raise KeeperError(error.code, message, remedy) from error
        except KeeperError as error:
            if address is None or error.code != "InvalidIPAddress.InUse":
                raise
            note = f"{context.host}: its address {address} is in use: it gets another one."
            context.report.warning(KeeperError("NotAsItWas", note))
        else:
            context.run.temporaries.add(*place, instance["InstanceId"], "instance")
            return str(instance["InstanceId"])
    raise AssertionError("the last launch asks for no address")


def _request(
    plan: Mapping[str, Any], group_id: str, tags: Mapping[str, str], token: str, address: str | None
) -> dict[str, Any]:
    """RunInstances: no user data, no group but the isolated one, and of the image's disks the root alone."""
    image = plan["image"]
    disks: list[dict[str, Any]] = [
        {"DeviceName": each, "NoDevice": ""} for each in image["devices"] if each != image["root_device_name"]
    ]
    root = {"DeleteOnTermination": True, "Encrypted": True}
    disks.append({"DeviceName": image["root_device_name"], "Ebs": root})
    interface = {"DeviceIndex": 0, "SubnetId": plan["subnet_id"], "Groups": [group_id], "DeleteOnTermination": True}
    own = {kind: {**plan["tags"], **tags} if kind == "instance" else tags for kind in _KINDS}
    return {
        **plan["options"],
        **({"KeyName": plan["key_name"]} if plan["key_name"] else {}),
        **({"IamInstanceProfile": {"Name": plan["instance_profile"]}} if plan["instance_profile"] else {}),
        "ClientToken": token,
        "ImageId": image["id"],
        "InstanceType": plan["instance_type"],
        "MinCount": 1,
        "MaxCount": 1,
        "BlockDeviceMappings": disks,
        "NetworkInterfaces": [{**interface, **({"PrivateIpAddress": address} if address else {})}],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tag_list(each)} for kind, each in own.items()],
    }


def _empty(context: Context, place: Place, machine: Machine, ends: float) -> str:
    """The root device of the stopped instance, once its disks are gone."""
    described = machine.describe()
    for ebs in disks_of(described).values():
        volume = str(ebs["VolumeId"])
        context.run.temporaries.add(*place, volume, "volume")
        machine.detach(volume, ends)
        remove(context, [context.run.temporaries.get(volume) or Thing("volume", volume, *place)])
    return str(described["RootDeviceName"])


def _flags(point: Mapping[str, Any], devices: Mapping[str, str], made: Mapping[str, str]) -> dict[str, bool]:
    """Which volumes go with the instance when it is terminated, as recorded."""
    return {
        devices[made[each["volume_id"]]]: bool(each["attributes"].get("delete_on_termination"))
        for each in point["volumes"]
    }
