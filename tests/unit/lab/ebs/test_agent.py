# SPDX-License-Identifier: GPL-3.0-or-later
"""The transfer agent's client of the EBS direct APIs, asking the lab's."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.credentials import RefreshableCredentials
from mayfly_agent import retries
from mayfly_agent.ebs import DirectSnapshots
from mayfly_agent.errors import AgentError
from mayfly_lab import accounts

from tests.unit.lab.ebs.calls import Server, await_state, block, contents

UNREADABLE = {
    "code": "ValidationException",
    "reason": "INVALID_PARAMETER_VALUE",
    "message": "Failed to read block data",
}


@pytest.fixture
def direct(server: Server, monkeypatch: pytest.MonkeyPatch) -> DirectSnapshots:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.folder / "ca.pem"))
    monkeypatch.setattr(retries, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(retries, "_MENDING_SECONDS", (0.01, 0.01))
    key = accounts.new_access_key_id(accounts.BACKUP, temporary=True)
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    known = {"access_key": key, "secret_key": "secret", "token": "token", "expiry_time": ends}
    credentials = RefreshableCredentials.create_from_metadata(known, lambda: known, method="test")
    return DirectSnapshots(credentials, "us-east-1", 4, url=f"https://localhost:{server.ports['us-east-1']}")


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def start(direct: DirectSnapshots) -> str:
    return direct.start_snapshot(1, str(time.monotonic_ns()), "a test")


def test_it_writes_and_reads_blocks(server, ebs, direct):
    snapshot = start(direct)
    for index in (0, 5):
        direct.put_block(snapshot, index, block(index), digest(block(index)))
    direct.complete_snapshot(snapshot, 2, digest(digest(block(0)) + digest(block(5))))
    await_state(server, snapshot, "completed")
    assert contents(ebs, snapshot) == {0: block(0), 5: block(5)}
    found = {index: direct.get_block(snapshot, index, token) for index, token in direct.list_blocks(snapshot)}
    assert found == {index: (block(index), digest(block(index))) for index in (0, 5)}


def test_it_joins_pages_of_which_one_is_empty(server, direct, faults):
    snapshot = server.snapshot({0: block(1), 9: block(2)})
    faults.add("empty-pages")
    assert [index for index, _ in direct.list_blocks(snapshot)] == [0, 9]


def test_it_waits_where_aws_throttles(server, direct, faults):
    snapshot = server.snapshot({0: block(1)})
    ((_, token),) = direct.list_blocks(snapshot)
    faults.add("throttle", snapshot=snapshot, rate=20)
    faults.add("throttle", account=accounts.BACKUP, rate=50)
    for _ in range(60):
        direct.get_block(snapshot, 0, token)


def test_a_corrupt_block_is_told_after_three_tries(server, direct, faults):
    snapshot = server.snapshot({0: block(1)})
    ((_, token),) = direct.list_blocks(snapshot)
    faults.add("corrupt", snapshot=snapshot, index=0)
    with pytest.raises(AgentError) as raised:
        direct.get_block(snapshot, 0, token)
    assert raised.value.code == "ChecksumMismatch"


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 503, "code": "ServiceUnavailable"}, {"status": 400, **UNREADABLE}]
)
def test_what_aws_calls_retryable_is_tried_again(server, ebs, direct, faults, fault: dict[str, Any]):
    snapshot = start(direct)
    faults.add("error", times=2, call="PutSnapshotBlock", **fault)
    direct.put_block(snapshot, 0, block(1), digest(block(1)))
    direct.complete_snapshot(snapshot, 1, digest(digest(block(1))))
    await_state(server, snapshot, "completed")
    assert contents(ebs, snapshot) == {0: block(1)}


def test_data_that_never_arrives_whole_is_an_error(direct, faults):
    snapshot = start(direct)
    faults.add("error", times=3, call="PutSnapshotBlock", status=400, **UNREADABLE)
    with pytest.raises(AgentError, match="Failed to read block data") as raised:
        direct.put_block(snapshot, 0, block(1), digest(block(1)))
    assert raised.value.code == "ValidationException"


def test_other_refusals_are_final(server, direct, faults):
    snapshot = server.snapshot({0: block(1)})
    with pytest.raises(AgentError) as raised:
        direct.get_block(snapshot, 0, "AAAA")
    assert raised.value.code == "ValidationException"
    with pytest.raises(AgentError, match="SNAPSHOT_NOT_FOUND"):
        list(direct.list_blocks("snap-0123456789abcdef0"))


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_snapshot_that_was_just_started_may_not_be_found_yet(server, direct, faults, blocks):
    faults.add("snapshot-missing", seconds=0.5)
    snapshot = start(direct)
    if blocks:
        direct.put_block(snapshot, 0, block(1), digest(block(1)))
    direct.complete_snapshot(snapshot, blocks, digest(digest(block(1)) * blocks))
    await_state(server, snapshot, "completed")


def test_the_limit_of_pending_snapshots_is_waited_for(direct, faults):
    faults.add("error", times=2, call="StartSnapshot", status=400, code="ConcurrentLimitExceededException")
    assert start(direct).startswith("snap-")
