# SPDX-License-Identifier: GPL-3.0-or-later
"""RunInstances: client tokens, the image's disks, private addresses that can be used."""

from __future__ import annotations

import copy
import time
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses.instances import InstanceResponse

from mayfly_lab.control import images, launches, lifecycle, quotas, spot
from mayfly_lab.control.attributes import is_true
from mayfly_lab.control.state import replace

_ABSENT = "ABCDE"  # what moto's response code passes when the request had none
_run_instances = InstanceBackend.run_instances
_respond_to_run = InstanceResponse.run_instances
_parse_disks = InstanceResponse._parse_block_device_mapping


def install() -> None:
    """Put these functions into moto."""
    replace(InstanceBackend, run_instances=run_instances)
    # A disk of the image needs no size in a request; moto would refuse that before the two are put together.
    replace(
        InstanceResponse,
        run_instances=respond_to_run,
        _validate_block_device_mapping=staticmethod(lambda _mapping: None),
        _parse_block_device_mapping=_parse_block_device_mapping,
    )
    replace(Subnet, get_available_subnet_ip=get_available_subnet_ip)


def respond_to_run(self: Any) -> Any:
    """RunInstances with its termination protection and its Spot options, which moto does not pass on."""
    self.ec2_backend.lab_protected = is_true(self._get_param("DisableApiTermination"))
    self.ec2_backend.lab_spot_options = self._get_param("InstanceMarketOptions", {}).get("SpotOptions", {})
    return _respond_to_run(self)


def run_instances(
    self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **arguments: Any
) -> Any:
    """Launch; the same client token with the same request gives the same reservation, with another one an error."""
    token = arguments.get("client_token", _ABSENT)
    arguments["disable_api_termination"] = getattr(self, "lab_protected", False)
    options = getattr(self, "lab_spot_options", {})
    request = repr((image_id, count, str(user_data), security_group_names, sorted(arguments.items()), options))
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
    market = "spot" if arguments.get("instance_market_options") == "spot" else "on-demand"
    kind = launches.Kind(str(arguments["instance_type"]), _zone(self, arguments), market)
    images.check_bootable(image, kind.type)
    images.ready(image)
    price = spot.check_options(options, kind.type, kind.zone) if kind.spot else 0.0
    quotas.check(self, kind.type, count, spot=kind.spot)
    launches.check_capacity(kind)
    tags = (arguments.get("tags") or {}).get("spot-instances-request", {})
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
        instance.lab_made = time.monotonic()  # type: ignore[attr-defined]
        instance.client_token = None if token == _ABSENT else token
        _keep_interfaces(instance, arguments.get("nics") or [], arguments.get("tags") or {})
        if kind.spot:
            spot.note(self, instance, price, tags)
        lifecycle.launch(instance, launches.course(kind))
    if token != _ABSENT:
        known[token] = (request, reservation)
    return reservation


def get_available_subnet_ip(self: Any, instance: Any) -> str:
    """The next free address of the subnet: the first four and the last one are Amazon's.

    An address that was given back is the last to be given again, so that nobody mistakes a new host for an old one.
    """
    first, last = 4, self.cidr.num_addresses - 2
    at = getattr(self, "lab_next_address", first)
    for number in (*range(at, last + 1), *range(first, at)):
        text = str(self.cidr[number])
        if text not in self._subnet_ips:
            self._subnet_ips[text] = instance
            self._unused_ips.discard(text)
            self.lab_next_address = number + 1
            return text
    raise EC2ClientError("InsufficientFreeAddressesInSubnet", f"The subnet {self.id} has no free addresses.")


def _default_subnet(backend: Any, zone: str | None) -> str:
    subnets = sorted(backend.get_default_subnets().items())
    for name, subnet in subnets:
        if zone in (None, name):
            return str(subnet.id)
    raise EC2ClientError("MissingInput", "No default subnet: specify a subnet.")


def _zone(backend: Any, arguments: dict[str, Any]) -> str:
    """The Availability Zone that a launch asks for."""
    subnets = [arguments.get("subnet_id"), *(nic.get("SubnetId") for nic in arguments.get("nics") or [])]
    subnet = next((each for each in subnets if each), None)
    return str(backend.get_subnet(subnet).availability_zone if subnet else arguments.get("placement") or "")


def _keep_interfaces(instance: Any, asked: list[dict[str, Any]], tags: dict[str, dict[str, str]]) -> None:
    """A network interface made with an instance has its tags, and goes with it unless the request says otherwise."""
    wanted = {int(nic["DeviceIndex"]): nic for nic in asked}
    for index, interface in instance.nics.items():
        nic = wanted.get(index, {})
        given = nic.get("DeleteOnTermination")
        interface.delete_on_termination = is_true(given) if given is not None else "NetworkInterfaceId" not in nic
        if "NetworkInterfaceId" not in nic:
            interface.add_tags(tags.get("network-interface", {}))


def _parse_block_device_mapping(self: Any) -> list[dict[str, Any]]:
    """As moto does, but what a request leaves open stays so: the image's own disk has other defaults than a new one."""
    mappings = _parse_disks(self)
    for parsed, asked in zip(mappings, self._get_param("BlockDeviceMappings", []), strict=True):
        for name in ("DeleteOnTermination", "Encrypted"):
            parsed["Ebs"][name] = asked.get("Ebs", {}).get(name)
    return mappings


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
    for disk in disks.values():
        for name in ("DeleteOnTermination", "Encrypted"):
            disk.get("Ebs", {})[name] = bool(disk.get("Ebs", {}).get(name))
    return list(disks.values())
