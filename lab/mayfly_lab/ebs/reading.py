# SPDX-License-Identifier: GPL-3.0-or-later
"""ListSnapshotBlocks, ListChangedBlocks and GetSnapshotBlock.

Where AWS's documentation leaves a choice: a block that was written in both snapshots is listed as changed only when
its bytes differ (AWS may list more), and one that was written in only one of them always; the first snapshot must be
the older one.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mayfly_lab.blocks.files import BLOCK
from mayfly_lab.blocks.store import BlockStore, SnapshotNotFound, SnapshotRecord
from mayfly_lab.ebs import tokens
from mayfly_lab.ebs.digests import Digests
from mayfly_lab.ebs.errors import check_id, denied, invalid, not_found
from mayfly_lab.faults import Fault, Faults, Request

BLOCKS_PER_GIB = (1 << 30) // BLOCK
# https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-faq.html: asked for less than 100, AWS still gives 100.
_LEAST, _MOST = 100, 10_000


@dataclass(frozen=True)
class Caller:
    """Who asks, in which Region."""

    account: str
    region: str

    def request(self, call: str, *resources: str) -> Request:
        """What faults are matched against."""
        return Request("ebs", call, self.account, self.region, resources)


class Reading:
    """The three calls; truth is in the block store."""

    def __init__(self, store: BlockStore, signed: tokens.Tokens, faults: Faults) -> None:
        self._store = store
        self._digests = Digests(store)
        self._tokens = signed
        self._faults = faults

    def readable(self, caller: Caller, snapshot_id: str) -> SnapshotRecord:
        """A completed snapshot of the caller's, or shared with it by name; raises DirectError.

        What everybody may use is not readable by this: "Public snapshots are not supported by the EBS direct APIs"
        (https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-elements.html).
        """
        check_id(snapshot_id)
        try:
            record = self._store.get(snapshot_id)
        except SnapshotNotFound:
            raise not_found(snapshot_id) from None
        if record.region != caller.region:
            raise not_found(snapshot_id)
        if caller.account != record.owner and caller.account not in record.shared_with:
            raise denied(f"Account {caller.account} may not read {snapshot_id}.")
        if record.state != "completed":
            raise invalid("INVALID_SNAPSHOT_ID", f"The snapshot {snapshot_id} is not completed.")
        return record

    def list_blocks(self, caller: Caller, snapshot_id: str, query: dict[str, str]) -> dict[str, Any]:
        """GET /snapshots/ID/blocks"""
        record = self.readable(caller, snapshot_id)
        asked = caller.request("ListSnapshotBlocks", snapshot_id)
        written = self._store.written_blocks(snapshot_id)
        place = f"list {caller.account} {snapshot_id}"
        page, following = self._page(asked, place, query, lambda start: (each for each in written if each >= start))
        short = self._faults.take("short-tokens", asked)
        token = self._block_tokens(caller, snapshot_id, short)
        blocks = [{"BlockIndex": index, "BlockToken": token(index)} for index in page]
        return {"Blocks": blocks, **self._described(record, place, following, short)}

    def list_changed(self, caller: Caller, second_id: str, query: dict[str, str]) -> dict[str, Any]:
        """GET /snapshots/SECOND/changedblocks"""
        record = self.readable(caller, second_id)
        first_id = query.get("firstSnapshotId")
        if not first_id:
            raise invalid("INVALID_PARAMETER_VALUE", "FirstSnapshotId must be specified.")
        first = self.readable(caller, first_id)
        if first.lineage != record.lineage or first.start_time > record.start_time:
            raise invalid("UNRELATED_SNAPSHOTS", f"{first_id} is not an older snapshot of the same volume.")
        in_first = set(self._store.written_blocks(first_id))
        in_second = set(self._store.written_blocks(second_id))

        def changed(start: int) -> Iterator[int]:
            for index in sorted(index for index in in_first | in_second if index >= start):
                if not (index in in_first and index in in_second and self._equal(first_id, second_id, index)):
                    yield index

        place = f"changed {caller.account} {first_id} {second_id}"
        asked = caller.request("ListChangedBlocks", first_id, second_id)
        page, following = self._page(asked, place, query, changed)
        short = self._faults.take("short-tokens", asked)
        of_first = self._block_tokens(caller, first_id, short)
        of_second = self._block_tokens(caller, second_id, short)
        shown = []
        for index in page:
            entry: dict[str, Any] = {"BlockIndex": index}
            if index in in_first:
                entry["FirstBlockToken"] = of_first(index)
            if index in in_second:
                entry["SecondBlockToken"] = of_second(index)
            shown.append(entry)
        return {"ChangedBlocks": shown, **self._described(record, place, following, short)}

    def get_block(self, caller: Caller, snapshot_id: str, index: int, token: str) -> tuple[bytes, dict[str, str]]:
        """GET /snapshots/ID/blocks/INDEX: (data, headers)"""
        self.readable(caller, snapshot_id)
        try:
            self._tokens.read(f"block {caller.account} {snapshot_id} {index}", token)
        except tokens.TokenRefused as error:
            raise invalid("INVALID_BLOCK_TOKEN", f"The block token was refused: {error}.") from error
        data, digest = self._digests.read(snapshot_id, index)
        checksum = base64.b64encode(digest).decode()
        asked = caller.request("GetSnapshotBlock", snapshot_id)
        if self._faults.take("corrupt", asked, lambda fault: fault.index in (None, index)):
            data = bytes([data[0] ^ 1]) + data[1:]
        headers = {
            "x-amz-Data-Length": str(len(data)),
            "x-amz-Checksum": checksum,
            "x-amz-Checksum-Algorithm": "SHA256",
            "Content-Type": "application/octet-stream",
        }
        return data, headers

    def _equal(self, first_id: str, second_id: str, index: int) -> bool:
        return self._store.read_block(first_id, index) == self._store.read_block(second_id, index)

    def _page(
        self, asked: Request, place: str, query: dict[str, str], indexes: Callable[[int], Iterable[int]]
    ) -> tuple[list[int], int | None]:
        """(the indexes of a page, where the next begins); ``indexes`` gives those from one on, ascending."""
        try:
            most = int(query.get("maxResults", _MOST))
            start = int(query.get("startingBlockIndex", 0))
        except ValueError as error:
            raise invalid("INVALID_PARAMETER_VALUE", str(error)) from error
        if not 1 <= most <= _MOST or start < 0:
            raise invalid("INVALID_PARAMETER_VALUE", f"MaxResults must be {_LEAST} to {_MOST}, and no index below 0.")
        most = max(most, _LEAST)
        token = query.get("pageToken")
        if token:
            try:
                start = self._tokens.read(place, token)
            except tokens.TokenRefused as error:
                raise invalid("INVALID_PAGE_TOKEN", f"The page token was refused: {error}.") from error
        elif self._faults.take("empty-pages", asked):
            return [], start
        page = list(islice(indexes(start), most + 1))
        return page[:most], page[most] if len(page) > most else None

    def _described(
        self, record: SnapshotRecord, place: str, following: int | None, short: Fault | None
    ) -> dict[str, Any]:
        value: dict[str, Any] = {
            "BlockSize": BLOCK,
            "VolumeSize": record.volume_size_gib,
            "ExpiryTime": int(time.time() + _lasting(tokens.BLOCK_SECONDS, short)),
        }
        if following is not None:
            value["NextToken"] = self._tokens.make(place, following, _lasting(tokens.PAGE_SECONDS, short))
        return value

    def _block_tokens(self, caller: Caller, snapshot_id: str, short: Fault | None) -> Callable[[int], str]:
        seconds = _lasting(tokens.BLOCK_SECONDS, short)
        return lambda index: self._tokens.make(f"block {caller.account} {snapshot_id} {index}", index, seconds)


def _lasting(seconds: float, short: Fault | None) -> float:
    """How long a token lasts, in seconds."""
    return seconds if short is None or short.seconds is None else short.seconds
