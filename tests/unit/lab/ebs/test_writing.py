# SPDX-License-Identifier: GPL-3.0-or-later
"""StartSnapshot, PutSnapshotBlock and CompleteSnapshot, asked by botocore's own client."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import ssl
import time
from typing import Any

import pytest
from mayfly_lab import accounts
from mayfly_lab.blocks.files import BLOCK

from tests.unit.lab.ebs.calls import (
    await_state,
    block,
    checksum,
    complete,
    contents,
    listed,
    make,
    put,
    refused,
    status,
)

KEY = f"arn:aws:kms:us-east-1:{accounts.BACKUP}:key/8f2d6f2c-0a6e-4c56-8a0a-3f0f3f3f3f3f"


@pytest.fixture
def pending(ebs: Any) -> str:
    """A snapshot that takes blocks."""
    return str(ebs.start_snapshot(VolumeSize=1)["SnapshotId"])


def seal(client: Any, snapshot_id: str, data: list[bytes], **parts: Any) -> dict[str, Any]:
    """CompleteSnapshot of what these blocks would be, unless ``parts`` say otherwise."""
    words: dict[str, Any] = {
        "ChangedBlocksCount": len(data),
        "Checksum": checksum(b"".join(hashlib.sha256(each).digest() for each in data)),
        "ChecksumAlgorithm": "SHA256",
        "ChecksumAggregationMethod": "LINEAR",
    }
    words = {name: value for name, value in {**words, **parts}.items() if value is not None}
    answer: dict[str, Any] = client.complete_snapshot(SnapshotId=snapshot_id, **words)
    return answer


def test_what_is_put_is_read_once_it_is_complete(server, ebs, pending):
    blocks = {0: block(1), 9: block(0), 2047: block(2)}
    for index, data in blocks.items():
        put(ebs, pending, index, data)
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        ebs.list_snapshot_blocks(SnapshotId=pending)
    complete(ebs, server, pending, blocks)
    assert contents(ebs, pending) == blocks
    record = server.store.get(pending)
    assert (record.progress, record.volume_id) == ("100%", "vol-ffffffff")


def test_a_block_that_is_put_again_is_replaced_and_counted_once(server, ebs, pending):
    for data in (block(1), block(2)):
        put(ebs, pending, 5, data)
    complete(ebs, server, pending, {5: block(2)})
    assert contents(ebs, pending) == {5: block(2)}


def test_the_order_of_puts_does_not_matter(server, ebs, pending):
    blocks = {9: block(9), 2: block(2), 5: block(5)}
    for index, data in blocks.items():
        put(ebs, pending, index, data)
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        seal(ebs, pending, list(blocks.values()))
    complete(ebs, server, pending, blocks)


def test_start_describes_the_snapshot(server, ebs):
    tags = [{"Key": "Name", "Value": "web-1"}, {"Key": "empty", "Value": ""}]
    made = ebs.start_snapshot(VolumeSize=16, Description="A disk", Tags=tags, KmsKeyArn=KEY, Encrypted=True)
    wanted = {
        "Status": "pending",
        "OwnerId": accounts.BACKUP,
        "VolumeSize": 16,
        "BlockSize": BLOCK,
        "Description": "A disk",
        "Tags": tags,
        "KmsKeyArn": KEY,
    }
    assert {name: made[name] for name in wanted} == wanted
    assert status(made) == 201
    assert abs(made["StartTime"].timestamp() - time.time()) < 60
    record = server.store.get(made["SnapshotId"])
    assert (record.encrypted, record.kms_key_id) == (True, KEY)
    assert record.tags == {"Name": "web-1", "empty": ""}


@pytest.mark.parametrize(
    ("words", "encrypted"),
    [({}, False), ({"Encrypted": True}, True), ({"Encrypted": False}, False), ({"KmsKeyArn": KEY}, True)],
)
def test_encryption_without_a_parent(server, ebs, words, encrypted):
    made = ebs.start_snapshot(VolumeSize=1, **words)
    assert server.store.get(made["SnapshotId"]).encrypted is encrypted


@pytest.mark.parametrize("key", [None, KEY])
def test_a_parent_decides_on_the_encryption(server, ebs, key):
    parent = server.snapshot({0: block(1)}, encrypted=bool(key), kms_key_id=key)
    made = ebs.start_snapshot(VolumeSize=1, ParentSnapshotId=parent)
    assert (made["ParentSnapshotId"], made.get("KmsKeyArn")) == (parent, key)
    assert server.store.get(made["SnapshotId"]).encrypted is bool(key)
    for words in ({"Encrypted": True}, {"Encrypted": False}, {"KmsKeyArn": KEY}):
        with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
            ebs.start_snapshot(VolumeSize=1, ParentSnapshotId=parent, **words)


def test_a_child_holds_its_parents_blocks_and_its_own(server, ebs):
    parent = server.snapshot({0: block(1), 1: block(2)})
    child = make(ebs, server, {1: block(3), 4095: block(4)}, ParentSnapshotId=parent, VolumeSize=2)
    assert contents(ebs, child) == {0: block(1), 1: block(3), 4095: block(4)}
    assert contents(ebs, parent) == {0: block(1), 1: block(2)}


def test_a_parent_must_be_readable_and_fit(server, ebs):
    parent = server.snapshot({0: block(1)}, volume_size_gib=2)
    with refused("ValidationException", "INVALID_VOLUME_SIZE"):
        ebs.start_snapshot(VolumeSize=1, ParentSnapshotId=parent)
    with refused("AccessDeniedException", "UNAUTHORIZED_ACCOUNT"):
        server.client(accounts.PRODUCTION).start_snapshot(VolumeSize=2, ParentSnapshotId=parent)
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        server.client(region="eu-central-1").start_snapshot(VolumeSize=2, ParentSnapshotId=parent)
    server.change(parent, state="pending")
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        ebs.start_snapshot(VolumeSize=2, ParentSnapshotId=parent)


@pytest.mark.parametrize("size", [0, -1, 65_537])
def test_sizes_out_of_range_are_refused(server, size):
    with refused("ValidationException", "INVALID_VOLUME_SIZE"):
        server.client(checked=False).start_snapshot(VolumeSize=size)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"Timeout": 9}, "INVALID_PARAMETER_VALUE"),
        ({"Timeout": 4321}, "INVALID_PARAMETER_VALUE"),
        ({"Description": "d" * 256}, "INVALID_PARAMETER_VALUE"),
        ({"Tags": [{"Key": "k", "Value": "v" * 256}]}, "INVALID_TAG"),
        ({"Tags": [{"Key": "k" * 128, "Value": ""}]}, "INVALID_TAG"),
        ({"Tags": [{"Value": "v"}]}, "INVALID_TAG"),
        ({"Tags": [{"Key": "aws:k", "Value": "v"}]}, "INVALID_TAG"),
        ({"Tags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]}, "INVALID_TAG"),
        ({"Tags": [{"Key": str(number), "Value": ""} for number in range(51)]}, "INVALID_TAG"),
    ],
)
def test_what_start_does_not_take_is_refused(server, words, reason):
    before = len(server.store.records())
    with refused("ValidationException", reason):
        server.client(checked=False).start_snapshot(VolumeSize=1, **words)
    assert len(server.store.records()) == before


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"'])
def test_a_body_that_is_no_object_is_refused(server, body):
    answer, text = post(server, body)
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert json.loads(text)["Reason"] == "INVALID_PARAMETER_VALUE"


def test_without_a_client_token_every_start_is_another_snapshot(server):
    made = [post(server, b'{"VolumeSize": 1}') for _ in range(2)]
    assert [answer.status for answer, _ in made] == [201, 201]
    assert len({json.loads(text)["SnapshotId"] for _, text in made}) == 2


def post(server: Any, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    """StartSnapshot without a client, which would add a token of its own."""
    context = ssl.create_default_context(cafile=server.folder / "ca.pem")
    connection = http.client.HTTPSConnection("localhost", server.ports["us-east-1"], context=context, timeout=10)
    key = accounts.new_access_key_id(accounts.BACKUP, temporary=False)
    signature = (
        f"AWS4-HMAC-SHA256 Credential={key}/20261124/us-east-1/ebs/aws4_request, SignedHeaders=host, Signature=0"
    )
    connection.request("POST", "/snapshots", body=body, headers={"Authorization": signature})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer, text


def test_a_client_token_starts_one_snapshot(ebs, server):
    token = os.urandom(8).hex()
    parent = server.snapshot({})
    words = {"ClientToken": token, "VolumeSize": 2, "Description": "d", "Tags": [{"Key": "k", "Value": "v"}]}
    first = ebs.start_snapshot(**words)
    again = ebs.start_snapshot(**words)
    assert again["SnapshotId"] == first["SnapshotId"]
    for change in (
        {"VolumeSize": 3},
        {"Description": "e"},
        {"Tags": [{"Key": "k", "Value": "w"}]},
        {"Encrypted": True},
        {"KmsKeyArn": KEY},
        {"ParentSnapshotId": parent},
        {"Timeout": 30},
    ):
        with refused("ConflictException"):
            ebs.start_snapshot(**{**words, **change})
    for client in (server.client(accounts.PRODUCTION), server.client(region="eu-central-1")):
        assert client.start_snapshot(**words)["SnapshotId"] != first["SnapshotId"]


def test_pending_snapshots_of_an_account_are_limited(server):
    client = server.client("123412341234")
    first = client.start_snapshot(VolumeSize=1)["SnapshotId"]
    for _ in range(99):
        client.start_snapshot(VolumeSize=1)
    with refused("ConcurrentLimitExceededException"):
        client.start_snapshot(VolumeSize=1)
    complete(client, server, first, {})
    client.start_snapshot(VolumeSize=1)


@pytest.mark.parametrize(
    "bad",
    [
        (0, block(1), {"Checksum": checksum(block(2))}, "INVALID_PARAMETER_VALUE"),
        (0, block(1), {"ChecksumAlgorithm": "SHA1"}, "INVALID_PARAMETER_VALUE"),
        (0, block(1)[:-1], {}, "INVALID_PARAMETER_VALUE"),
        (0, block(1) + b"x", {"Checksum": checksum(block(1))}, "INVALID_PARAMETER_VALUE"),
        (0, b"", {}, "INVALID_PARAMETER_VALUE"),
        (0, block(1), {"DataLength": 1024}, "INVALID_PARAMETER_VALUE"),
        (2048, block(1), {}, "INVALID_BLOCK"),
        (10**12, block(1), {}, "INVALID_BLOCK"),
    ],
)
def test_a_block_that_is_refused_is_not_written(server, ebs, pending, bad):
    index, data, words, reason = bad
    with refused("ValidationException", reason):
        put(server.client(checked=False), pending, index, data, **words)
    put(ebs, pending, 2047, block(3))
    complete(ebs, server, pending, {2047: block(3)})
    assert contents(ebs, pending) == {2047: block(3)}


def test_a_connection_goes_on_after_a_body_that_was_too_long(server, pending):
    client = server.client(checked=False)
    for _ in range(2):
        with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
            put(client, pending, 0, block(1) * 3)
        put(client, pending, 0, block(1))


@pytest.mark.parametrize("kind", ["of a volume", "sealed", "completed"])
def test_only_a_pending_snapshot_takes_blocks(server, ebs, pending, kind):
    if kind == "of a volume":
        pending = server.snapshot({0: block(1)}, state="pending")
    else:
        put(ebs, pending, 0, block(1))
        seal(ebs, pending, [block(1)])
    if kind == "completed":
        await_state(server, pending, "completed")
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        put(ebs, pending, 0, block(2))
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        seal(ebs, pending, [block(1)])
    if kind != "of a volume":
        await_state(server, pending, "completed")
        assert contents(ebs, pending) == {0: block(1)}


def test_another_account_or_region_cannot_write(server, ebs, pending):
    server.change(pending, shared_with=[accounts.PRODUCTION])
    other, away = server.client(accounts.PRODUCTION), server.client(region="eu-central-1")
    for write in (lambda client: put(client, pending, 0, block(1)), lambda client: seal(client, pending, [])):
        with refused("AccessDeniedException", "UNAUTHORIZED_ACCOUNT"):
            write(other)
        with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
            write(away)
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        put(ebs, "snap-0123456789abcdef0", 0, block(1))


@pytest.mark.parametrize(
    "words",
    [
        {"ChangedBlocksCount": 1},
        {"ChangedBlocksCount": 3},
        {"ChangedBlocksCount": 0},
        {"Checksum": checksum(b"")},
        {"Checksum": checksum(block(1) + block(2))},
        {"ChecksumAggregationMethod": None},
        {"ChecksumAlgorithm": None},
    ],
)
def test_a_wrong_count_or_aggregate_does_not_complete(server, ebs, pending, words):
    put(ebs, pending, 3, block(1))
    put(ebs, pending, 7, block(2))
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        seal(ebs, pending, [block(1), block(2)], **words)
    assert server.store.get(pending).state == "pending"
    put(ebs, pending, 7, block(4))
    complete(ebs, server, pending, {3: block(1), 7: block(4)})


def test_the_aggregate_may_be_left_out_but_not_the_count(server, ebs, pending):
    put(ebs, pending, 3, block(1))
    none = {"Checksum": None, "ChecksumAlgorithm": None, "ChecksumAggregationMethod": None}
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        seal(server.client(checked=False), pending, [block(1)], **none, ChangedBlocksCount=None)
    assert seal(ebs, pending, [block(1)], **none)["Status"] == "pending"
    await_state(server, pending, "completed")


def test_a_snapshot_without_blocks_completes(server, ebs, pending):
    complete(ebs, server, pending, {})
    assert listed(ebs, pending) == {}


def test_the_timeout_since_the_last_put_ends_a_snapshot(server, ebs):
    pending = ebs.start_snapshot(VolumeSize=1, Timeout=30)["SnapshotId"]
    put(ebs, pending, 0, block(1))
    sums = server.store.snapshot_path(pending).with_suffix(".sums")
    for minutes in (29, 31):
        then = time.time() - 60 * minutes
        os.utime(sums, (then, then))
        if minutes < 30:
            put(ebs, pending, 1, block(2))
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        put(ebs, pending, 2, block(3))
    assert server.store.get(pending).state == "error"
    os.utime(sums)
    with refused("ValidationException", "INVALID_SNAPSHOT_ID"):
        seal(ebs, pending, [block(1), block(2)])


def test_a_snapshot_that_is_deleted_leaves_nothing(server, ebs, pending):
    put(ebs, pending, 0, block(1))
    done = make(ebs, server, {0: block(1)})
    for snapshot in (pending, done):
        server.store.delete(snapshot)
        assert not list(server.folder.glob(f"snapshots/{snapshot}*"))
    with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
        put(ebs, pending, 0, block(1))


def test_a_snapshot_that_is_deleted_while_it_is_sealed_stays_deleted(server, ebs, pending):
    seal(ebs, pending, [])
    server.store.delete(pending)
    time.sleep(0.3)
    assert not list(server.folder.glob(f"snapshots/{pending}*"))
