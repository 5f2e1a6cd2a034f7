# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: what the block store holds, so those made through the EBS direct APIs are seen like all others."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.tags import TagBackend
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from mayfly_lab.blocks.store import SnapshotNotFound, SnapshotRecord
from mayfly_lab.control import filters, lifecycle
from mayfly_lab.control.state import Lab, refuse, replace
from mayfly_lab.refusals import Refusal

log = logging.getLogger(__name__)
_COMPLETION_SECONDS = 1.0
_MAXIMUM_RESULTS = 1000
_create_tags = TagBackend.create_tags
_delete_tags = TagBackend.delete_tags


def install() -> None:
    """Put these functions into moto."""
    replace(
        ElasticBlockStore,
        create_snapshot=create_snapshot,
        create_snapshots=create_snapshots,
        delete_snapshot=delete_snapshot,
        describe_snapshots=describe_snapshots,
        describe_snapshot_attribute=describe_snapshot_attribute,
        modify_snapshot_attribute=modify_snapshot_attribute,
        copy_snapshot=copy_snapshot,
    )
    replace(TagBackend, create_tags=create_tags, delete_tags=delete_tags)


def visible(backend: Any, snapshot_id: str) -> SnapshotRecord:
    """The snapshot, if this account may use it; raises InvalidSnapshot.NotFound."""
    try:
        record = Lab.store.get(snapshot_id)
    except SnapshotNotFound:
        raise _not_found(snapshot_id) from None
    hidden = snapshot_id in Lab.now.hidden
    if hidden or record.region != backend.region_name or not _may_use(record, backend.account_id):
        raise _not_found(snapshot_id)
    return record


def create_snapshot(self: Any) -> ActionResult:
    self.error_on_dryrun()
    volume = self.ec2_backend.get_volume(self._get_param("VolumeId"))
    tags = self._parse_tag_specification().get("snapshot", {})
    record = new_record(self.ec2_backend, volume, self._get_param("Description") or "", tags)
    Lab.store.snapshot_volume(record, volume.id)
    complete_later([record])
    return ActionResult(_shown(record))


def create_snapshots(self: Any) -> ActionResult:
    """All volumes of an instance at one moment: the host stands still while the files are cloned."""
    self.error_on_dryrun()
    wanted = self._get_param("InstanceSpecification", {})
    tags = self._parse_tag_specification().get("snapshot", {})
    backend = self.ec2_backend
    instance = backend.get_instance(wanted["InstanceId"])
    without_root = str(wanted.get("ExcludeBootVolume", False)).lower() == "true"
    left_out = set(wanted.get("ExcludeDataVolumeIds") or wanted.get("ExcludeDataVolumeId") or [])
    volumes = [
        backend.get_volume(disk.volume_id)
        for device, disk in instance.get_block_device_mapping
        if not (without_root and device == instance.root_device_name) and disk.volume_id not in left_out
    ]
    if not volumes:
        raise EC2ClientError("InvalidParameterValue", f"The instance {instance.id} has no volumes to snapshot.")
    copied = self._get_param("CopyTagsFromSource") == "volume"
    records = []
    for volume in volumes:
        own = {tag["key"]: tag["value"] for tag in volume.get_tags()} if copied else {}
        own = {key: value for key, value in own.items() if not key.startswith("aws:")}
        records.append(new_record(backend, volume, self._get_param("Description") or "", {**own, **tags}))
    take(instance, records)
    return ActionResult({"Snapshots": [_shown(record) for record in records]})


def take(instance: Any, records: list[SnapshotRecord], then: Callable[[], None] | None = None) -> None:
    """Make these snapshots of an instance's volumes at one moment, all or none; ``then`` follows their completion."""
    runs = lifecycle.has_host(instance)
    if runs:
        Lab.supervisor.call("freeze", instance_id=instance.id)
    try:
        for record in records:
            Lab.store.snapshot_volume(record, record.volume_id)
    except Exception as error:
        for record in records:
            Lab.store.delete(record.snapshot_id)
        raise refuse(Refusal(500, "InternalError", f"The snapshots were not made: {error}")) from error
    finally:
        if runs:
            Lab.supervisor.call("thaw", instance_id=instance.id)
    complete_later(records, then)


def image_of(backend: Any, snapshot_id: str) -> str | None:
    """The id of the image that a snapshot belongs to, None for none."""
    return next((image.id for image in backend.amis.values() if snapshot_id in image.snapshot_ids), None)


def delete_snapshot(self: Any) -> EmptyResult:
    self.error_on_dryrun()
    snapshot_id = self._get_param("SnapshotId")
    record = visible(self.ec2_backend, snapshot_id)
    if record.owner != self.ec2_backend.account_id:
        raise EC2ClientError("UnauthorizedOperation", f"You are not the owner of {snapshot_id}.")
    image = image_of(self.ec2_backend, snapshot_id)
    if image:
        raise EC2ClientError("InvalidSnapshot.InUse", f"The snapshot {snapshot_id} is currently in use by {image}")
    Lab.store.delete(snapshot_id)
    return EmptyResult()


def describe_snapshots(self: Any) -> ActionResult:
    backend = self.ec2_backend
    wanted = self._get_param("SnapshotIds", [])
    owners = ["self" if owner == "self" else str(owner) for owner in self._get_param("OwnerIds", [])]
    owners = [backend.account_id if owner == "self" else owner for owner in owners]
    restorable = self._get_param("RestorableByUserIds", [])
    if wanted:
        records = [visible(backend, snapshot_id) for snapshot_id in wanted]
    else:
        records = [
            record
            for record in Lab.store.records(region=backend.region_name)
            if _may_use(record, backend.account_id) and record.snapshot_id not in Lab.now.hidden
        ]
    if Lab.now.tags:
        records = [
            dataclasses.replace(record, tags=Lab.now.tags.get(record.snapshot_id, record.tags)) for record in records
        ]
    if owners:
        records = [record for record in records if record.owner in owners]
    if restorable:
        users = [backend.account_id if user == "self" else user for user in restorable]
        records = [record for record in records if any(_may_use(record, user) for user in users)]
    try:
        asked = self._filters_from_querystring()
        records = [record for record in records if filters.matches(_filter_values(record), record.tags, asked)]
    except KeyError as error:
        raise EC2ClientError("InvalidParameterValue", f"The filter {error} is invalid") from None
    records.sort(key=lambda record: record.snapshot_id)
    after = self._get_param("NextToken")
    records = [record for record in records if not after or record.snapshot_id > after]
    size = min(int(self._get_param("MaxResults") or _MAXIMUM_RESULTS), _MAXIMUM_RESULTS)
    page = records[:size]
    token = page[-1].snapshot_id if len(records) > size else None
    return ActionResult({"Snapshots": [_shown(record) for record in page], "NextToken": token})


def describe_snapshot_attribute(self: Any) -> ActionResult:
    record = visible(self.ec2_backend, self._get_param("SnapshotId"))
    shares = [{"Group": "all"} if user == "all" else {"UserId": user} for user in record.shared_with]
    return ActionResult({"SnapshotId": record.snapshot_id, "CreateVolumePermissions": shares})


def modify_snapshot_attribute(self: Any) -> EmptyResult:
    """Share a snapshot, or end that."""
    self.error_on_dryrun()
    record = visible(self.ec2_backend, self._get_param("SnapshotId"))
    if record.owner != self.ec2_backend.account_id:
        raise EC2ClientError("UnauthorizedOperation", f"You are not the owner of {record.snapshot_id}.")
    permission = self._get_param("CreateVolumePermission", {})
    users, groups = self._get_param("UserIds", []), self._get_param("GroupNames", [])
    kind = self._get_param("OperationType")
    added = [*(users + groups if kind == "add" else []), *_named(permission.get("Add", []))]
    removed = [*(users + groups if kind == "remove" else []), *_named(permission.get("Remove", []))]
    if added and record.encrypted and "all" in added:
        raise EC2ClientError("OperationNotPermitted", f"Encrypted snapshot {record.snapshot_id} cannot be public.")
    shares = [user for user in [*record.shared_with, *added] if user not in removed]
    Lab.store.save(dataclasses.replace(record, shared_with=list(dict.fromkeys(shares))))
    return EmptyResult()


def copy_snapshot(_: Any) -> ActionResult:
    raise EC2ClientError("UnsupportedOperation", "The lab does not copy snapshots.")


def create_tags(self: Any, resource_ids: list[str], tags: dict[str, str]) -> bool:
    for snapshot_id in (resource_id for resource_id in resource_ids if resource_id.startswith("snap-")):
        record = visible(self, snapshot_id)
        Lab.store.save(dataclasses.replace(record, tags={**record.tags, **tags}))
    return _create_tags(self, resource_ids, tags)


def delete_tags(self: Any, resource_ids: list[str], tags: dict[str, str | None]) -> bool:
    for snapshot_id in (resource_id for resource_id in resource_ids if resource_id.startswith("snap-")):
        record = visible(self, snapshot_id)
        kept = {key: value for key, value in record.tags.items() if key not in tags or tags[key] not in (None, value)}
        Lab.store.save(dataclasses.replace(record, tags=kept))
    return _delete_tags(self, resource_ids, tags)  # type: ignore[arg-type]


def _may_use(record: SnapshotRecord, account: str) -> bool:
    return record.owner == account or account in record.shared_with or "all" in record.shared_with


def _not_found(snapshot_id: str) -> EC2ClientError:
    return EC2ClientError("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")


def _named(entries: list[dict[str, str]]) -> list[str]:
    return [entry.get("UserId") or entry["Group"] for entry in entries]


def new_id() -> str:
    """The id of a snapshot that is to be made."""
    return f"snap-{secrets.token_hex(9)[:17]}"


def new_record(backend: Any, volume: Any, description: str, tags: dict[str, str]) -> SnapshotRecord:
    """What is to be known of a new snapshot of a volume."""
    return SnapshotRecord(
        snapshot_id=new_id(),
        owner=backend.account_id,
        region=backend.region_name,
        volume_id=volume.id,
        volume_size_gib=volume.size,
        state="pending",
        progress="0%",
        start_time=datetime.now(UTC).isoformat(),
        description=description,
        tags=dict(tags),
        encrypted=bool(volume.encrypted),
        kms_key_id=volume.kms_key_id,
        shared_with=[],
        client_token=None,
        parent_snapshot_id=None,
        from_direct=False,
    )


def complete_later(records: list[SnapshotRecord], then: Callable[[], None] | None = None) -> None:
    """Let snapshots be completed after a while."""

    def complete() -> None:
        time.sleep(_COMPLETION_SECONDS)
        for record in records:
            try:
                latest = Lab.store.get(record.snapshot_id)
            except SnapshotNotFound:
                continue
            Lab.store.save(dataclasses.replace(latest, state="completed", progress="100%"))
        if then:
            then()

    threading.Thread(target=complete, name="snapshots", daemon=True).start()


def _filter_values(record: SnapshotRecord) -> dict[str, str]:
    return {
        "description": record.description,
        "encrypted": str(record.encrypted).lower(),
        "owner-id": record.owner,
        "progress": record.progress,
        "snapshot-id": record.snapshot_id,
        "start-time": record.start_time,
        "status": record.state,
        "volume-id": record.volume_id,
        "volume-size": str(record.volume_size_gib),
    }


def _shown(record: SnapshotRecord) -> dict[str, Any]:
    shown = {
        "SnapshotId": record.snapshot_id,
        "OwnerId": record.owner,
        "VolumeId": record.volume_id,
        "VolumeSize": record.volume_size_gib,
        "State": record.state,
        "Progress": record.progress,
        "StartTime": datetime.fromisoformat(record.start_time),
        "Description": record.description,
        "Encrypted": record.encrypted,
        "StorageTier": "standard",
        "Tags": [{"Key": key, "Value": value} for key, value in record.tags.items()],
    }
    return {**shown, "KmsKeyId": record.kms_key_id} if record.kms_key_id else shown
