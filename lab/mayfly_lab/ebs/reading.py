# SPDX-License-Identifier: GPL-3.0-or-later
"""ListSnapshotBlocks, ListChangedBlocks and GetSnapshotBlock."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from mayfly_lab.blocks.files import BLOCK
from mayfly_lab.blocks.store import BlockStore, SnapshotNotFound, SnapshotRecord
from mayfly_lab.ebs import tokens
from mayfly_lab.ebs.errors import denied, invalid, not_found
from mayfly_lab.ebs.faults import Faults

BLOCKS_PER_GIB = (1 << 30) // BLOCK
_LEAST, _MOST = 100, 10_000


@dataclass(frozen=True)
class Caller:
    """Who asks, in which Region."""

    account: str
    region: str


class Reading:
    """The three calls; truth is in the block store."""

    def __init__(self, store: BlockStore, signed: tokens.Tokens, faults: Faults) -> None:
        self._store = store
        self._tokens = signed
        self._faults = faults

    def readable(self, caller: Caller, snapshot_id: str) -> SnapshotRecord:
        """A completed snapshot of the caller's, or shared with it; raises DirectError."""
        try:
            record = self._store.get(snapshot_id)
        except SnapshotNotFound:
            raise not_found(snapshot_id) from None
        if record.region != caller.region:
            raise not_found(snapshot_id)
        if caller.account != record.owner and not {caller.account, "all"} & set(record.shared_with):
            raise denied(f"Account {caller.account} may not read {snapshot_id}.")
        if record.state != "completed":
            raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot {snapshot_id} is not completed.")
        return record

    def list_blocks(self, caller: Caller, snapshot_id: str, query: dict[str, str]) -> dict[str, Any]:
        """GET /snapshots/ID/blocks"""
        record = self.readable(caller, snapshot_id)
        written = self._store.written_blocks(snapshot_id)
        place = f"list {caller.account} {snapshot_id}"
        page, following = self._page(place, written, query)
        blocks = [{"BlockIndex": each, "BlockToken": self._block_token(caller, snapshot_id, each)} for each in page]
        return {"Blocks": blocks, **self._described(record, place, following)}

    def list_changed(self, caller: Caller, second_id: str, query: dict[str, str]) -> dict[str, Any]:
        """GET /snapshots/SECOND/changedblocks"""
        record = self.readable(caller, second_id)
        first_id = query.get("firstSnapshotId")
        first = self.readable(caller, first_id) if first_id else None
        if first and (first.volume_id != record.volume_id or first.start_time > record.start_time):
            raise invalid("UNRELATED_SNAPSHOTS", f"{first_id} is not an older snapshot of the same volume.")
        in_first = set(self._store.written_blocks(first_id)) if first_id else set()
        in_second = set(self._store.written_blocks(second_id))
        changed = list(self._changed(first_id, second_id, in_first, in_second))
        place = f"changed {caller.account} {first_id} {second_id}"
        page, following = self._page(place, changed, query)
        shown = []
        for index in page:
            entry: dict[str, Any] = {"BlockIndex": index}
            if first_id and index in in_first:
                entry["FirstBlockToken"] = self._block_token(caller, first_id, index)
            if index in in_second:
                entry["SecondBlockToken"] = self._block_token(caller, second_id, index)
            shown.append(entry)
        return {"ChangedBlocks": shown, **self._described(record, place, following)}

    def get_block(self, caller: Caller, snapshot_id: str, index: int, token: str) -> tuple[bytes, dict[str, str]]:
        """GET /snapshots/ID/blocks/INDEX: (data, headers)"""
        self.readable(caller, snapshot_id)
        try:
            self._tokens.read(f"block {caller.account} {snapshot_id} {index}", token)
        except tokens.TokenRefused as error:
            raise invalid("INVALID_BLOCK_TOKEN", f"The block token was refused: {error}.") from error
        data = self._store.read_block(snapshot_id, index)
        checksum = base64.b64encode(sha256(data).digest()).decode()
        if index in self._faults.get("corrupt", {}).get(snapshot_id, ()):
            data = bytes([data[0] ^ 1]) + data[1:]
        headers = {
            "x-amz-Data-Length": str(len(data)),
            "x-amz-Checksum": checksum,
            "x-amz-Checksum-Algorithm": "SHA256",
            "Content-Type": "application/octet-stream",
        }
        return data, headers

    def _changed(self, first_id: str | None, second_id: str, in_first: set[int], in_second: set[int]) -> Iterator[int]:
        for index in sorted(in_first | in_second):
            both = first_id is not None and index in in_first and index in in_second
            if both and self._store.read_block(str(first_id), index) == self._store.read_block(second_id, index):
                continue
            yield index

    def _page(self, place: str, indexes: list[int], query: dict[str, str]) -> tuple[list[int], int | None]:
        """(the indexes of a page, where the next begins)"""
        try:
            most = int(query.get("maxResults", _MOST))
            start = int(query.get("startingBlockIndex", 0))
        except ValueError as error:
            raise invalid("INVALID_PARAMETER_VALUE", str(error)) from error
        if not _LEAST <= most <= _MOST:
            raise invalid("INVALID_PARAMETER_VALUE", f"MaxResults must be {_LEAST} to {_MOST}.")
        token = query.get("pageToken")
        if token:
            try:
                start = self._tokens.read(place, token)
            except tokens.TokenRefused as error:
                raise invalid("INVALID_PAGE_TOKEN", f"The page token was refused: {error}.") from error
        elif self._faults.get("empty_pages") and indexes:
            return [], start
        rest = [index for index in indexes if index >= start]
        return rest[:most], rest[most] if len(rest) > most else None

    def _described(self, record: SnapshotRecord, place: str, following: int | None) -> dict[str, Any]:
        seconds = self._faults.get("token_seconds", tokens.BLOCK_SECONDS)
        value: dict[str, Any] = {
            "BlockSize": BLOCK,
            "VolumeSize": record.volume_size_gib,
            "ExpiryTime": int(time.time() + seconds),
        }
        if following is not None:
            page = self._faults.get("token_seconds", tokens.PAGE_SECONDS)
            value["NextToken"] = self._tokens.make(place, following, page)
        return value

    def _block_token(self, caller: Caller, snapshot_id: str, index: int) -> str:
        seconds = self._faults.get("token_seconds", tokens.BLOCK_SECONDS)
        return self._tokens.make(f"block {caller.account} {snapshot_id} {index}", index, seconds)
