# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on request, as AWS would say it."""

from __future__ import annotations

import hashlib
import time

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from mayfly_lab import accounts

from tests.unit.lab.ebs.calls import block, changed, complete, contents, get, listed, put, refused

SELDOM = 0.001  # requests a second


def test_a_snapshot_is_throttled_by_itself(server, ebs, faults):
    slow, other = server.snapshot({0: block(1)}), server.snapshot({0: block(2)})
    tokens = {snapshot: listed(ebs, snapshot)[0] for snapshot in (slow, other)}
    faults.add("throttle", snapshot=slow, rate=SELDOM)
    get(ebs, slow, 0, tokens[slow])
    for _ in range(2):
        with refused("RequestThrottledException", "RESOURCE_LEVEL_THROTTLE"):
            get(ebs, slow, 0, tokens[slow])
        get(ebs, other, 0, tokens[other])
    listed(ebs, slow)  # AWS limits a snapshot's blocks, not its lists


def test_what_was_throttled_passes_later(server, ebs, faults):
    snapshot = server.snapshot({0: block(1)})
    token = listed(ebs, snapshot)[0]
    faults.add("throttle", snapshot=snapshot, rate=0.5)
    get(ebs, snapshot, 0, token)
    with refused("RequestThrottledException", "RESOURCE_LEVEL_THROTTLE"):
        get(ebs, snapshot, 0, token)
    time.sleep(2)
    get(ebs, snapshot, 0, token)


def test_a_rate_is_of_a_second(server, ebs, faults):
    snapshot = server.snapshot({})
    faults.add("throttle", account=accounts.BACKUP, rate=3)
    began, passed = time.monotonic(), 0
    while True:
        try:
            listed(ebs, snapshot)
        except ClientError:
            break
        passed += 1
    assert 3 <= passed <= 3 + 3 * (time.monotonic() - began) + 1


def test_puts_are_throttled_too(ebs, faults):
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    faults.add("throttle", snapshot=snapshot, rate=SELDOM)
    put(ebs, snapshot, 1, block(1))
    with refused("RequestThrottledException", "RESOURCE_LEVEL_THROTTLE"):
        put(ebs, snapshot, 2, block(2))


def test_an_account_is_throttled_by_itself(server, ebs, faults):
    snapshot = server.snapshot({0: block(1)}, shared_with=[accounts.PRODUCTION])
    faults.add("throttle", account=accounts.PRODUCTION, rate=SELDOM)
    other = server.client(accounts.PRODUCTION)
    listed(other, snapshot)
    with refused("ThrottlingException", status=400):
        other.start_snapshot(VolumeSize=1)
    for _ in range(6):
        listed(ebs, snapshot)


def test_a_started_snapshot_is_not_found_for_a_while(server, ebs, faults):
    faults.add("snapshot-missing", seconds=120)
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    for call in (
        lambda: put(ebs, snapshot, 0, block(1)),
        lambda: ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=0),
    ):
        with refused("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"):
            call()
    faults.clear()
    faults.add("snapshot-missing", seconds=0.2)
    time.sleep(0.3)
    put(ebs, snapshot, 0, block(1))
    complete(ebs, server, snapshot, {0: block(1)})


def test_a_corrupt_block_differs_from_its_checksum_alone(server, ebs, faults):
    first, second = (server.snapshot({0: block(1), 1: block(2)}, volume_id="vol-00000000000000cc") for _ in range(2))
    tokens = listed(ebs, first)
    faults.add("corrupt", snapshot=first, index=1)
    get(ebs, first, 0, tokens[0])
    with pytest.raises(AssertionError):
        get(ebs, first, 1, tokens[1])
    answer = ebs.get_snapshot_block(SnapshotId=first, BlockIndex=1, BlockToken=tokens[1])
    data = answer["BlockData"].read()
    assert sum(one != other for one, other in zip(data, block(2), strict=True)) == 1
    get(ebs, second, 1, listed(ebs, second)[1])
    assert changed(ebs, first, second) == {}


def test_an_operation_fails_as_often_as_asked(server, ebs, faults):
    snapshot = server.snapshot({0: block(1)})
    faults.add("error", times=2, call="ListSnapshotBlocks", status=500)
    for _ in range(2):
        with refused("InternalServerException"):
            listed(ebs, snapshot)
    get(ebs, snapshot, 0, listed(ebs, snapshot)[0])


def test_an_operation_fails_in_the_words_that_were_asked_for(ebs, faults):
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    words = {"code": "ValidationException", "reason": "INVALID_PARAMETER_VALUE", "message": "Failed to read block data"}
    faults.add("error", times=1, call="PutSnapshotBlock", status=400, **words)
    with refused("ValidationException", "INVALID_PARAMETER_VALUE"):
        put(ebs, snapshot, 0, block(1))
    put(ebs, snapshot, 0, block(1))


def test_a_block_whose_answer_is_lost_was_put_all_the_same(server, ebs, faults):
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    faults.add("lost-answer", times=1, call="PutSnapshotBlock")
    with pytest.raises(ConnectionClosedError):
        put(ebs, snapshot, 0, block(1))
    complete(ebs, server, snapshot, {0: block(1)})
    assert contents(ebs, snapshot) == {0: block(1)}


def test_a_failure_of_the_service_itself_is_a_500(server, ebs):
    snapshot = server.snapshot({0: block(1)})
    server.store.snapshot_path(snapshot).unlink()
    with refused("InternalServerException"):
        ebs.list_snapshot_blocks(SnapshotId=snapshot)


def test_faults_end_when_they_are_cleared(server, ebs, faults):
    snapshot = server.snapshot({0: block(1)})
    faults.add("error", times=100, call="ListSnapshotBlocks")
    with refused("InternalServerException"):
        listed(ebs, snapshot)
    faults.clear()
    data = get(ebs, snapshot, 0, listed(ebs, snapshot)[0])
    assert hashlib.sha256(data).digest() == hashlib.sha256(block(1)).digest()
