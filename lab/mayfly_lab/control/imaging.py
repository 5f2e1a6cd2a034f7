# SPDX-License-Identifier: GPL-3.0-or-later
"""CreateImage, CopyImage and DeregisterImage: an image is snapshots of volumes, and what is said of it."""

from __future__ import annotations

import copy
import dataclasses
import logging
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.utils import random_ami_id

from mayfly_lab.blocks.files import clone
from mayfly_lab.blocks.store import SnapshotRecord
from mayfly_lab.control import lifecycle, snapshots
from mayfly_lab.control.attributes import is_true
from mayfly_lab.control.images import LabImage
from mayfly_lab.control.state import Lab, replace

log = logging.getLogger(__name__)
_SHORTEST_NAME, _LONGEST_NAME = 3, 128
_deregister_image = AmisResponse.deregister_image


def install() -> None:
    """Put these functions into moto."""
    replace(AmisResponse, create_image=create_image, copy_image=copy_image, deregister_image=deregister_image)


def create_image(self: Any) -> ActionResult:
    """An image of an instance: of a running one once its host is off, in a reboot, or at once with NoReboot."""
    self.error_on_dryrun()
    backend = self.ec2_backend
    instance = backend.get_instance(self._get_param("InstanceId"))
    if instance.state_code not in (lifecycle.RUNNING, lifecycle.STOPPED):
        raise EC2ClientError("IncorrectState", f"Instance '{instance.id}' is not 'running' or 'stopped'.")
    name = _checked_name(backend, self._get_param("Name"))
    tags = self._parse_tag_specification()
    image_id = random_ami_id()
    changes = {each["DeviceName"]: each for each in self._get_param("BlockDeviceMappings", [])}
    records, disks = [], []
    for device, disk in instance.get_block_device_mapping:
        change = changes.get(device, {})
        if "NoDevice" in change and device != instance.root_device_name:
            continue
        volume = backend.get_volume(disk.volume_id)
        text = f"Created by CreateImage({instance.id}) for {image_id}"
        record = snapshots.new_record(backend, volume, text, tags.get("snapshot", {}))
        records.append(record)
        disks.append({"DeviceName": device, "Ebs": {**_described(volume, record, disk), **change.get("Ebs", {})}})
    image = LabImage(
        backend,
        image_id,
        name,
        disks=disks,
        owner=backend.account_id,
        architecture=instance.architecture,
        description=self._get_param("Description") or "",
        state="pending",
        root_device=instance.root_device_name,
        instance_id=instance.id,
    )
    image.add_tags(tags.get("image", {}))
    backend.amis[image_id] = image

    def take() -> None:
        try:
            snapshots.take(instance, records, then=lambda: _is_ready(image))
        except Exception:  # of the image alone: whoever reboots the host goes on
            log.exception("%s of %s was not made", image_id, instance.id)
            image.state = "failed"

    if instance.state_code == lifecycle.RUNNING and not is_true(self._get_param("NoReboot")):
        lifecycle.reboot(instance, when_off=take)
    else:
        take()
    return ActionResult({"ImageId": image_id})


def copy_image(self: Any) -> ActionResult:
    """An image with snapshots of its own, of one in this or another Region of the account."""
    self.error_on_dryrun()
    backend = self.ec2_backend
    name = _checked_name(backend, self._get_param("Name"))
    there: Any = ec2_backends[backend.account_id][self._get_param("SourceRegion")]
    source = there.describe_images(ami_ids=[self._get_param("SourceImageId")])[0]
    if source.state != "available":
        raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{source.id}' is not available")
    tags = self._parse_tag_specification()
    image_id = random_ami_id()
    of_snapshots = tags.get("snapshot", {})
    disks, records = copy.deepcopy(source.block_device_mappings), []
    for disk in disks:
        record = _copied(backend, disk["Ebs"]["SnapshotId"], f"Copied for {image_id} from {source.id}", of_snapshots)
        disk["Ebs"]["SnapshotId"] = record.snapshot_id
        records.append(record)
    image = LabImage(
        backend,
        image_id,
        name,
        disks=disks,
        owner=backend.account_id,
        architecture=source.architecture,
        description=self._get_param("Description") or source.description,
        state="pending",
        root_device=source.root_device_name,
    )
    own = {tag["key"]: tag["value"] for tag in source.get_tags()} if is_true(self._get_param("CopyImageTags")) else {}
    image.add_tags({**own, **tags.get("image", {})})
    backend.amis[image_id] = image
    snapshots.complete_later(records, then=lambda: _is_ready(image))
    return ActionResult({"ImageId": image_id})


def deregister_image(self: Any) -> ActionResult:
    """As moto does, of one's own images, and with its snapshots if that is asked."""
    image = self.ec2_backend.amis.get(self._get_param("ImageId"))
    if image is not None and image.owner_id != self.ec2_backend.account_id:
        raise EC2ClientError("AuthFailure", f"Not authorized for image:{image.id}")
    answer: ActionResult = _deregister_image(self)
    if image is not None and is_true(self._get_param("DeleteAssociatedSnapshots")):
        for snapshot_id in image.snapshot_ids:
            if not snapshots.image_of(self.ec2_backend, snapshot_id):
                Lab.store.delete(snapshot_id)
    return answer


def _checked_name(backend: Any, name: str) -> str:
    """The name, which no other image of the account has; raises what EC2 says to another one."""
    if not _SHORTEST_NAME <= len(name) <= _LONGEST_NAME:
        message = f"AMI names must be between {_SHORTEST_NAME} and {_LONGEST_NAME} characters long"
        raise EC2ClientError("InvalidAMIName.Malformed", message)
    for other in backend.amis.values():
        if (other.name, other.owner_id) == (name, backend.account_id):
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {other.id}")
    return name


def _described(volume: Any, record: SnapshotRecord, disk: Any) -> dict[str, Any]:
    return {
        "SnapshotId": record.snapshot_id,
        "VolumeSize": volume.size,
        "VolumeType": volume.volume_type,
        "DeleteOnTermination": bool(disk.delete_on_termination),
        "Encrypted": bool(volume.encrypted),
    }


def _copied(backend: Any, snapshot_id: str, text: str, tags: dict[str, str]) -> SnapshotRecord:
    source = Lab.store.get(snapshot_id)
    record = dataclasses.replace(
        source,
        snapshot_id=snapshots.new_id(),
        owner=backend.account_id,
        region=backend.region_name,
        volume_id="vol-ffffffff",  # as AWS shows it of a copy
        state="pending",
        progress="0%",
        start_time=datetime.now(UTC).isoformat(),
        description=text,
        tags=dict(tags),
        shared_with=[],
        client_token=None,
    )
    clone(Lab.store.snapshot_path(snapshot_id), Lab.store.snapshot_path(record.snapshot_id))
    Lab.store.save(record)
    return record


def _is_ready(image: LabImage) -> None:
    if image.state == "pending":
        image.state = "available"
