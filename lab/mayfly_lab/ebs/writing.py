# SPDX-License-Identifier: GPL-3.0-or-later
"""StartSnapshot, PutSnapshotBlock and CompleteSnapshot."""

from __future__ import annotations

import base64
import json
import logging
import os
import secrets
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from mayfly_lab.blocks.files import BLOCK, clone
from mayfly_lab.blocks.store import GIB, BlockStore, SnapshotNotFound, SnapshotRecord
from mayfly_lab.ebs.errors import DirectError, denied, invalid, not_found
from mayfly_lab.ebs.reading import BLOCKS_PER_GIB, Caller, Reading
from mayfly_lab.faults import Fault, Faults

log = logging.getLogger(__name__)
_SUM = 32
# https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-permissions.html: 100 pending snapshots an account.
_PENDING = 100
_LARGEST_GIB = 65_536
# https://docs.aws.amazon.com/ebs/latest/APIReference/API_StartSnapshot.html: of Timeout, Description and Tags.
_TIMEOUT_MINUTES = 60
_TIMEOUTS = range(10, 4321)
_DESCRIPTION, _TAGS, _TAG_KEY, _TAG_VALUE = 255, 50, 127, 255
# CompleteSnapshot begins what ends later; AWS names no time. The lab's CreateSnapshot takes as long.
SEALING_SECONDS = 1.0


_MISSING_SECONDS = 120.0  # of a fault that does not say


class Writing:
    """The three calls.

    Beside the data of a snapshot that takes blocks lie the request that started it and the checksum of each block
    that was put; without the checksums it takes no more.
    """

    def __init__(self, store: BlockStore, reading: Reading, faults: Faults, sealing_seconds: float) -> None:
        self._store = store
        self._reading = reading
        self._faults = faults
        self._sealing_seconds = sealing_seconds
        self._starting = threading.Lock()

    def start(self, caller: Caller, value: dict[str, Any]) -> dict[str, Any]:
        """POST /snapshots"""
        size = value.get("VolumeSize")
        if not isinstance(size, int) or not 1 <= size <= _LARGEST_GIB:
            raise invalid("INVALID_VOLUME_SIZE", f"VolumeSize {size!r} is not 1 to {_LARGEST_GIB} GiB.")
        _check(value)
        wanted = {name: each for name, each in value.items() if name != "ClientToken"}
        with self._starting:
            token = value.get("ClientToken")
            mine = self._store.records(caller.account, caller.region)
            known = next((each for each in mine if token and each.client_token == token), None)
            if known:
                if self._request(known) != wanted:
                    raise DirectError(409, "ConflictException", None, "The client token was used for another request.")
                return _described(known)
            if sum(each.from_direct and each.state == "pending" for each in mine) >= _PENDING:
                message = f"At most {_PENDING} snapshots may be pending."
                raise DirectError(400, "ConcurrentLimitExceededException", None, message)
            return _described(self._make(caller, value, wanted))

    def put(self, caller: Caller, snapshot_id: str, index: int, headers: dict[str, str], data: bytes) -> dict[str, str]:
        """PUT /snapshots/ID/blocks/INDEX: the headers of the answer"""
        record = self._pending("PutSnapshotBlock", caller, snapshot_id)
        if not 0 <= index < record.volume_size_gib * BLOCKS_PER_GIB:
            raise invalid("INVALID_BLOCK", f"The volume has no block {index}.")
        if len(data) != BLOCK or headers.get("x-amz-data-length") != str(BLOCK):
            raise invalid("INVALID_PARAMETER_VALUE", f"A block has {BLOCK} bytes.")
        if headers.get("x-amz-checksum-algorithm") != "SHA256":
            raise invalid("INVALID_PARAMETER_VALUE", "The checksum's algorithm must be SHA256.")
        digest = sha256(data).digest()
        checksum = base64.b64encode(digest).decode()
        if headers.get("x-amz-checksum") != checksum:
            raise invalid("INVALID_PARAMETER_VALUE", "The checksum is not that of the data.")
        try:
            with self._sums(snapshot_id).open("r+b") as sums:  # first: a sealed snapshot has none
                with self._store.snapshot_path(snapshot_id).open("r+b") as image:
                    os.pwrite(image.fileno(), data, index * BLOCK)
                os.pwrite(sums.fileno(), digest, index * _SUM)
        except FileNotFoundError:  # sealed or deleted while the block came in
            raise _not_pending(snapshot_id) from None
        return {"x-amz-Checksum": checksum, "x-amz-Checksum-Algorithm": "SHA256"}

    def complete(self, caller: Caller, snapshot_id: str, headers: dict[str, str]) -> dict[str, Any]:
        """POST /snapshots/completion/ID"""
        self._pending("CompleteSnapshot", caller, snapshot_id)
        with self._store.locked(snapshot_id):
            record = self._pending("CompleteSnapshot", caller, snapshot_id)
            sums = self._sums(snapshot_id).read_bytes()
            put = [sums[at : at + _SUM] for at in range(0, len(sums), _SUM) if any(sums[at : at + _SUM])]
            if headers.get("x-amz-changedblockscount") != str(len(put)):
                raise invalid("INVALID_PARAMETER_VALUE", f"ChangedBlocksCount is wrong: {len(put)} blocks were put.")
            checksum = headers.get("x-amz-checksum")
            if checksum:
                methods = headers.get("x-amz-checksum-algorithm"), headers.get("x-amz-checksum-aggregation-method")
                if methods != ("SHA256", "LINEAR"):
                    raise invalid("INVALID_PARAMETER_VALUE", "The checksum must be SHA256, aggregated LINEAR.")
                if base64.b64encode(sha256(b"".join(put)).digest()).decode() != checksum:
                    raise invalid("INVALID_PARAMETER_VALUE", "The checksum is not that of the blocks that were put.")
            self._sums(snapshot_id).unlink()
            self._store.save(replace(record, progress="100%"))
        sealing = threading.Timer(self._sealing_seconds, self._seal, (snapshot_id,))
        sealing.daemon = True
        sealing.start()
        return {"Status": "pending"}

    def _seal(self, snapshot_id: str) -> None:
        try:
            self._store.get(snapshot_id)
            with self._store.locked(snapshot_id) as record:
                self._store.save(replace(record, state="completed"))
        except SnapshotNotFound:
            log.info("%s was deleted before it was complete", snapshot_id)

    def _make(self, caller: Caller, value: dict[str, Any], wanted: dict[str, Any]) -> SnapshotRecord:
        parent_id = value.get("ParentSnapshotId")
        parent = self._reading.readable(caller, parent_id) if parent_id else None
        if parent and parent.volume_size_gib > value["VolumeSize"]:
            raise invalid("INVALID_VOLUME_SIZE", "The volume is smaller than that of the parent snapshot.")
        # https://docs.aws.amazon.com/ebs/latest/userguide/ebsapis-using-encryption.html
        if parent and ("Encrypted" in value or value.get("KmsKeyArn")):
            raise invalid("INVALID_PARAMETER_VALUE", "A parent snapshot decides on the encryption: give neither.")
        snapshot_id = f"snap-{secrets.token_hex(9)[:17]}"
        record = SnapshotRecord(
            snapshot_id=snapshot_id,
            owner=caller.account,
            region=caller.region,
            volume_id=parent.volume_id if parent else "vol-ffffffff",
            volume_size_gib=value["VolumeSize"],
            state="pending",
            progress="0%",
            start_time=datetime.now(UTC).isoformat(),
            description=value.get("Description") or "",
            tags={each["Key"]: each.get("Value", "") for each in value.get("Tags") or ()},
            encrypted=bool(value.get("Encrypted") or value.get("KmsKeyArn") or (parent and parent.encrypted)),
            kms_key_id=value.get("KmsKeyArn") or (parent.kms_key_id if parent else None),
            client_token=value.get("ClientToken"),
            parent_snapshot_id=parent_id,
            from_direct=True,
            root_snapshot_id=parent.root_snapshot_id if parent else snapshot_id,
        )
        path = self._store.snapshot_path(snapshot_id)
        if parent_id:
            clone(self._store.snapshot_path(parent_id), path)
        else:
            path.touch()
        os.truncate(path, record.volume_size_gib * GIB)
        self._sums(snapshot_id).write_bytes(b"")
        self._request_path(snapshot_id).write_text(json.dumps(wanted))
        self._store.save(record)
        return record

    def _request(self, record: SnapshotRecord) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self._request_path(record.snapshot_id).read_text())
        return value

    def _pending(self, call: str, caller: Caller, snapshot_id: str) -> SnapshotRecord:
        try:
            record = self._store.get(snapshot_id)
        except SnapshotNotFound:
            raise not_found(snapshot_id) from None
        age = datetime.now(UTC) - datetime.fromisoformat(record.start_time)

        def is_young(fault: Fault) -> bool:
            return age.total_seconds() < (_MISSING_SECONDS if fault.seconds is None else fault.seconds)

        missing = self._faults.take("snapshot-missing", caller.request(call, snapshot_id), is_young)
        if record.region != caller.region or missing:
            raise not_found(snapshot_id)
        if record.owner != caller.account:
            raise denied(f"Account {caller.account} does not own {snapshot_id}.")
        if record.state != "pending" or self._takes_none(record):
            raise _not_pending(snapshot_id)
        return record

    def _takes_none(self, record: SnapshotRecord) -> bool:
        """Whether it never took blocks, is sealed, or its Timeout has passed since the last one: an error for good."""
        try:
            idle = time.time() - self._sums(record.snapshot_id).stat().st_mtime
        except FileNotFoundError:
            return True
        if idle < 60 * _TIMEOUTS[0] or idle < 60 * self._request(record).get("Timeout", _TIMEOUT_MINUTES):
            return False
        self._store.save(replace(record, state="error"))
        return True

    def _request_path(self, snapshot_id: str) -> Path:
        return self._store.snapshot_path(snapshot_id).with_suffix(".request")

    def _sums(self, snapshot_id: str) -> Path:
        return self._store.snapshot_path(snapshot_id).with_suffix(".sums")


def _not_pending(snapshot_id: str) -> DirectError:
    return invalid("INVALID_SNAPSHOT_ID", f"The snapshot {snapshot_id} is not pending.")


def _check(value: dict[str, Any]) -> None:
    """Raises DirectError for what StartSnapshot does not take."""
    if value.get("Timeout", _TIMEOUT_MINUTES) not in _TIMEOUTS:
        raise invalid("INVALID_PARAMETER_VALUE", f"Timeout must be {_TIMEOUTS[0]} to {_TIMEOUTS[-1]} minutes.")
    if len(value.get("Description") or "") > _DESCRIPTION:
        raise invalid("INVALID_PARAMETER_VALUE", f"Description has at most {_DESCRIPTION} characters.")
    tags = value.get("Tags") or []
    keys = {each.get("Key") or "" for each in tags}
    good = all(0 < len(key) <= _TAG_KEY and not key.startswith("aws:") for key in keys)
    if not good or len(keys) != len(tags) or any(len(each.get("Value", "")) > _TAG_VALUE for each in tags):
        raise invalid(
            "INVALID_TAG", "A tag's key is missing, reserved, too long or given twice, or its value too long."
        )
    if len(tags) > _TAGS:
        raise invalid("INVALID_TAG", f"A snapshot has at most {_TAGS} tags.")


def _described(record: SnapshotRecord) -> dict[str, Any]:
    value = {
        "SnapshotId": record.snapshot_id,
        "OwnerId": record.owner,
        "Status": record.state,
        "StartTime": datetime.fromisoformat(record.start_time).timestamp(),
        "VolumeSize": record.volume_size_gib,
        "BlockSize": BLOCK,
        "Description": record.description,
        "Tags": [{"Key": key, "Value": each} for key, each in record.tags.items()],
        "ParentSnapshotId": record.parent_snapshot_id,
        "KmsKeyArn": record.kms_key_id,
    }
    return {name: each for name, each in value.items() if each is not None}
