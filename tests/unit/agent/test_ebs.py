# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots over EBS direct APIs that fail as those do."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest
from botocore.credentials import Credentials
from mayfly_agent.blocks import BLOCK_SIZE, BLOCKS_PER_GIB
from mayfly_agent.credentials import FileCredentials
from mayfly_agent.ebs import DirectSnapshots, NotComparable
from mayfly_agent.errors import AgentError
from mayfly_agent.progress import Progress

from tests.unit.agent.hostile import LOST, FastClock, Hostile, Reply, Request, ebs_error
from tests.unit.agent.test_credentials import write

BLOCK = bytes(range(256)) * (BLOCK_SIZE // 256)
DIGEST = sha256(BLOCK).digest()
CHECKSUM = {"x-amz-Checksum": base64.b64encode(DIGEST).decode(), "x-amz-Checksum-Algorithm": "SHA256"}
GOOD = Reply(200, BLOCK, CHECKSUM)
STARTED = Reply(201, b'{"SnapshotId": "snap-1"}')
DONE = Reply(202, b"{}")
NOT_FOUND = ebs_error(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND")
NOT_PENDING = ebs_error(400, "ValidationException", "INVALID_SNAPSHOT_ID")
OLD_TOKEN = ebs_error(400, "ValidationException", "INVALID_PAGE_TOKEN")
LATER = [
    ebs_error(400, "RequestThrottledException", "ACCOUNT_THROTTLED"),
    ebs_error(400, "ThrottlingException"),
    ebs_error(400, "ConcurrentLimitExceededException"),
    ebs_error(429, "TooManyRequestsException"),
    ebs_error(429),
    ebs_error(500, "InternalServerException"),
    ebs_error(500, "SomethingNew"),
    ebs_error(503, "ServiceUnavailableException"),
    ebs_error(502),
]


@pytest.fixture
def snapshots(hostile: Hostile, progress: Progress) -> DirectSnapshots:
    return DirectSnapshots(Credentials("AKIA", "secret"), "us-east-1", 4, progress, hostile.url)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-gov-west-1", "ebs.us-gov-west-1.amazonaws.com"),
        ("cn-northwest-1", "ebs.cn-northwest-1.amazonaws.com.cn"),
    ],
)
def test_a_region_has_a_host_of_its_partition(region: str, host: str, progress: Progress) -> None:
    assert DirectSnapshots(Credentials("AKIA", "secret"), region, 1, progress)._host == host


def start(snapshots: DirectSnapshots, hostile: Hostile) -> str:
    hostile.replies(STARTED)
    snapshot_id = snapshots.start_snapshot(1, "token", "text")
    hostile.requests.clear()
    return snapshot_id


def put(snapshots: DirectSnapshots) -> None:
    snapshots.put_block("snap-1", 0, BLOCK, DIGEST)


def complete(snapshots: DirectSnapshots) -> None:
    snapshots.complete_snapshot("snap-1", 0, sha256().digest())


def name(reply: Reply) -> str:
    return f"{reply.status} {reply.headers.get('x-amzn-ErrorType', 'nameless')}"


def test_blocks_come_over_one_connection(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    hostile.replies(GOOD)
    for _ in range(5):
        assert snapshots.get_block("snap-1", 7, "token") == (BLOCK, DIGEST)
    assert hostile.connections == 1
    assert (hostile.requests[0].path, hostile.requests[0].query) == (
        "/snapshots/snap-1/blocks/7",
        {"blockToken": "token"},
    )


@pytest.mark.parametrize("reply", LATER, ids=name)
def test_later_is_not_no(hostile: Hostile, snapshots: DirectSnapshots, clock: FastClock, reply: Reply) -> None:
    hostile.replies(*[reply] * 25, GOOD)
    began = clock.now()
    assert snapshots.get_block("snap-1", 7, "token") == (BLOCK, DIGEST)
    assert len(hostile.requests) == 26
    assert clock.now() - began > 60


@pytest.mark.parametrize("reply", LATER, ids=name)
def test_later_for_ever_ends_with_the_budget(
    hostile: Hostile, snapshots: DirectSnapshots, clock: FastClock, reply: Reply
) -> None:
    hostile.replies(reply)
    began = clock.now()
    with pytest.raises(AgentError, match="EBS refused block 7 of snap-1"):
        snapshots.get_block("snap-1", 7, "token")
    assert 300 <= clock.now() - began <= 315


@pytest.mark.parametrize(
    "bad",
    [
        LOST,
        Reply(200, BLOCK, CHECKSUM, sent=0),
        Reply(200, BLOCK, CHECKSUM, sent=BLOCK_SIZE - 1),
        Reply(200, BLOCK[:-1], {"x-amz-Checksum": base64.b64encode(sha256(BLOCK[:-1]).digest()).decode()}),
        Reply(200, bytes(BLOCK_SIZE), CHECKSUM),
        Reply(200, BLOCK),
    ],
    ids=["no answer", "no body", "reset in mid-body", "too short", "other bytes", "no checksum"],
)
def test_a_block_that_comes_badly_is_asked_for_three_times(
    hostile: Hostile, snapshots: DirectSnapshots, bad: Reply
) -> None:
    hostile.replies(bad, bad, GOOD)
    assert snapshots.get_block("snap-1", 7, "token") == (BLOCK, DIGEST)
    hostile.replies(bad)
    with pytest.raises(AgentError, match=r"block 7 of snap-1.* tried 3 times") as raised:
        snapshots.get_block("snap-1", 7, "token")
    assert raised.value.code == ("EbsUnreachable" if bad.sent is not None else "ChecksumMismatch")
    assert len(hostile.requests) == 6


def test_a_block_that_comes_too_slowly_is_asked_for_again(
    hostile: Hostile, snapshots: DirectSnapshots, clock: FastClock
) -> None:
    def hours() -> None:
        clock.time += 3600

    hostile.replies(Reply(200, BLOCK, CHECKSUM, between=hours), GOOD)
    assert snapshots.get_block("snap-1", 7, "token") == (BLOCK, DIGEST)
    assert len(hostile.requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        ebs_error(403, "AccessDeniedException", "UNAUTHORIZED_ACCOUNT"),
        ebs_error(409, "ConflictException"),
        ebs_error(402, "ServiceQuotaExceededException"),
        NOT_FOUND,
        NOT_PENDING,
    ],
    ids=name,
)
def test_all_else_is_final(hostile: Hostile, snapshots: DirectSnapshots, reply: Reply) -> None:
    hostile.replies(reply)
    for call in (lambda: snapshots.get_block("snap-1", 7, "token"), lambda: complete(snapshots)):
        hostile.requests.clear()
        with pytest.raises(AgentError) as raised:
            call()
        assert raised.value.code == reply.headers["x-amzn-ErrorType"]
        assert len(hostile.requests) == 1


def test_a_start_whose_answer_was_lost_is_repeated_as_it_was(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    hostile.replies(LOST, Reply(201, b"<html>"), STARTED)
    options = {"Encrypted": True, "Tags": []}
    assert snapshots.start_snapshot(8, "token", "text", **options) == "snap-1"
    bodies = [json.loads(each.body) for each in hostile.requests]
    assert bodies == [{"VolumeSize": 8, "ClientToken": "token", "Description": "text", **options}] * 3


@pytest.mark.parametrize("call", [put, complete], ids=["a block", "the end of an empty volume"])
class TestAYoungSnapshot:
    def test_may_not_be_found_for_two_minutes(
        self, hostile: Hostile, snapshots: DirectSnapshots, clock: FastClock, call
    ) -> None:
        start(snapshots, hostile)
        known = clock.now() + 119
        hostile.script = lambda _request: NOT_FOUND if clock.now() < known else DONE
        call(snapshots)
        assert len(hostile.requests) > 10

    def test_is_gone_when_it_is_not_found_after_that(
        self, hostile: Hostile, snapshots: DirectSnapshots, clock: FastClock, call
    ) -> None:
        start(snapshots, hostile)
        hostile.replies(NOT_FOUND)
        began = clock.now()
        with pytest.raises(AgentError) as raised:
            call(snapshots)
        assert raised.value.code == "ResourceNotFoundException"
        assert 120 <= clock.now() - began <= 135

    def test_that_another_has_started_is_not_waited_for(
        self, hostile: Hostile, snapshots: DirectSnapshots, call
    ) -> None:
        hostile.replies(NOT_FOUND)
        with pytest.raises(AgentError):
            call(snapshots)
        assert len(hostile.requests) == 1


@pytest.mark.parametrize("doubtful", [LOST, ebs_error(500, "InternalServerException"), ebs_error(502)], ids=name)
def test_an_end_that_was_answered_twice_is_one(hostile: Hostile, snapshots: DirectSnapshots, doubtful: Reply) -> None:
    """The first request sealed the snapshot although its answer was lost: the second finds it no longer pending."""
    start(snapshots, hostile)
    hostile.replies(doubtful, NOT_PENDING)
    complete(snapshots)
    assert len(hostile.requests) == 2


@pytest.mark.parametrize(
    "replies", [[NOT_PENDING], [ebs_error(400, "ThrottlingException"), NOT_PENDING]], ids=["first", "after throttling"]
)
def test_an_end_of_what_nobody_can_have_sealed_is_refused(
    hostile: Hostile, snapshots: DirectSnapshots, replies: list[Reply]
) -> None:
    start(snapshots, hostile)
    hostile.replies(*replies)
    with pytest.raises(AgentError, match="INVALID_SNAPSHOT_ID"):
        complete(snapshots)


def test_a_lost_answer_does_not_make_a_refused_block_a_written_one(
    hostile: Hostile, snapshots: DirectSnapshots
) -> None:
    start(snapshots, hostile)
    hostile.replies(LOST, NOT_PENDING)
    with pytest.raises(AgentError, match="INVALID_SNAPSHOT_ID"):
        put(snapshots)


class Pages:
    """A listing of blocks in pages of so many; a token is refused ``old`` times before the next page is given."""

    def __init__(self, *pages: list[int], old: int = 0) -> None:
        self.pages = pages
        self.old = old
        self.refused = 0
        self.starts: list[int] = []

    def __call__(self, request: Request) -> Reply:
        assert request.query["maxResults"] == "10000"
        token = request.query.get("pageToken")
        if token and self.refused < self.old:
            self.refused += 1
            return OLD_TOKEN
        self.refused = 0
        if token:
            number = int(token)
        else:
            start = int(request.query.get("startingBlockIndex", "0"))
            self.starts.append(start)
            number = next(n for n, page in enumerate(self.pages) if not start or max(page, default=0) >= start)
        value = {
            "Blocks": [{"BlockIndex": each, "BlockToken": f"t{each}"} for each in self.pages[number]],
            "VolumeSize": 1,
            **({"NextToken": str(number + 1)} if number + 1 < len(self.pages) else {}),
        }
        return Reply(200, json.dumps(value).encode())


def listed(snapshots: DirectSnapshots) -> list[int]:
    found = list(snapshots.list_blocks("snap-1"))
    assert all(token == f"t{index}" for index, token in found)
    return [index for index, _token in found]


def test_an_empty_page_is_not_the_end(hostile: Hostile, snapshots: DirectSnapshots, progress: Progress) -> None:
    hostile.script = Pages([], [1, 2], [], [], [9], [])
    assert listed(snapshots) == [1, 2, 9]
    assert progress.shown()["progress"] == 6  # a page that was listed is progress, an empty one too


def test_a_snapshot_without_blocks_has_an_empty_list(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    hostile.script = Pages([])
    assert listed(snapshots) == []


def test_a_list_whose_token_has_expired_goes_on_behind_its_last_block(
    hostile: Hostile, snapshots: DirectSnapshots
) -> None:
    """Every token of it: once for each."""
    hostile.script = pages = Pages([1, 2], [5], [8, 9], old=1)
    assert listed(snapshots) == [1, 2, 5, 8, 9]
    assert pages.starts == [0, 3, 6]


def test_a_token_that_is_always_refused_is_an_error(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    hostile.script = Pages([], [5], old=99)
    with pytest.raises(AgentError, match="INVALID_PAGE_TOKEN"):
        listed(snapshots)
    assert len(hostile.requests) == 4  # the page, its token, the page again, its token again


def test_nothing_is_asked_behind_the_last_block_of_the_volume(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    hostile.script = pages = Pages([1, BLOCKS_PER_GIB - 1], [], old=99)
    assert listed(snapshots) == [1, BLOCKS_PER_GIB - 1]
    assert pages.starts == [0]


def test_another_refusal_of_a_page_is_final(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    page = {"Blocks": [], "VolumeSize": 1, "NextToken": "x"}
    hostile.replies(
        Reply(200, json.dumps(page).encode()), ebs_error(400, "ValidationException", "INVALID_PARAMETER_VALUE")
    )
    with pytest.raises(AgentError, match="INVALID_PARAMETER_VALUE"):
        listed(snapshots)
    assert len(hostile.requests) == 2


def changed(*blocks: dict[str, object], **more: object) -> Reply:
    """A page of changes."""
    value = {"ChangedBlocks": list(blocks), "VolumeSize": 1, "BlockSize": BLOCK_SIZE, **more}
    return Reply(200, json.dumps(value).encode())


def test_changes_are_listed_with_the_second_snapshots_tokens(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    hostile.replies(
        changed({"BlockIndex": 1, "FirstBlockToken": "a", "SecondBlockToken": "b"}, NextToken="next"),
        changed(NextToken="after"),
        changed({"BlockIndex": 5, "FirstBlockToken": "c"}, {"BlockIndex": 7, "SecondBlockToken": "d"}),
    )
    assert list(snapshots.list_changed("snap-0", "snap-1")) == [(1, "b"), (5, None), (7, "d")]
    assert {each.path for each in hostile.requests} == {"/snapshots/snap-1/changedblocks"}
    assert {each.query["firstSnapshotId"] for each in hostile.requests} == {"snap-0"}
    assert [each.query.get("pageToken") for each in hostile.requests] == [None, "next", "after"]


def test_changes_whose_token_has_expired_go_on_behind_the_last(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    hostile.replies(changed({"BlockIndex": 1}, NextToken="next"), OLD_TOKEN, changed({"BlockIndex": 5}))
    assert list(snapshots.list_changed("snap-0", "snap-1")) == [(1, None), (5, None)]
    assert hostile.requests[2].query["startingBlockIndex"] == "2"


@pytest.mark.parametrize(
    "reply",
    [
        NOT_FOUND,
        ebs_error(400, "ValidationException", "UNRELATED_SNAPSHOTS"),
        ebs_error(403, "AccessDeniedException", "UNAUTHORIZED_ACCOUNT"),
        changed(BlockSize=1 << 20),
    ],
    ids=["gone", "unrelated", "not ours", "other blocks"],
)
def test_what_cannot_be_compared_is_told_before_anything_is_taken(
    hostile: Hostile, snapshots: DirectSnapshots, reply: Reply
) -> None:
    hostile.replies(reply)
    with pytest.raises(NotComparable, match="snap-1 cannot be compared with snap-0: "):
        snapshots.list_changed("snap-0", "snap-1")
    assert len(hostile.requests) == 1


def test_what_cannot_be_compared_any_more_is_told_by_the_list(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    hostile.replies(changed({"BlockIndex": 1, "SecondBlockToken": "b"}, NextToken="next"), NOT_FOUND)
    found = snapshots.list_changed("snap-0", "snap-1")
    assert next(found) == (1, "b")
    with pytest.raises(NotComparable, match="snap-1 cannot be compared with snap-0: "):
        next(found)


def test_an_ebs_that_cannot_be_reached_is_no_reason_to_read_everything(
    hostile: Hostile, snapshots: DirectSnapshots
) -> None:
    hostile.replies(LOST)
    with pytest.raises(AgentError) as raised:
        snapshots.list_changed("snap-0", "snap-1")
    assert raised.value.code == "EbsUnreachable"
    assert raised.value.message.startswith("127.0.0.1 was not reached for ")
    assert "mayfly_networks" in raised.value.remedy


def test_credentials_that_have_ended_are_read_again(hostile: Hostile, tmp_path: Path, progress: Progress) -> None:
    path = write(tmp_path / "source.json", "first")
    snapshots = DirectSnapshots(FileCredentials(path), "us-east-1", 4, progress, hostile.url)

    def script(request: Request) -> Reply:
        if "Credential=first/" in request.headers["authorization"]:
            write(path, "second")
            return ebs_error(403, "ExpiredTokenException")
        return GOOD

    hostile.script = script
    assert snapshots.get_block("snap-1", 0, "token") == (BLOCK, DIGEST)
    assert len(hostile.requests) == 2


def test_credentials_that_nobody_renews_are_told(hostile: Hostile, snapshots: DirectSnapshots) -> None:
    hostile.replies(ebs_error(403, "ExpiredTokenException"))
    with pytest.raises(AgentError, match="block 0 of the new snap-1") as raised:
        put(snapshots)
    assert raised.value.code == "CredentialsExpired"
    assert len(hostile.requests) == 3
