# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository's objects over an S3 that fails as S3 does."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from mayfly_agent.errors import AgentError
from mayfly_agent.objects import ObjectExists, ObjectNotFound
from mayfly_agent.progress import Progress
from mayfly_agent.repository import repository
from mayfly_agent.s3 import CONFIG, S3Objects

from tests.unit.agent.hostile import LOST, FastClock, Hostile, Reply, Request, s3_error
from tests.unit.agent.repository.points import KEY, manifest

BODY = bytes(range(256)) * 1024
GOOD = Reply(200, BODY)
DONE = Reply(200)


@pytest.fixture(scope="module")
def session() -> botocore.session.Session:
    """It keeps what it has read of S3's description: a second each time."""
    return botocore.session.Session()


@pytest.fixture
def store(hostile: Hostile, progress: Progress, session: botocore.session.Session) -> S3Objects:
    config = CONFIG.merge(Config(s3={"addressing_style": "path"}))
    client = session.create_client("s3", region_name="us-east-1", endpoint_url=hostile.url, config=config)
    return S3Objects(client, "bucket", "prefix", "444455556666", progress)


def test_bodies_come_over_one_connection(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(GOOD)
    for _ in range(5):
        assert store.get("key") == BODY
    assert hostile.connections == 1
    assert {each.headers["x-amz-expected-bucket-owner"] for each in hostile.requests} == {"444455556666"}


@pytest.mark.parametrize("sent", [0, 1, len(BODY) - 1, -1], ids=["no body", "a byte", "all but one", "no answer"])
def test_a_reset_in_mid_body_is_asked_again(hostile: Hostile, store: S3Objects, sent: int) -> None:
    hostile.replies(Reply(200, BODY, sent=sent), Reply(200, BODY, sent=sent), GOOD)
    assert store.get("key") == BODY
    assert len(hostile.requests) == 3


def test_a_body_that_always_breaks_is_given_up(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(Reply(206, BODY, sent=7))
    with pytest.raises(AgentError, match=r"key in bucket bucket: .* tried 3 times") as raised:
        store.get_range("key", 0, len(BODY))
    assert raised.value.code == "S3Unreachable"
    assert len(hostile.requests) == 3
    assert {each.headers["range"] for each in hostile.requests} == {f"bytes=0-{len(BODY) - 1}"}


def test_a_wrong_checksum_is_asked_again(hostile: Hostile, store: S3Objects) -> None:
    checksums = [base64.b64encode(zlib.crc32(each).to_bytes(4, "big")).decode() for each in (b"other", BODY)]
    hostile.replies(*(Reply(200, BODY, {"x-amz-checksum-crc32": each}) for each in checksums))
    assert store.get("key") == BODY
    assert len(hostile.requests) == 2


def test_a_list_that_is_none_is_asked_again(hostile: Hostile, store: S3Objects) -> None:
    page = b"<ListBucketResult><Contents><Key>prefix/a/b</Key></Contents></ListBucketResult>"
    hostile.replies(Reply(200, b"<ListBucketResult><Cont"), Reply(200, page))
    assert list(store.list("a/")) == ["a/b"]


def test_a_body_that_comes_too_slowly_is_asked_again(hostile: Hostile, store: S3Objects, clock: FastClock) -> None:
    def hours() -> None:
        clock.time += 3600

    hostile.replies(Reply(200, BODY, between=hours), GOOD)
    assert store.get("key") == BODY
    assert len(hostile.requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        s3_error(503, "SlowDown"),
        s3_error(503, "ServiceUnavailable"),
        s3_error(500, "InternalError"),
        s3_error(500, "SomethingNew"),
        s3_error(502),
        s3_error(504),
        s3_error(429),
        s3_error(429, "TooManyRequestsException"),
        s3_error(400, "ThrottlingException"),
        s3_error(409, "ConditionalRequestConflict"),
        s3_error(409, "OperationAborted"),
    ],
    ids=lambda reply: f"{reply.status} {reply.body[13:30].decode()}",
)
def test_later_is_not_no(hostile: Hostile, store: S3Objects, clock: FastClock, reply: Reply) -> None:
    """Far more often than a client of botocore's would try, and longer than a minute."""
    hostile.replies(*[reply] * 25, DONE)
    began = clock.now()
    store.put("key", b"body", create_only=True)
    assert len(hostile.requests) == 26
    assert clock.now() - began > 60


def test_an_s3_that_is_busy_for_ever_is_given_up(hostile: Hostile, store: S3Objects, clock: FastClock) -> None:
    hostile.replies(s3_error(503, "SlowDown"))
    began = clock.now()
    with pytest.raises(AgentError, match="S3 refused PutObject of key in bucket bucket") as raised:
        store.put("key", b"body")
    assert raised.value.code == "SlowDown"
    assert 300 <= clock.now() - began <= 315


@pytest.mark.parametrize("code", ["BadDigest", "RequestTimeout", "IncompleteBody"])
def test_what_was_sent_badly_is_sent_three_times(hostile: Hostile, store: S3Objects, code: str) -> None:
    hostile.replies(s3_error(400, code))
    with pytest.raises(AgentError) as raised:
        store.put("key", b"body")
    assert raised.value.code == code
    assert len(hostile.requests) == 3


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (s3_error(403, "AccessDenied"), "AccessDenied"),
        (s3_error(404, "NoSuchBucket"), "NoSuchBucket"),
        (s3_error(400, "ExpiredToken"), "ExpiredToken"),
        (s3_error(501, "NotImplemented"), "NotImplemented"),
        (s3_error(404, "NoSuchKey"), "ObjectNotFound"),
        (s3_error(412, "PreconditionFailed"), "ObjectExists"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_all_else_is_final(hostile: Hostile, store: S3Objects, reply: Reply, code: str) -> None:
    hostile.replies(reply)
    with pytest.raises(AgentError) as raised:
        store.put("key", b"body", create_only=True)
    assert raised.value.code == code
    assert len(hostile.requests) == 1


def test_remedies_are_told(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(s3_error(404, "NoSuchBucket"))
    with pytest.raises(AgentError) as raised:
        store.get("key")
    assert "mayfly_repository" in raised.value.remedy
    hostile.replies(s3_error(404, "NoSuchKey"))
    with pytest.raises(ObjectNotFound, match="no object key"):
        store.get("key")


class Bucket:
    """Keeps what is put, create-only; ``fate`` is what becomes of each answer to a put."""

    def __init__(self, *fate: Reply | None) -> None:
        self.objects: dict[str, bytes] = {}
        self._fate = list(fate)

    def __call__(self, request: Request) -> Reply:
        if request.method == "GET":
            body = self.objects.get(request.path)
            return s3_error(404, "NoSuchKey") if body is None else Reply(200, body)
        assert request.headers["if-none-match"] == "*"
        if request.path in self.objects:
            reply = s3_error(412, "PreconditionFailed")
        else:
            self.objects[request.path] = request.body
            reply = DONE
        return (self._fate.pop(0) if self._fate else None) or reply


@pytest.mark.parametrize("answer", [LOST, s3_error(500, "InternalError"), s3_error(503)], ids=["lost", "500", "503"])
def test_a_commit_whose_answer_was_lost_is_one(hostile: Hostile, store: S3Objects, answer: Reply) -> None:
    hostile.script = bucket = Bucket(answer)
    key = repository.commit(store, manifest(), KEY)
    assert list(bucket.objects) == [f"/bucket/prefix/{key}"]
    assert repository.read_manifest(store, key, KEY) == manifest()
    puts = [each for each in hostile.requests if each.method == "PUT"]
    assert len(puts) == 2
    assert puts[0].body == puts[1].body


def test_a_commit_that_meets_anothers_is_refused(hostile: Hostile, store: S3Objects) -> None:
    hostile.script = bucket = Bucket()
    repository.commit(store, manifest(), KEY)
    before: dict[str, Any] = dict(bucket.objects)
    with pytest.raises(ObjectExists):
        repository.commit(store, manifest(agent="other"), KEY)
    assert bucket.objects == before


def test_a_conflict_of_two_writers_is_settled_by_asking_again(hostile: Hostile, store: S3Objects) -> None:
    """409 says that another writer is at work, not that it has written: here it has not."""
    hostile.replies(s3_error(409, "ConditionalRequestConflict"), DONE)
    repository.commit(store, manifest(), KEY)
    assert [each.method for each in hostile.requests] == ["PUT", "PUT"]
