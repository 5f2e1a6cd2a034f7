# SPDX-License-Identifier: GPL-3.0-or-later
"""What an instance is to be in a new place: recorded values, each with its override, checked before data is moved."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from ..placement.picture import Picture, Subnet
from . import aws, images
from .context import Context
from .errors import KeeperError
from .restored import check_tags, own_tags, place_of

#: An override that says: none at all.
NONE = "none"
_WINDOWS = "Windows"
_SEE_IMAGE = "Name one of its architecture and platform in mayfly_restore_image: only its name to AWS counts."
_METADATA = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "InstanceMetadataTags")


@dataclass
class Wish:
    """A request for a new instance: the options of the task, the restore point, and whether that is its own place.

    ``home`` says that the target is the instance's own account and Region, where what was recorded may still be.
    ``notes`` are told to people: what cannot be as it was.
    """

    context: Context
    options: Mapping[str, Any]
    point: Mapping[str, Any]
    picture: Picture
    notes: list[str] = field(default_factory=list)

    @property
    def recorded(self) -> Mapping[str, Any]:
        """What the restore point knows of the instance."""
        value: Mapping[str, Any] = self.point["settings"]
        return value

    @property
    def place(self) -> tuple[str, str]:
        """(account, Region) of the target."""
        return place_of(self.options["target"])

    @property
    def same_account(self) -> bool:
        """Whether it stays in its account."""
        return bool(self.place[0] == self.point["resource"]["account"])

    @property
    def home(self) -> bool:
        """Whether it stays in its account and Region."""
        return bool(self.place == (self.point["resource"]["account"], self.point["resource"]["region"]))

    def given(self, name: str) -> Any:
        """An option, None when it was not given."""
        return self.options.get(name) or None

    def refuse(self, code: str, message: str, remedy: str) -> KeeperError:
        """An error about this host."""
        return KeeperError(code, f"{self.context.host} cannot be restored: {message}", remedy)


def plan(context: Context, options: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """All that a launch needs to know, and ``notes``; raises KeeperError for what cannot be."""
    account, region = place_of(options["target"])
    kind = str(options.get("instance_type") or point["settings"]["instance_type"])
    picture = context.run.pictures.picture(account, region, [kind])
    wish = Wish(context, options, point, picture)
    root = _root(wish)
    subnet = _subnet(wish)
    _check_type(wish, kind, subnet)
    tags = {**(wish.recorded.get("tags") or {}), **own_tags(options)}
    if name := wish.given("name"):
        tags["Name"] = str(name)
    check_tags(context, "the instance", tags, {})
    interfaces = wish.recorded.get("network_interfaces") or ()
    if len(interfaces) > 1:
        wish.notes.append(f"It had {len(interfaces)} network interfaces; it gets one.")
    image = _image(wish)
    return {
        "image": image,
        "instance_type": kind,
        "subnet_id": subnet.id,
        "vpc_id": subnet.vpc_id,
        "availability_zone": picture.zone_name(subnet.zone_id),
        "security_group_ids": _groups(wish, subnet),
        "private_ip_address": _address(wish, subnet),
        "key_name": _key(wish),
        "instance_profile": _profile(wish),
        "options": _options(wish, kind),
        "source_dest_check": wish.recorded.get("source_dest_check", True),
        "tags": tags,
        "root": root,
        "devices": _devices(wish, root, image["root_device_name"]),
        "notes": wish.notes,
    }


def _root(wish: Wish) -> str:
    """The id of the original root volume."""
    device = wish.recorded.get("root_device_name")
    found = next((each["volume_id"] for each in wish.point["volumes"] if each["device"] == device), None)
    if found is None:
        message = f"the restore point has no volume at {device}, its root."
        raise wish.refuse("NoRootVolume", message, "Restore its volumes alone with volume_restore.")
    return str(found)


def _subnet(wish: Wish) -> Subnet:
    wanted = wish.given("subnet_id") or (wish.recorded.get("subnet_id") if wish.home else None)
    found = next((each for each in wish.picture.subnets if each.id == wanted), None)
    remedy = "Set mayfly_restore_subnet_id to a subnet of the target's account and Region."
    if found is None:
        message = f"there is no subnet {wanted}." if wanted else "its own subnet is not in the target's place."
        raise wish.refuse("NoSubnet", message, remedy)
    zone = wish.options["target"].get("availability_zone")
    if zone and wish.picture.zone_id(zone) != found.zone_id:
        name = wish.picture.zone_name(found.zone_id)
        raise wish.refuse("NoSubnet", f"the subnet {found.id} is in {name}, not in {zone}.", remedy)
    if found.free_addresses < 1:
        raise wish.refuse("NoSubnet", f"the subnet {found.id} has no free address.", remedy)
    return found


def _groups(wish: Wish, subnet: Subnet) -> list[str]:
    given = wish.given("security_group_ids")
    wanted = list(given or wish.recorded.get("security_group_ids") or ())
    remedy = f"Set mayfly_restore_security_group_ids to groups of {subnet.vpc_id}."
    if not given and (not wish.home or subnet.vpc_id != wish.recorded.get("vpc_id")):
        raise wish.refuse("NoGroups", f"its own security groups are not in {subnet.vpc_id}.", remedy)
    known = {each: wish.picture.security_group(each) for each in wanted}
    wrong = [each for each, group in known.items() if group is None or group.vpc_id != subnet.vpc_id]
    if wrong or not wanted:
        raise wish.refuse("NoGroups", f"{subnet.vpc_id} has no security group {', '.join(wrong) or 'named'}.", remedy)
    return wanted


def _check_type(wish: Wish, kind: str, subnet: Subnet) -> None:
    offered = wish.picture.instance_types.get(kind)
    remedy = "Set mayfly_restore_instance_type."
    if offered is None or subnet.zone_id not in offered.zone_ids:
        where = wish.picture.zone_name(subnet.zone_id)
        raise wish.refuse("NoInstanceType", f"AWS offers no {kind} in {where}.", remedy)
    architecture = wish.recorded.get("architecture")
    if architecture and offered.architecture != architecture:
        raise wish.refuse("NoInstanceType", f"it is for {architecture}, {kind} is {offered.architecture}.", remedy)


def _image(wish: Wish) -> dict[str, Any]:
    """The image that the instance is launched from, of which nothing stays: {id, root_device_name, devices}."""
    setting = wish.given("image") or {"id": wish.recorded["image_id"]}
    ec2 = wish.context.ec2(*wish.place)
    try:
        found = images.resolve(ec2, setting, wish.recorded.get("architecture") or "x86_64")
    except (KeeperError, ClientError) as error:
        if not (isinstance(error, KeeperError) and error.code == "NoImage") and not aws.is_gone(error):
            raise
        named = ", ".join(str(each) for each in setting.values())
        raise wish.refuse("NoImage", f"{wish.place[1]} has no image {named} that fits.", _SEE_IMAGE) from error
    described = ec2.describe_images(ImageIds=[found.id])["Images"][0]
    theirs, ours = str(described.get("PlatformDetails") or ""), str(wish.recorded.get("platform") or "")
    if theirs and ours and (_WINDOWS in theirs) != (_WINDOWS in ours):
        raise wish.refuse("NoImage", f"the image {found.id} is for {theirs}, the instance for {ours}.", _SEE_IMAGE)
    mode, boots = described.get("BootMode"), wish.recorded.get("boot_mode")
    if mode in ("uefi", "legacy-bios") and boots and mode != boots:
        raise wish.refuse("NoImage", f"the image {found.id} boots by {mode}, the instance by {boots}.", _SEE_IMAGE)
    devices = [each["DeviceName"] for each in described.get("BlockDeviceMappings") or ()]
    return {"id": found.id, "root_device_name": found.root_device_name, "devices": devices}


def _devices(wish: Wish, root: str, root_device: str) -> dict[str, str]:
    """The device of each original volume; the root's is what the image calls it."""
    found = {each["volume_id"]: str(each["device"]) for each in wish.point["volumes"]}
    found[root] = root_device
    if len(set(found.values())) < len(found):
        message = f"a data volume has the image's root device {root_device}."
        raise wish.refuse("NoImage", message, _SEE_IMAGE)
    return found


def _address(wish: Wish, subnet: Subnet) -> str | None:
    """The recorded private address, if it is asked for and free."""
    address = wish.recorded.get("private_ip_address")
    if not wish.options.get("keep_address") or not address:
        return None
    if subnet.cidr and ipaddress.ip_address(address) not in ipaddress.ip_network(subnet.cidr):
        wish.notes.append(f"Its address {address} is not one of {subnet.id}: it gets another one.")
        return None
    filters = [
        {"Name": "addresses.private-ip-address", "Values": [address]},
        {"Name": "subnet-id", "Values": [subnet.id]},
    ]
    ec2 = wish.context.ec2(*wish.place)
    if list(aws.pages(ec2, "describe_network_interfaces", "NetworkInterfaces", Filters=filters)):
        wish.notes.append(f"Its address {address} is in use: it gets another one.")
        return None
    return str(address)


def _key(wish: Wish) -> str | None:
    given, recorded = wish.given("key_name"), wish.recorded.get("key_name")
    wanted = given or recorded
    if not wanted or given == NONE:
        return None
    ec2 = wish.context.ec2(*wish.place)
    try:
        ec2.describe_key_pairs(KeyNames=[wanted])
    except ClientError as error:
        if not aws.is_gone(error):
            raise
        if given:
            message = f"{wish.place[1]} has no key pair {wanted}."
            raise wish.refuse("NoKeyPair", message, "Set mayfly_restore_key_name, or to none.") from error
        # What its root volume lets in stays let in, whatever AWS calls the key.
        wish.notes.append(f"Its key pair {wanted} is not there: it is launched without one.")
        return None
    return str(wanted)


def _profile(wish: Wish) -> str | None:
    """The name of an instance profile that is there."""
    given, recorded = wish.given("instance_profile"), wish.recorded.get("iam_instance_profile")
    if given == NONE or not (given or recorded):
        return None
    if not given and not wish.same_account:
        wish.notes.append(f"Its instance profile {recorded} is of another account: it gets none.")
        return None
    name = str(given or recorded).rpartition("/")[2]
    iam = wish.context.run.clients.client(*wish.place, "iam")
    try:
        iam.get_instance_profile(InstanceProfileName=name)
    except ClientError as error:
        if aws.code_of(error) != "NoSuchEntity":
            raise
        message = f"account {wish.place[0]} has no instance profile {name}."
        raise wish.refuse("NoInstanceProfile", message, "Set mayfly_restore_instance_profile, or to none.") from error
    return name


def _options(wish: Wish, kind: str) -> dict[str, Any]:
    """Other parameters of RunInstances, as they were recorded."""
    recorded = wish.recorded
    found: dict[str, Any] = {}
    if recorded.get("ebs_optimized"):
        found["EbsOptimized"] = True
    if recorded.get("monitoring"):
        found["Monitoring"] = {"Enabled": True}
    if recorded.get("tenancy") == "dedicated":
        found["Placement"] = {"Tenancy": "dedicated"}
    metadata = recorded.get("metadata_options") or {}
    if metadata:
        found["MetadataOptions"] = {name: metadata[name] for name in _METADATA if name in metadata}
    cpu = recorded.get("cpu_options") or {}
    # AWS takes them of some types alone, so those that a type has by itself are not asked for.
    vcpus = (cpu.get("CoreCount") or 0) * (cpu.get("ThreadsPerCore") or 0)
    if vcpus not in (0, wish.picture.instance_types[kind].vcpus) and kind == recorded.get("instance_type"):
        found["CpuOptions"] = {name: cpu[name] for name in ("CoreCount", "ThreadsPerCore") if name in cpu}
    return found
