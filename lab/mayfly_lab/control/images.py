# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine image of the lab, under the name and owner of Debian's official ones."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.amis import Ami, AmiBackend

from mayfly_lab.blocks.store import SnapshotRecord
from mayfly_lab.control.state import Lab, replace
from mayfly_lab.image import SIZE_GIB

OWNER = "136693071363"  # Debian's account: wiki.debian.org/Cloud/AmazonEC2Image
NAME = "debian-12-amd64-20261101-0001"
_CREATED = datetime(2026, 11, 1, tzinfo=UTC)
ROOT_DEVICE = "/dev/xvda"


class LabImage(Ami):
    """An image whose snapshot is a file of the block store."""

    def __init__(self, backend: Any, region: str) -> None:  # moto's own would make an empty snapshot
        unique = hashlib.sha256(f"{NAME} {region}".encode()).hexdigest()[:17]
        self.ec2_backend = backend
        self.id = f"ami-{unique}"
        self.snapshot_id = f"snap-{unique}"
        self.state = "available"
        self.name = NAME
        self.image_type = "machine"
        self.image_location = f"{OWNER}/{NAME}"
        self.owner_id = OWNER
        self.owner_alias = None
        self.description = "Debian 12 of the lab"
        self.virtualization_type = "hvm"
        self.architecture = "x86_64"
        self.kernel_id = None
        self.platform = None
        self.hypervisor = "xen"
        self.root_device_name = ROOT_DEVICE
        self.root_device_type = "ebs"
        self.sriov = "simple"
        self.creation_date = _CREATED
        self.product_codes = set()
        self.boot_mode = "uefi-preferred"
        self.instance_id = None
        self.launch_permissions = [{"Group": "all"}]

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        disk = {"SnapshotId": self.snapshot_id, "VolumeSize": SIZE_GIB, "VolumeType": "gp3"}
        return [{"DeviceName": ROOT_DEVICE, "Ebs": {**disk, "DeleteOnTermination": True, "Encrypted": False}}]


def install() -> None:
    """Replace moto's list of images."""

    def load(self: Any) -> None:
        image = LabImage(self, self.region_name)
        self.amis[image.id] = image

    def refuse(*_: Any, **__: Any) -> None:
        raise EC2ClientError("UnsupportedOperation", "The lab does not make machine images.")

    replace(AmiBackend, _load_amis=load, create_image=refuse, copy_image=refuse)


def put_snapshots(regions: tuple[str, ...]) -> None:
    """Put the machine image's disk into the block store, as the snapshot of each Region's image."""
    for region in regions:
        snapshot_id = LabImage(None, region).snapshot_id
        record = SnapshotRecord(
            snapshot_id=snapshot_id,
            owner=OWNER,
            region=region,
            volume_id="vol-ffffffff",
            volume_size_gib=SIZE_GIB,
            state="completed",
            progress="100%",
            start_time=_CREATED.isoformat(),
            description=f"Snapshot of {NAME}",
            tags={},
            encrypted=False,
            kms_key_id=None,
            shared_with=["all"],
            client_token=None,
            parent_snapshot_id=None,
            from_direct=False,
        )
        Lab.store.put_base_image(Lab.paths.run / "image", record)
