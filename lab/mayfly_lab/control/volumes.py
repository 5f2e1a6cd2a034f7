# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: files of the block store, disks of hosts."""

from __future__ import annotations

import time
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_block_store import EBSBackend, Volume
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from mayfly_lab import rpc
from mayfly_lab.control import lifecycle
from mayfly_lab.control.snapshots import visible
from mayfly_lab.control.state import Lab, replace

_CREATING_SECONDS = 0.5
_MAXIMUM_GIB = 16384
_create_volume = EBSBackend.create_volume
_delete_volume = EBSBackend.delete_volume
_attach_volume = EBSBackend.attach_volume
_detach_volume = EBSBackend.detach_volume
_modify_volume = EBSBackend.modify_volume
_respond_to_create = ElasticBlockStore.create_volume


def install() -> None:
    """Put these functions into moto."""
    replace(
        EBSBackend,
        create_volume=create_volume,
        delete_volume=delete_volume,
        attach_volume=attach_volume,
        detach_volume=detach_volume,
        modify_volume=modify_volume,
        get_snapshot=get_snapshot,
    )
    replace(ElasticBlockStore, create_volume=respond_to_create)
    replace(Volume, status=property(status))


class _Source:
    """What moto asks of a snapshot when it makes a volume from it."""

    def __init__(self, size: int, encrypted: bool) -> None:
        self.size = size
        self.volume = self
        self.encrypted = encrypted


def get_snapshot(self: Any, snapshot_id: str) -> _Source:
    record = visible(self, snapshot_id)
    return _Source(record.volume_size_gib, record.encrypted)


def create_volume(self: Any, size: int | None, zone_name: str, snapshot_id: str | None = None, **arguments: Any) -> Any:
    """Make a volume, empty or with a snapshot's data."""
    record = visible(self, snapshot_id) if snapshot_id else None
    if record:
        if record.state != "completed":
            raise EC2ClientError("IncorrectState", f"Snapshot is in invalid state - {record.state}")
        if size is not None and int(size) < record.volume_size_gib:
            raise EC2ClientError(
                "InvalidParameterValue", f"The size of a volume can only be increased, not decreased ({snapshot_id})"
            )
    if size is not None and not 1 <= int(size) <= _MAXIMUM_GIB:
        raise EC2ClientError(
            "InvalidParameterValue", f"Volume of {size}GiB is outside the range 1 to {_MAXIMUM_GIB} GiB"
        )
    if arguments.get("volume_type") is None:
        arguments["volume_type"] = "gp2"
    volume = _create_volume(self, int(size) if size else size, zone_name, snapshot_id, **arguments)  # type: ignore[arg-type]
    if record and record.kms_key_id and not arguments.get("kms_key_id"):
        volume.kms_key_id = record.kms_key_id
    volume.snapshot_id = snapshot_id or ""  # empty, as AWS has it, not left out
    Lab.store.create_volume(volume.id, volume.size, snapshot_id)
    volume.lab_made = time.monotonic()  # type: ignore[attr-defined]
    volume.lab_key_refused = Lab.now.key_refused  # type: ignore[attr-defined]
    if volume.volume_type == "gp3" and volume.throughput is None:
        volume.throughput = 125
    return volume


def respond_to_create(self: Any) -> ActionResult:
    """CreateVolume with its client token, which moto ignores."""
    token = self._get_param("ClientToken")
    known = self.ec2_backend.__dict__.setdefault("lab_volume_tokens", {})
    if token and known.get(token) in self.ec2_backend.volumes:
        return ActionResult(self.ec2_backend.volumes[known[token]])
    before = set(self.ec2_backend.volumes)
    result = _respond_to_create(self)
    if token:
        known[token] = next(iter(set(self.ec2_backend.volumes) - before))
    return result


def delete_volume(self: Any, volume_id: str) -> Any:
    volume = _delete_volume(self, volume_id)
    Lab.store.delete_volume(volume_id)
    return volume


def attach_volume(
    self: Any, volume_id: str, instance_id: str, device_path: str, delete_on_termination: bool = False
) -> Any:
    """Attach a volume: at once on a host that runs, else when it boots."""
    volume, instance = self.get_volume(volume_id), self.get_instance(instance_id)
    launched = hasattr(instance, "lab_since")  # else the volume was made with it, and is not told from others yet
    if launched and volume.status != "available":
        if volume.attachment:
            raise EC2ClientError("VolumeInUse", f"{volume_id} is already attached to an instance")
        raise EC2ClientError("IncorrectState", f"Volume '{volume_id}' is not 'available'.")
    if volume.availability_zone != instance.availability_zone:
        raise EC2ClientError(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume_id}' is not in the same availability zone as '{instance_id}'",
        )
    if device_path in instance.block_device_mapping:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{device_path}' for unixDevice: it is in use")
    if lifecycle.has_host(instance):
        _ask("InvalidParameterValue", "attach", instance_id=instance_id, volume_id=volume_id, device=device_path)
    return _attach_volume(self, volume_id, instance_id, device_path, delete_on_termination)


def detach_volume(self: Any, volume_id: str, instance_id: str | None, device_path: str | None) -> Any:
    volume = self.get_volume(volume_id)
    if not volume.attachment:
        raise EC2ClientError("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
    instance = volume.attachment.instance
    device = volume.attachment.device
    if instance_id not in (None, instance.id) or device_path not in (None, "", device):
        raise EC2ClientError(
            "InvalidAttachment.NotFound", f"'{volume_id}' is not attached to '{instance_id}' as '{device_path}'"
        )
    if lifecycle.has_host(instance):
        if device == instance.root_device_name:
            raise EC2ClientError(
                "OperationNotPermitted", f"Unable to detach root volume '{volume_id}' from '{instance.id}'"
            )
        _ask("IncorrectState", "detach", instance_id=instance.id, device=device)
    return _detach_volume(self, volume_id, instance.id, device)


def _ask(code: str, call: str, **arguments: Any) -> None:
    """Have something done to a host; raises an error of that code with the host's reason."""
    try:
        Lab.supervisor.call(call, **arguments)
    except rpc.RpcError as error:
        raise EC2ClientError(code, str(error)) from None


def modify_volume(self: Any, volume_id: str, target_size: int | None = None, *others: Any) -> Any:
    volume = _modify_volume(self, volume_id, target_size, *others)
    if target_size:
        Lab.store.resize_volume(volume_id, int(target_size))
    return volume


def status(self: Any) -> str:
    if self.attachment:
        return "in-use"
    if time.monotonic() < getattr(self, "lab_made", 0.0) + _CREATING_SECONDS:
        return "creating"
    return "error" if getattr(self, "lab_key_refused", False) else "available"
