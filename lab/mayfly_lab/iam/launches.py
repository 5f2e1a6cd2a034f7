# SPDX-License-Identifier: GPL-3.0-or-later
"""What RunInstances must be allowed to do: every resource that it uses and makes, each by itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mayfly_lab.iam.checks import Check, Context, Place, request_tags
from mayfly_lab.iam.parameters import Parameters
from mayfly_lab.iam.things import Thing, Things, arn

_CALL = "ec2:RunInstances"
_DISK_KEYS = {
    "VolumeSize": "ec2:VolumeSize",
    "VolumeType": "ec2:VolumeType",
    "Iops": "ec2:VolumeIops",
    "Throughput": "ec2:VolumeThroughput",
}
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html: the values of a request win,
# then the account's; what is left is optional tokens and one hop.
_METADATA = {
    "MetadataOptions.HttpTokens": ("ec2:MetadataHttpTokens", "optional"),
    "MetadataOptions.HttpEndpoint": ("ec2:MetadataHttpEndpoint", "enabled"),
    "MetadataOptions.HttpPutResponseHopLimit": ("ec2:MetadataHttpPutResponseHopLimit", "1"),
    "MetadataOptions.InstanceMetadataTags": ("ec2:InstanceMetadataTags", "disabled"),
}


def checks(parameters: Parameters, place: Place, things: Things) -> Iterator[Check]:
    """Image, instance, network interfaces, security groups, subnets, volumes, and what else the request names."""
    tags = parameters.tag_specifications()
    interfaces = parameters.groups("NetworkInterface")
    subnets = _subnets(parameters, interfaces, things)
    zone = parameters.get("Placement.AvailabilityZone")
    zone = zone or next((_text(things.get(each), "ec2:AvailabilityZone") for each in subnets), None)
    image = parameters.get("ImageId") or ""
    yield _existing(place, things.get(image))
    yield _made(place, "instance", {**_instance(parameters, place), **_in_zone(zone)}, tags)
    for keys_of_it in _interfaces(parameters, interfaces, subnets, place, things):
        yield _made(place, "network-interface", keys_of_it, tags)
    named = [nic.get("NetworkInterfaceId") for nic in interfaces]
    used = [*subnets, *_groups(parameters, interfaces, subnets, things), *(each for each in named if each)]
    used += [snapshot for disk in parameters.groups("BlockDeviceMapping") for snapshot in disk.all("Ebs.SnapshotId")]
    used += [template for template in [parameters.get("LaunchTemplate.LaunchTemplateId")] if template]
    yield from (_existing(place, things.get(identity)) for identity in dict.fromkeys(used))
    for each in _disks(parameters, image, things):
        yield _made(place, "volume", {**disk(each, place, things), **_in_zone(zone)}, tags)
    yield from _named(parameters, place, tags, things)


def disk(parameters: Parameters, place: Place, things: Things) -> Context:
    """The conditions of a volume that is made with these settings (of CreateVolume, or below ``Ebs``)."""
    snapshot = parameters.get("SnapshotId")
    source = things.get(snapshot).keys if snapshot else {}
    encrypted = (parameters.get("Encrypted") or "").lower() == "true" or source.get("ec2:Encrypted") == "true"
    found: Context = {"ec2:Encrypted": str(encrypted).lower(), "ec2:VolumeType": "gp2"}
    found |= {"ec2:VolumeSize": source["ec2:VolumeSize"]} if "ec2:VolumeSize" in source else {}
    found |= {key: value for name, key in _DISK_KEYS.items() if (value := parameters.get(name))}
    found |= {"ec2:ParentSnapshot": arn(place, "snapshot", snapshot)} if snapshot else {}
    key = parameters.get("KmsKeyId")
    return {**found, **({"ec2:KmsKeyId": key} if key else {})}


def keys(call: str, parameters: Parameters, things: Things) -> Iterator[tuple[str, str | None]]:
    """(KMS key, key of the snapshot it is made from) of each encrypted volume that a launch or CreateVolume makes."""
    launched = call == "RunInstances"
    for each in _disks(parameters, parameters.get("ImageId") or "", things) if launched else [parameters]:
        snapshot = each.get("SnapshotId")
        source = _text(things.get(snapshot), "ec2:KmsKeyId") if snapshot else None
        key = each.get("KmsKeyId") or source
        if key:
            yield key, source


def interface(subnet: Thing, place: Place) -> Context:
    """The conditions of a network interface that is made in a subnet."""
    keys: Context = {key: subnet.keys[key] for key in ("ec2:AvailabilityZone", "ec2:Vpc") if key in subnet.keys}
    return {"ec2:Subnet": arn(place, "subnet", subnet.identity), **keys}


def _existing(place: Place, thing: Thing) -> Check:
    return Check(_CALL, arn(place, thing.kind, thing.identity), place.account, thing.context(place))


def _made(place: Place, kind: str, context: Context, tags: Mapping[str, dict[str, str]]) -> Check:
    more = {"ec2:Region": place.region, **request_tags(tags.get(kind, {}))}
    return Check(_CALL, arn(place, kind), place.account, {**context, **more})


def _in_zone(zone: str | None) -> Context:
    return {"ec2:AvailabilityZone": zone} if zone else {}


def _text(thing: Thing, key: str) -> str | None:
    value = thing.keys.get(key)
    return value if isinstance(value, str) else None


def _instance(parameters: Parameters, place: Place) -> Context:
    found: Context = {
        "ec2:InstanceType": parameters.get("InstanceType") or "m1.small",
        "ec2:EbsOptimized": (parameters.get("EbsOptimized") or "false").lower(),
        "ec2:RootDeviceType": "ebs",
        "ec2:Tenancy": parameters.get("Placement.Tenancy") or "default",
        "ec2:InstanceMarketType": parameters.get("InstanceMarketOptions.MarketType") or "on-demand",
    }
    found |= {key: parameters.get(name) or default for name, (key, default) in _METADATA.items()}
    profile = parameters.get("IamInstanceProfile.Arn", "IamInstanceProfile.Name")
    if profile:
        is_arn = profile.startswith("arn:")
        name = profile if is_arn else f"arn:aws:iam::{place.account}:instance-profile/{profile}"
        found["ec2:InstanceProfile"] = name
    return found


def _subnets(parameters: Parameters, interfaces: list[Parameters], things: Things) -> list[str]:
    named = [*parameters.all("SubnetId"), *(subnet for nic in interfaces for subnet in nic.all("SubnetId"))]
    if named or any(nic.get("NetworkInterfaceId") for nic in interfaces):
        return list(dict.fromkeys(named))
    default = things.default_subnet(parameters.get("Placement.AvailabilityZone"))
    return [default] if default else []


def _groups(parameters: Parameters, interfaces: list[Parameters], subnets: list[str], things: Things) -> list[str]:
    named = [*parameters.all("SecurityGroupId"), *(each for nic in interfaces for each in nic.all("SecurityGroupId"))]
    named += [group for name in parameters.all("SecurityGroup") if (group := things.group_named(name))]
    if named or any(nic.get("NetworkInterfaceId") for nic in interfaces):
        return named
    vpcs = [(_text(things.get(subnet), "ec2:Vpc") or "").rpartition("/")[2] for subnet in subnets]
    return [group for vpc in vpcs if (group := things.default_group(vpc))]


def _interfaces(
    parameters: Parameters, interfaces: list[Parameters], subnets: list[str], place: Place, things: Things
) -> Iterator[Context]:
    """The conditions of each network interface that the launch makes."""
    for nic in interfaces or [parameters]:
        if nic.get("NetworkInterfaceId"):
            continue
        subnet = nic.get("SubnetId") or next(iter(subnets), None)
        public = nic.get("AssociatePublicIpAddress")
        found = interface(things.get(subnet), place) if subnet else {}
        yield {**found, **({"ec2:AssociatePublicIpAddress": public.lower()} if public else {})}


def _disks(parameters: Parameters, image: str, things: Things) -> Iterator[Parameters]:
    """The settings of each volume that the launch makes: the image's root, as the request changes it, and others."""
    asked = parameters.groups("BlockDeviceMapping")
    root = dict(things.root_disk(image))
    device = root.pop("DeviceName", None)
    if device is not None and not any(each.get("DeviceName") == device for each in asked):
        yield Parameters(root.items())
    for each in asked:
        ebs = {name.removeprefix("Ebs."): value for name, value in each.named() if name.startswith("Ebs.")}
        if each.get("DeviceName") == device:
            ebs = {**root, **ebs}
        if ebs:
            yield Parameters(ebs.items())


def _named(parameters: Parameters, place: Place, tags: Mapping[str, dict[str, str]], things: Things) -> Iterator[Check]:
    """A key pair, the request for Spot capacity, and the role that the instance is to have."""
    region: Context = {"ec2:Region": place.region}
    name = parameters.get("KeyName")
    if name:
        yield Check(_CALL, arn(place, "key-pair", name), place.account, {"ec2:KeyPairName": name, **region})
    if tags.get("spot-instances-request"):
        yield _made(place, "spot-instances-request", {}, tags)
    profile = parameters.get("IamInstanceProfile.Arn", "IamInstanceProfile.Name")
    role = things.role_of_profile(profile) if profile else None
    if role:
        yield Check("iam:PassRole", role, role.split(":")[4], {"iam:PassedToService": "ec2.amazonaws.com"})
