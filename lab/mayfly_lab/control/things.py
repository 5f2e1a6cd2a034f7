# SPDX-License-Identifier: GPL-3.0-or-later
"""The resources of one account and Region as IAM's policies see them, out of moto's state and the block store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.iam.models import iam_backends

from mayfly_lab.blocks.store import SnapshotNotFound
from mayfly_lab.control.state import Lab
from mayfly_lab.iam.checks import Context, Place
from mayfly_lab.iam.things import Thing, arn, kind_of


class Present:
    """`mayfly_lab.iam.things.Things` of a backend, under the lock."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._place = Place(backend.account_id, backend.region_name)

    def get(self, identity: str) -> Thing:
        kind = kind_of(identity) or "instance"
        tags: Mapping[str, str] = dict(self._backend.tags.get(identity, {}))
        if kind == "snapshot":
            return self._snapshot(identity)
        keys = {
            "instance": self._instance,
            "volume": self._volume,
            "subnet": self._subnet,
            "security-group": self._in_vpc,
            "network-interface": self._interface,
            "image": self._image,
            "vpc": self._vpc,
        }.get(kind)
        return Thing(kind, identity, tags, keys(identity) if keys else {})

    def volumes(self, instance_id: str) -> list[str]:
        instance = self._backend.get_instance_by_id(instance_id)
        return [disk.volume_id for _, disk in instance.get_block_device_mapping] if instance else []

    def root_disk(self, image_id: str) -> Mapping[str, str]:
        image = self._backend.amis.get(image_id)
        for disk in image.block_device_mappings if image else []:
            if disk["DeviceName"] == image.root_device_name:
                return {"DeviceName": disk["DeviceName"], **{name: str(each) for name, each in disk["Ebs"].items()}}
        return {}

    def default_vpc(self) -> str | None:
        return next((vpc.id for vpc in self._backend.vpcs.values() if vpc.is_default), None)

    def default_subnet(self, zone: str | None) -> str | None:
        subnets = sorted(self._backend.get_default_subnets().items())
        return next((str(subnet.id) for name, subnet in subnets if zone in (None, name)), None)

    def default_group(self, vpc_id: str) -> str | None:
        return next((each.id for each in self._backend.groups.get(vpc_id, {}).values() if each.name == "default"), None)

    def group_named(self, name: str) -> str | None:
        groups = self._backend.groups.get(self.default_vpc(), {})
        return next((str(each.id) for each in groups.values() if each.name == name), None)

    def role_of_profile(self, profile: str) -> str | None:
        profiles = iam_backends[self._place.account]["aws"].instance_profiles.values()
        found = next((each for each in profiles if profile in (each.name, each.arn)), None)
        return next((str(role.arn) for role in found.roles), None) if found else None

    def _instance(self, identity: str) -> Context:
        instance = self._backend.get_instance_by_id(identity)
        if instance is None:
            return {}
        options = instance.metadata_options
        return {
            "ec2:AvailabilityZone": str(instance.availability_zone),
            "ec2:InstanceType": str(instance.instance_type),
            "ec2:EbsOptimized": str(bool(instance.ebs_optimized)).lower(),
            "ec2:RootDeviceType": "ebs",
            "ec2:Tenancy": "default",
            "ec2:InstanceMarketType": "spot" if instance.lifecycle == "spot" else "on-demand",
            "ec2:MetadataHttpTokens": str(options.http_tokens),
            "ec2:MetadataHttpEndpoint": str(options.http_endpoint),
            "ec2:MetadataHttpPutResponseHopLimit": str(options.http_put_response_hop_limit),
        }

    def _volume(self, identity: str) -> Context:
        volume = self._backend.volumes.get(identity)
        if volume is None:
            return {}
        keys: Context = {
            "ec2:AvailabilityZone": str(volume.zone.name),
            "ec2:Encrypted": str(bool(volume.encrypted)).lower(),
            "ec2:VolumeSize": str(volume.size),
            "ec2:VolumeType": str(volume.volume_type),
        }
        keys |= {"ec2:VolumeIops": str(volume.iops)} if volume.iops else {}
        keys |= {"ec2:VolumeThroughput": str(volume.throughput)} if volume.throughput else {}
        keys |= {"ec2:KmsKeyId": volume.kms_key_id} if volume.kms_key_id else {}
        source = volume.snapshot_id
        return {**keys, **({"ec2:ParentSnapshot": arn(self._place, "snapshot", source)} if source else {})}

    def _snapshot(self, identity: str) -> Thing:
        try:
            record = Lab.store.get(identity)
        except SnapshotNotFound:
            return Thing("snapshot", identity)
        keys: Context = {
            "ec2:Encrypted": str(record.encrypted).lower(),
            "ec2:Owner": record.owner,
            "ec2:ParentVolume": arn(self._place, "volume", record.volume_id),
            "ec2:SnapshotTime": record.start_time,
            "ec2:VolumeSize": str(record.volume_size_gib),
        }
        keys |= {"ec2:KmsKeyId": record.kms_key_id} if record.kms_key_id else {}
        # Tags of a snapshot are its owner's alone.
        own = record.owner == self._place.account
        return Thing("snapshot", identity, record.tags if own else {}, keys)

    def _subnet(self, identity: str) -> Context:
        subnet = next((each[identity] for each in self._backend.subnets.values() if identity in each), None)
        if subnet is None:
            return {}
        return {
            "ec2:AvailabilityZone": str(subnet.availability_zone),
            "ec2:Vpc": arn(self._place, "vpc", subnet.vpc_id),
        }

    def _in_vpc(self, identity: str) -> Context:
        group = self._backend.get_security_group_from_id(identity)
        return {"ec2:Vpc": arn(self._place, "vpc", group.vpc_id)} if group else {}

    def _interface(self, identity: str) -> Context:
        interface = self._backend.enis.get(identity)
        if interface is None:
            return {}
        subnet = str(interface.subnet.id)
        return {**self._subnet(subnet), "ec2:Subnet": arn(self._place, "subnet", subnet)}

    def _image(self, identity: str) -> Context:
        image = self._backend.amis.get(identity)
        if image is None:
            return {}
        public = {"Group": "all"} in image.launch_permissions or getattr(image, "is_public", False)
        return {
            "ec2:ImageType": "machine",
            "ec2:Owner": str(image.owner_alias or image.owner_id),
            "ec2:Public": str(bool(public)).lower(),
            "ec2:RootDeviceType": str(image.root_device_type),
        }

    def _vpc(self, identity: str) -> Context:
        vpc = self._backend.vpcs.get(identity)
        return {"ec2:Tenancy": str(vpc.instance_tenancy)} if vpc else {}
