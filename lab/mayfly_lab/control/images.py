# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine images of the lab: Debian's official ones by name and owner, and those that its users make."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.instance_types import INSTANCE_TYPES

from mayfly_lab.blocks.store import SnapshotRecord
from mayfly_lab.control.state import Lab, replace
from mayfly_lab.image import SIZE_GIB
from mayfly_lab.own_kernel.image import AMI_NAME, AMI_OWNER, DISK

OWNER = "136693071363"  # Debian's account: wiki.debian.org/Cloud/AmazonEC2Image
ROOT_DEVICE = "/dev/xvda"
_CREATED = datetime(2026, 11, 1, tzinfo=UTC)
_BOOTABLE = "x86_64"
_SHOWN = ("description", "hypervisor", "image_type", "root_device_name", "root_device_type")  # moto does not filter by


@dataclass(frozen=True)
class Entry:
    """An image that every account sees in every Region."""

    name: str
    architecture: str
    description: str
    owner: str = OWNER
    own_kernel: bool = False

    def unique(self, region: str) -> str:
        """What its id, and that of its snapshot, end with."""
        return hashlib.sha256(f"{self.name} {region}".encode()).hexdigest()[:17]


CATALOGUE = (
    Entry("debian-12-amd64-20261101-0001", "x86_64", "Debian 12 of the lab"),
    Entry("debian-12-arm64-20261101-0001", "arm64", "Debian 12 that the lab lists and cannot boot"),
    Entry(AMI_NAME, "x86_64", "Debian 12 of the lab with a kernel of its own", AMI_OWNER, own_kernel=True),
)


class LabImage(Ami):
    """An image whose snapshots are files of the block store; ``disks`` are its block device mappings."""

    def __init__(  # moto's own would make an empty snapshot
        self,
        backend: Any,
        image_id: str,
        name: str,
        *,
        disks: list[dict[str, Any]],
        owner: str,
        architecture: str = _BOOTABLE,
        description: str = "",
        state: str = "available",
        public: bool = False,
        created: datetime | None = None,
        root_device: str = ROOT_DEVICE,
        instance_id: str | None = None,
    ) -> None:
        self.ec2_backend = backend
        self.id = image_id
        self.disks = disks
        self.state = state
        self.name = name
        self.image_type = "machine"
        self.image_location = f"{owner}/{name}"
        self.owner_id = owner
        self.owner_alias = None
        self.description = description
        self.virtualization_type = "hvm"
        self.architecture = architecture
        self.kernel_id = None
        self.platform = None
        self.hypervisor = "xen"
        self.root_device_name = root_device
        self.root_device_type = "ebs"
        self.sriov = "simple"
        self.creation_date = created or datetime.now(UTC)
        self.product_codes = set()
        self.boot_mode = "uefi-preferred"
        self.instance_id = instance_id
        self.launch_permissions = [{"Group": "all"}] if public else []

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        return self.disks

    @property
    def snapshot_ids(self) -> list[str]:
        """The snapshots that its disks are made from."""
        return [disk["Ebs"]["SnapshotId"] for disk in self.disks if "SnapshotId" in disk.get("Ebs", {})]

    def get_filter_value(self, filter_name: str, method_name: str | None = None) -> Any:
        name = filter_name.replace("-", "_")
        return getattr(self, name) if name in _SHOWN else super().get_filter_value(filter_name, method_name)


def install() -> None:
    """Replace moto's list of images."""

    def load(self: Any) -> None:
        self.amis.update({image.id: image for image in (_listed(self, each) for each in CATALOGUE)})

    def refuse(*_: Any, **__: Any) -> None:
        raise EC2ClientError("UnsupportedOperation", "The lab makes machine images of instances and images alone.")

    replace(AmiBackend, _load_amis=load, register_image=refuse)


def check_bootable(image: Any, instance_type: str) -> None:
    """Raises what EC2 says to a launch from an image that is not ready or not for this type, and what the lab says."""
    if image.state != "available":
        raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available")
    able = INSTANCE_TYPES.get(instance_type, {}).get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    if able and image.architecture not in able:
        message = (
            f"The architecture '{', '.join(able)}' of the specified instance type does not match the architecture "
        )
        message += f"'{image.architecture}' of the specified AMI. Specify an instance type and an AMI that have "
        raise EC2ClientError("InvalidParameterValue", message + "matching architectures, and try again.")
    if image.architecture != _BOOTABLE:
        message = f"{image.id} is for {image.architecture}, and the lab boots {_BOOTABLE} alone."
        raise EC2ClientError("Unsupported", message)


def put_snapshots(regions: tuple[str, ...]) -> None:
    """Put the ordinary machine image's disk into the block store, as the snapshot of each Region's images."""
    for region in regions:
        for entry in CATALOGUE:
            if not entry.own_kernel:
                _put(entry, region, Lab.paths.run / "image")


def ready(image: Any) -> None:
    """Before the disks of an image are made: put those of the one with its own kernel into the store at its first use.

    Raises what the lab says as long as that image is not built.
    """
    region = image.ec2_backend.region_name
    for entry in CATALOGUE:
        if entry.own_kernel and image.id == f"ami-{entry.unique(region)}":
            disk = Lab.paths.own_kernel / DISK
            if not disk.exists():
                raise EC2ClientError("Unsupported", f"{image.id} is not built: `lab up --own-kernel` does that.")
            if not Lab.store.snapshot_path(f"snap-{entry.unique(region)}").exists():
                _put(entry, region, disk)


def _put(entry: Entry, region: str, disk: Path) -> None:
    record = SnapshotRecord(
        snapshot_id=f"snap-{entry.unique(region)}",
        owner=entry.owner,
        region=region,
        volume_id="vol-ffffffff",
        volume_size_gib=SIZE_GIB,
        state="completed",
        progress="100%",
        start_time=_CREATED.isoformat(),
        description=f"Snapshot of {entry.name}",
        shared_with=["all"],
    )
    Lab.store.put_base_image(disk, record)


def _listed(backend: Any, entry: Entry) -> LabImage:
    unique = entry.unique(backend.region_name)
    disk = {"SnapshotId": f"snap-{unique}", "VolumeSize": SIZE_GIB, "VolumeType": "gp3"}
    return LabImage(
        backend,
        f"ami-{unique}",
        entry.name,
        disks=[{"DeviceName": ROOT_DEVICE, "Ebs": {**disk, "DeleteOnTermination": True, "Encrypted": False}}],
        owner=entry.owner,
        architecture=entry.architecture,
        description=entry.description,
        public=True,
        created=_CREATED,
    )
