# SPDX-License-Identifier: GPL-3.0-or-later
"""The service under test, and calls that check what every answer must have."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from mayfly_lab import accounts
from mayfly_lab.blocks.files import BLOCK
from mayfly_lab.blocks.store import BlockStore, SnapshotRecord

Blocks = dict[int, bytes]


@dataclass(frozen=True)
class Server:
    """The APIs of every Region over one store."""

    folder: Path
    store: BlockStore
    ports: dict[str, int]

    def client(self, account: str = accounts.BACKUP, region: str = "us-east-1", *, checked: bool = True) -> Any:
        """botocore's own client, which tries once; with ``checked`` false it sends what it would refuse itself."""
        return boto3.client(
            "ebs",
            region_name=region,
            endpoint_url=f"https://localhost:{self.ports[region]}",
            aws_access_key_id=accounts.new_access_key_id(account, temporary=False),
            aws_secret_access_key="secret",
            verify=str(self.folder / "ca.pem"),
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=checked),
        )

    def snapshot(self, blocks: Mapping[int, bytes], **parts: Any) -> str:
        """A completed snapshot of a volume that holds these blocks, each as short as it is given; its id."""
        snapshot_id = f"snap-{secrets.token_hex(8)}"
        common: dict[str, Any] = {
            "owner": accounts.BACKUP,
            "region": "us-east-1",
            "volume_id": f"vol-{secrets.token_hex(8)}",
            "volume_size_gib": 1,
            "state": "completed",
            "progress": "100%",
            "start_time": datetime.now(UTC).isoformat(),
            "description": "",
        }
        record = SnapshotRecord(snapshot_id, **{**common, **parts})
        self.store.delete_volume(record.volume_id)
        self.store.create_volume(record.volume_id, record.volume_size_gib)
        with self.store.volume_path(record.volume_id).open("r+b") as stream:
            for index, data in blocks.items():
                os.pwrite(stream.fileno(), data, index * BLOCK)
        self.store.snapshot_volume(record, record.volume_id)
        self.store.delete_volume(record.volume_id)
        return snapshot_id

    def change(self, snapshot_id: str, **parts: Any) -> None:
        """Change what is known of a snapshot."""
        self.store.save(replace(self.store.get(snapshot_id), **parts))


def block(number: int) -> bytes:
    """A block that is told from every other number's."""
    return number.to_bytes(8, "big") * (BLOCK // 8)


def checksum(data: bytes) -> str:
    """A SHA-256 as the APIs write it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def listed(client: Any, snapshot_id: str, **more: Any) -> dict[int, str]:
    """The token of each block, from all pages."""
    found: dict[int, str] = {}
    for page in pages(client.list_snapshot_blocks, SnapshotId=snapshot_id, **more):
        found |= {each["BlockIndex"]: each["BlockToken"] for each in page["Blocks"]}
    return found


def changed(client: Any, first: str, second: str, **more: Any) -> dict[int, tuple[str | None, str | None]]:
    """The tokens of each changed block in the first and in the second snapshot, from all pages."""
    found: dict[int, tuple[str | None, str | None]] = {}
    for page in pages(client.list_changed_blocks, FirstSnapshotId=first, SecondSnapshotId=second, **more):
        for each in page["ChangedBlocks"]:
            found[each["BlockIndex"]] = (each.get("FirstBlockToken"), each.get("SecondBlockToken"))
    return found


def pages(call: Callable[..., Any], **arguments: Any) -> Iterator[dict[str, Any]]:
    """Every page, in order."""
    more: dict[str, str] = {}
    while True:
        page = call(**{**arguments, **more})
        yield page
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def get(client: Any, snapshot_id: str, index: int, token: str) -> bytes:
    """A block, and its checksum is right."""
    answer = client.get_snapshot_block(SnapshotId=snapshot_id, BlockIndex=index, BlockToken=token)
    data: bytes = answer["BlockData"].read()
    assert (answer["DataLength"], answer["ChecksumAlgorithm"], answer["Checksum"]) == (BLOCK, "SHA256", checksum(data))
    return data


def contents(client: Any, snapshot_id: str) -> Blocks:
    """Every block that a snapshot lists."""
    return {index: get(client, snapshot_id, index, token) for index, token in listed(client, snapshot_id).items()}


def put(client: Any, snapshot_id: str, index: int, data: bytes, **parts: Any) -> None:
    """Write a block; the service answers with its checksum."""
    words = {"DataLength": BLOCK, "Checksum": checksum(data), "ChecksumAlgorithm": "SHA256", **parts}
    answer = client.put_snapshot_block(SnapshotId=snapshot_id, BlockIndex=index, BlockData=data, **words)
    assert (status(answer), answer["Checksum"]) == (201, checksum(data))


def status(answer: dict[str, Any]) -> int:
    """The HTTP status of an answer."""
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def complete(client: Any, server: Server, snapshot_id: str, blocks: Blocks) -> None:
    """Seal a snapshot to which these blocks were put, and wait until it can be read."""
    sums = b"".join(hashlib.sha256(blocks[index]).digest() for index in sorted(blocks))
    answer = client.complete_snapshot(
        SnapshotId=snapshot_id,
        ChangedBlocksCount=len(blocks),
        Checksum=checksum(sums),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    assert (status(answer), answer["Status"]) == (202, "pending")
    await_state(server, snapshot_id, "completed")


def await_state(server: Server, snapshot_id: str, state: str) -> None:
    ends = time.monotonic() + 10
    while (found := server.store.get(snapshot_id).state) != state:
        assert time.monotonic() < ends, f"{snapshot_id} is {found}"
        time.sleep(0.01)


def make(client: Any, server: Server, blocks: Blocks, **parts: Any) -> str:
    """A snapshot that was written block by block."""
    snapshot_id = str(client.start_snapshot(**{"VolumeSize": 1, **parts})["SnapshotId"])
    for index, data in blocks.items():
        put(client, snapshot_id, index, data)
    complete(client, server, snapshot_id, blocks)
    return snapshot_id


@contextmanager
def refused(name: str, reason: str | None = None, status: int | None = None) -> Iterator[None]:
    """What is done inside is refused so; name, status and reason are as botocore's model of the APIs has them.

    A name that is common to all of AWS is not in that model and comes with its HTTP status.
    """
    with pytest.raises(ClientError) as caught:
        yield
    answer = caught.value.response
    if status is None:
        model = botocore.session.get_session().get_service_model("ebs")
        shape = model.shape_for(name)
        status = shape.metadata["error"]["httpStatusCode"]
        assert reason is None or reason in shape.members["Reason"].enum
        assert name in {error.name for error in model.operation_model(caught.value.operation_name).error_shapes}
    found = answer["Error"]["Code"], answer.get("Reason"), answer["ResponseMetadata"]["HTTPStatusCode"]
    assert found == (name, reason, status), answer["Error"]["Message"]
    assert answer["Error"]["Message"]
