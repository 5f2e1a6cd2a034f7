# SPDX-License-Identifier: GPL-3.0-or-later
"""RunInstances: client tokens, the image's disks, private addresses that can be used."""

from __future__ import annotations

import copy
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses.instances import InstanceResponse

from mayfly_lab.control import lifecycle
from mayfly_lab.control.state import replace

_ABSENT = "ABCDE"  # what moto's response code passes when the request had none
_run_instances = InstanceBackend.run_instances


def install() -> None:
    """Put these functions into moto."""
    replace(InstanceBackend, run_instances=run_instances)
    # A disk of the image needs no size in a request; moto would refuse that before the two are put together.
    replace(InstanceResponse, _validate_block_device_mapping=staticmethod(lambda _mapping: None))
    replace(Subnet, get_available_subnet_ip=get_available_subnet_ip)


def run_instances(
    self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **arguments: Any
) -> Any:
    """Launch; the same client token with the same request gives the same reservation, with another one an error."""
    token = arguments.get("client_token", _ABSENT)
    request = repr(
        (image_id, count, str(user_data), security_group_names, sorted(arguments.items(), key=lambda item: item[0]))
    )
    known = self.__dict__.setdefault("lab_client_tokens", {})
    if token != _ABSENT and token in known:
        before, reservation = known[token]
        if before != request:
            raise EC2ClientError(
                "IdempotentParameterMismatch", f"The client token '{token}' has been used with different parameters."
            )
        return reservation
    image = self.describe_images(ami_ids=[image_id])[0]
    if not arguments.get("subnet_id") and not arguments.get("nics"):
        arguments["subnet_id"] = _default_subnet(self, arguments.get("placement"))
    arguments["block_device_mappings"] = _disks(image, arguments.get("block_device_mappings") or [])
    reservation = _run_instances(self, image_id, count, user_data, security_group_names, **copy.copy(arguments))
    settings = {disk["DeviceName"]: disk["Ebs"] for disk in arguments["block_device_mappings"] if disk.get("Ebs")}
    for instance in reservation.instances:
        for device, disk in instance.block_device_mapping.items():
            volume = self.get_volume(disk.volume_id)
            wanted = settings.get(device, {})
            volume.iops = int(wanted.get("Iops") or volume.iops or 3000)
            volume.throughput = int(wanted.get("Throughput") or 125)
        if not security_group_names and not instance.security_groups:
            instance.security_groups = list(instance.nics[0].group_set)
        lifecycle.launch(instance)
    if token != _ABSENT:
        known[token] = (request, reservation)
    return reservation


def get_available_subnet_ip(self: Any, instance: Any) -> str:
    """The lowest free address of the subnet: the first four and the last one are Amazon's."""
    usable = list(self.cidr)[4:-1]
    for address in usable:
        text = str(address)
        if text not in self._subnet_ips:
            self._subnet_ips[text] = instance
            self._unused_ips.discard(text)
            return text
    raise EC2ClientError("InsufficientFreeAddressesInSubnet", f"The subnet {self.id} has no free addresses.")


def _default_subnet(backend: Any, zone: str | None) -> str:
    subnets = sorted(backend.get_default_subnets().items())
    for name, subnet in subnets:
        if zone in (None, name):
            return str(subnet.id)
    raise EC2ClientError("MissingInput", "No default subnet: specify a subnet.")


def _disks(image: Any, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The image's disks, each as the request changes it, then the request's own."""
    disks = {disk["DeviceName"]: copy.deepcopy(disk) for disk in image.block_device_mappings}
    for change in wanted:
        device = change["DeviceName"]
        if device in disks:
            disks[device]["Ebs"].update(
                {key: value for key, value in change.get("Ebs", {}).items() if value not in (None, "")}
            )
        else:
            ebs = change.get("Ebs", {})
            if not change.get("NoDevice") and not ebs.get("VolumeSize") and not ebs.get("SnapshotId"):
                raise EC2ClientError("MissingParameter", "The request must contain the parameter size or snapshotId")
            disks[device] = copy.deepcopy(change)
            disks[device].get("Ebs", {}).setdefault("VolumeType", "gp3")
    return list(disks.values())
