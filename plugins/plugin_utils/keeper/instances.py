# SPDX-License-Identifier: GPL-3.0-or-later
"""An EC2 instance as a backup records it, and why some cannot be backed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from ..operations import GIB
from .context import Context
from .errors import KeeperError

_FRESH_SECONDS = 5.0
_GONE = ("terminated", "shutting-down")

_SEE_RESOURCE = "Take the host out of the inventory, or correct its mayfly_resource."


def describe_instance(context: Context, resource: dict[str, Any]) -> dict[str, Any]:
    """{instance, volumes, size_bytes, site}.

    Raises KeeperError InstanceNotFound, NoVolumes, ProductCode or KeyUnusable.
    """
    account, region, instance_id = resource["account"], resource["region"], resource["id"]
    instance = _described(context, account, region, instance_id)
    if instance is None or instance["State"]["Name"] in _GONE:
        message = f"{context.host}: account {account} has no instance {instance_id} in {region}."
        raise KeeperError("InstanceNotFound", message, "Check mayfly_resource, or refresh the inventory.")
    devices = {
        each["Ebs"]["VolumeId"]: each
        for each in instance.get("BlockDeviceMappings", ())
        if each.get("Ebs", {}).get("VolumeId")
    }
    if not devices:
        raise KeeperError("NoVolumes", f"{context.host}: {instance_id} has no EBS volumes to back up.", _SEE_RESOURCE)
    described = context.run.watching.known((account, region), "volume", sorted(devices), _FRESH_SECONDS)
    if len(described) < len(devices):  # not told at the moment: ask for these alone, and hear why
        described = context.ec2(account, region).describe_volumes(VolumeIds=sorted(devices))["Volumes"]
    volumes = [_volume(each, devices[each["VolumeId"]]) for each in described]
    volumes.sort(key=lambda each: str(each["device"]))
    _refuse_product_codes(context, described)
    aws_keys = _check_keys(context, account, region, described)
    zones = {zone.name: zone.id for zone in context.run.pictures.picture(account, region).zones}
    recorded = _instance(instance, zones)
    return {
        "instance": recorded,
        "volumes": volumes,
        "size_bytes": sum(each["size_gib"] for each in volumes) * GIB,
        "site": {
            "account": account,
            "region": region,
            "zone_ids": [recorded["availability_zone_id"]],
            "aws_key_volumes": sorted(each["VolumeId"] for each in described if each.get("KmsKeyId") in aws_keys),
        },
    }


def _described(context: Context, account: str, region: str, instance_id: str) -> Mapping[str, Any] | None:
    """AWS's description, asked for with those of all hosts that want one at the moment; None for no such instance."""
    told = context.run.watching.known((account, region), "instance", [instance_id], _FRESH_SECONDS)
    if told:
        return told[0]
    try:
        found = context.ec2(account, region).describe_instances(InstanceIds=[instance_id])["Reservations"]
    except ClientError as error:
        if not error.response["Error"]["Code"].startswith("InvalidInstanceID"):
            raise
        return None
    return found[0]["Instances"][0] if found else None


def _instance(value: Mapping[str, Any], zones: dict[str, str]) -> dict[str, Any]:
    zone = value["Placement"]["AvailabilityZone"]
    return {
        "instance_id": value["InstanceId"],
        "instance_type": value["InstanceType"],
        "image_id": value["ImageId"],
        "architecture": value.get("Architecture"),
        "availability_zone": zone,
        "availability_zone_id": zones.get(zone),
        "tenancy": value["Placement"].get("Tenancy"),
        "vpc_id": value.get("VpcId"),
        "subnet_id": value.get("SubnetId"),
        "private_ip_address": value.get("PrivateIpAddress"),
        "security_group_ids": [group["GroupId"] for group in value.get("SecurityGroups", ())],
        "key_name": value.get("KeyName"),
        "iam_instance_profile": value.get("IamInstanceProfile", {}).get("Arn"),
        "root_device_name": value.get("RootDeviceName"),
        "ebs_optimized": value.get("EbsOptimized", False),
        "platform": value.get("PlatformDetails"),
        "boot_mode": value.get("CurrentInstanceBootMode") or value.get("BootMode"),
        "monitoring": value.get("Monitoring", {}).get("State") == "enabled",
        "source_dest_check": value.get("SourceDestCheck", True),
        "cpu_options": value.get("CpuOptions") or {},
        "metadata_options": {
            name: each for name, each in (value.get("MetadataOptions") or {}).items() if name != "State"
        },
        "network_interfaces": [_interface(each) for each in value.get("NetworkInterfaces", ())],
        "tags": _tags(value),
    }


def _interface(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "network_interface_id": value["NetworkInterfaceId"],
        "device_index": value.get("Attachment", {}).get("DeviceIndex"),
        "subnet_id": value.get("SubnetId"),
        "private_ip_addresses": [each["PrivateIpAddress"] for each in value.get("PrivateIpAddresses", ())],
        "public_ip_address": value.get("Association", {}).get("PublicIp"),
        "security_group_ids": [group["GroupId"] for group in value.get("Groups", ())],
        "description": value.get("Description") or "",
    }


def _volume(value: Mapping[str, Any], device: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "volume_id": value["VolumeId"],
        "device": device["DeviceName"],
        "size_gib": value["Size"],
        "attributes": {
            "type": value["VolumeType"],
            "iops": value.get("Iops"),
            "throughput": value.get("Throughput"),
            "encrypted": value.get("Encrypted", False),
            "kms_key_id": value.get("KmsKeyId"),
            "delete_on_termination": device["Ebs"].get("DeleteOnTermination", False),
            "tags": _tags(value),
        },
    }


def _tags(value: Mapping[str, Any]) -> dict[str, str]:
    """The user's own tags: AWS's and ours cannot or must not be set again."""
    return {tag["Key"]: tag["Value"] for tag in value.get("Tags", ()) if not tag["Key"].startswith(("aws:", "mayfly:"))}


def _refuse_product_codes(context: Context, volumes: Sequence[Mapping[str, Any]]) -> None:
    """Volumes of Marketplace products cannot be attached to other instances, so a restore would be of no use."""
    for volume in volumes:
        codes = [
            code["ProductCodeId"]
            for code in volume.get("ProductCodes", ())
            if code.get("ProductCodeType") == "marketplace"
        ]
        if codes:
            message = f"{context.host}: {volume['VolumeId']} carries the Marketplace product code {codes[0]}."
            raise KeeperError("ProductCode", message, "AWS lets only instances of that product use it; leave it out.")


def _check_keys(context: Context, account: str, region: str, volumes: Sequence[Mapping[str, Any]]) -> set[str]:
    """Raises KeeperError for a key that cannot be used; returns those that AWS manages, as ``aws/ebs`` is."""
    managed_by_aws: set[str] = set()
    for key in sorted({each["KmsKeyId"] for each in volumes if each.get("KmsKeyId")}):
        about = context.run.once(f"key {account} {region} {key}", partial(_about_key, context, account, region, key))
        state = about["KeyState"]
        if about.get("KeyManager") == "AWS":
            managed_by_aws.add(key)
        if state != "Enabled":
            message = f"{context.host}: the KMS key {key} of its volumes is {state}."
            raise KeeperError("KeyUnusable", message, "Enable the key; without it AWS cannot read the snapshots.")
    return managed_by_aws


def _about_key(context: Context, account: str, region: str, key: str) -> dict[str, Any]:
    about: dict[str, Any] = context.run.clients.client(account, region, "kms").describe_key(KeyId=key)["KeyMetadata"]
    return about
