# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository's objects over an S3 that fails as S3 does."""

from __future__ import annotations

import base64
import zlib
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from mayfly_agent.clients import CONFIG, client_of, session_of
from mayfly_agent.credentials import FileCredentials
from mayfly_agent.errors import AgentError
from mayfly_agent.objects import (
    IfMatch,
    IfNoneMatch,
    Lock,
    LockedOtherwise,
    ObjectChanged,
    ObjectExists,
    ObjectInfo,
    ObjectNotFound,
)
from mayfly_agent.progress import Progress
from mayfly_agent.quick import QuickClient, at_home
from mayfly_agent.repository import repository
from mayfly_agent.s3 import S3Objects
from urllib3 import HTTPResponse

from tests.unit.agent.hostile import LOST, FastClock, Hostile, Reply, Request, s3_error
from tests.unit.agent.repository.points import KEY, manifest
from tests.unit.agent.test_credentials import write

BODY = bytes(range(256)) * 1024
ABOUT = {"Last-Modified": "Tue, 24 Nov 2026 01:30:00 GMT", "ETag": '"tag"'}
GOOD = Reply(200, BODY, ABOUT)
DONE = Reply(200)


@pytest.fixture
def store(s3: S3Objects) -> S3Objects:
    """Here it is S3's."""
    return s3


def test_bodies_come_over_one_connection(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(GOOD)
    for _ in range(5):
        assert store.get("key").body == BODY
    assert hostile.connections == 1
    assert {each.headers["x-amz-expected-bucket-owner"] for each in hostile.requests} == {"444455556666"}


@pytest.mark.parametrize("sent", [0, 1, len(BODY) - 1, -1], ids=["no body", "a byte", "all but one", "no answer"])
def test_a_reset_in_mid_body_is_asked_again(hostile: Hostile, store: S3Objects, sent: int) -> None:
    hostile.replies(Reply(200, BODY, sent=sent), Reply(200, BODY, sent=sent), GOOD)
    assert store.get("key").body == BODY
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
    hostile.replies(*(Reply(200, BODY, {**ABOUT, "x-amz-checksum-crc32": each}) for each in checksums))
    assert store.get("key").body == BODY
    assert len(hostile.requests) == 2


def page(listed: str, *keys: str, more: str = "") -> bytes:
    """A page of a list as S3 writes it."""
    about = "<Size>7</Size><LastModified>2026-11-24T01:30:00.000Z</LastModified><ETag>&quot;tag&quot;</ETag>"
    about += "<StorageClass>STANDARD</StorageClass>"
    found = "".join(f"<{listed}><Key>prefix/{key}</Key>{about}</{listed}>" for key in keys)
    return f"<Result>{found}{more}</Result>".encode()


def test_a_list_that_is_none_is_asked_again(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(Reply(200, b"<ListBucketResult><Cont"), Reply(200, page("Contents", "a/b")))
    assert [found.key for found in store.list("a/")] == ["a/b"]


def test_a_body_that_comes_too_slowly_is_asked_again(hostile: Hostile, store: S3Objects, clock: FastClock) -> None:
    def hours() -> None:
        clock.time += 3600

    hostile.replies(Reply(200, BODY, between=hours), GOOD)
    assert store.get("key").body == BODY
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
    store.put("key", b"body", IfNoneMatch())
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
        (s3_error(501, "NotImplemented"), "NotImplemented"),
        (s3_error(404, "NoSuchKey"), "ObjectNotFound"),
        (s3_error(412, "PreconditionFailed"), "ObjectExists"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_all_else_is_final(hostile: Hostile, store: S3Objects, reply: Reply, code: str) -> None:
    hostile.replies(reply)
    with pytest.raises(AgentError) as raised:
        store.put("key", b"body", IfNoneMatch())
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
            return s3_error(404, "NoSuchKey") if body is None else Reply(200, body, ABOUT)
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
    key, digest = repository.commit(store, manifest(), KEY)
    assert digest == sha256(bucket.objects[f"/bucket/prefix/{key}"]).hexdigest()
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


def test_nothing_is_sent_after_the_deadline(hostile: Hostile, store: S3Objects, progress: Progress) -> None:
    progress.deadline = progress.clock.now()
    with pytest.raises(AgentError) as raised:
        repository.commit(store, manifest(), KEY)
    assert raised.value.code == "DeadlinePassed"
    assert not hostile.requests


def test_a_commit_is_not_repeated_after_the_deadline(
    hostile: Hostile, store: S3Objects, progress: Progress, clock: FastClock
) -> None:
    """However long requests may be repeated: deletion rests on it that no manifest comes later."""
    at: list[float] = []

    def busy(_request: Request) -> Reply:
        at.append(clock.now())
        return s3_error(503, "SlowDown")

    hostile.script = busy
    progress.retry_timeout = 900
    progress.deadline = clock.now() + 30
    with pytest.raises(AgentError) as raised:
        repository.commit(store, manifest(), KEY)
    assert raised.value.code == "DeadlinePassed"
    assert len(at) > 5
    assert max(at) < progress.deadline <= clock.now()


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException"])
def test_credentials_that_have_ended_are_read_again(
    hostile: Hostile, tmp_path: Path, progress: Progress, code: str
) -> None:
    """The file may hold others than the request was signed with: this machine's clock did not tell it so."""
    path = write(tmp_path / "repository.json", "first")

    def script(request: Request) -> Reply:
        if "Credential=first/" in request.headers["authorization"]:
            write(path, "second")
            return s3_error(400, code)
        return GOOD

    hostile.script = script
    others = client_of(FileCredentials(path), "us-east-1", progress.check_deadline)
    client = QuickClient(
        FileCredentials(path), "us-east-1", "bucket", lambda: others, clock=progress.clock, url=hostile.url
    )
    assert S3Objects(client, "bucket", "prefix", None, progress).get("key").body == BODY
    assert len(hostile.requests) == 2


def test_credentials_that_nobody_renews_are_told(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(s3_error(400, "ExpiredToken"))
    with pytest.raises(AgentError, match="PutObject of key") as raised:
        store.put("key", b"body")
    assert (raised.value.code, raised.value.remedy[:3]) == ("CredentialsExpired", "Was")
    assert len(hostile.requests) == 3


def test_what_is_got_says_when_it_was_put_and_what_time_it_is(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(GOOD)
    before = datetime.now(UTC).replace(microsecond=0)
    stored = store.get("key")
    assert (stored.etag, stored.modified) == ('"tag"', datetime(2026, 11, 24, 1, 30, tzinfo=UTC))
    assert before <= stored.date <= datetime.now(UTC)


def test_an_answer_without_these_is_asked_again(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(Reply(200, BODY), GOOD)
    assert store.get("key").body == BODY
    assert len(hostile.requests) == 2


def test_lists_go_on_page_after_page(hostile: Hostile, store: S3Objects) -> None:
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken>"
    hostile.replies(Reply(200, page("Contents", "a/1", "a/2", more=more)), Reply(200, page("Contents", "a/3")))
    when = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
    assert list(store.list("a/")) == [ObjectInfo(f"a/{n}", 7, when, '"tag"', None, "STANDARD") for n in (1, 2, 3)]
    first, second = hostile.requests
    assert (first.query["prefix"], first.query.get("continuation-token")) == ("prefix/a/", None)
    assert (second.query["prefix"], second.query["continuation-token"]) == ("prefix/a/", "next")


def test_folders_go_on_page_after_page(hostile: Hostile, store: S3Objects) -> None:
    folder = "<CommonPrefixes><Prefix>prefix/a/{}/</Prefix></CommonPrefixes>"
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken>"
    pages = (page("Contents", "a/x", more=folder.format("b") + more), page("Contents", more=folder.format("c")))
    hostile.replies(*(Reply(200, each) for each in pages))
    assert list(store.folders("a/")) == ["a/b/", "a/c/"]
    assert {each.query["delimiter"] for each in hostile.requests} == {"/"}


def test_versions_and_delete_markers_are_listed(hostile: Hostile, store: S3Objects) -> None:
    marker = "<DeleteMarker><Key>prefix/a/1</Key><VersionId>v2</VersionId>"
    marker += "<LastModified>2026-11-24T01:30:00.000Z</LastModified></DeleteMarker>"
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>prefix/a/1</NextKeyMarker>"
    more += "<NextVersionIdMarker>v1</NextVersionIdMarker>"
    version = page("Version", "a/1").replace(b"<Size>", b"<VersionId>v1</VersionId><Size>")
    hostile.replies(
        Reply(200, version.replace(b"</Result>", f"{marker}{more}</Result>".encode())), Reply(200, page("x"))
    )
    found = list(store.list("a/", versions=True))
    assert [(each.key, each.version, each.size, each.etag) for each in found] == [
        ("a/1", "v1", 7, '"tag"'),
        ("a/1", "v2", 0, ""),
    ]
    assert (hostile.requests[1].query["key-marker"], hostile.requests[1].query["version-id-marker"]) == (
        "prefix/a/1",
        "v1",
    )


def test_a_thousand_objects_are_deleted_at_once(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(Reply(200, b"<DeleteResult/>"))
    store.delete_many((f"key-{number}", "v1" if number == 2000 else None) for number in range(2001))
    assert [each.body.count(b"<Object>") for each in hostile.requests] == [1000, 1000, 1]
    assert b"<Key>prefix/key-2000</Key><VersionId>v1</VersionId>" in hostile.requests[2].body
    assert b"<VersionId>" not in hostile.requests[0].body
    assert all(each.headers["x-amz-expected-bucket-owner"] == "444455556666" for each in hostile.requests)


def failure(code: str) -> Reply:
    """Of a request that S3 has carried out but for one object."""
    error = f"<Error><Key>prefix/key</Key><Code>{code}</Code><Message>no</Message></Error>"
    return Reply(200, f"<DeleteResult>{error}</DeleteResult>".encode())


@pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
def test_what_was_not_deleted_is_deleted_later(hostile: Hostile, store: S3Objects, code: str) -> None:
    hostile.replies(failure(code), Reply(200, b"<DeleteResult/>"))
    store.delete_many([("key", None)])
    assert len(hostile.requests) == 2


def test_all_that_may_not_be_deleted_is_told(hostile: Hostile, store: S3Objects) -> None:
    """With what was put off, which is asked for again by itself."""
    error = "<Error><Key>prefix/{}</Key><VersionId>{}</VersionId><Code>{}</Code><Message>no</Message></Error>"
    told = [("a", "1", "AccessDenied"), ("b", "2", "SlowDown"), ("c", "3", "AccessDenied"), ("d", "4", "NoSuchVersion")]
    first = "".join(error.format(*each) for each in told)
    second = error.format("b", "2", "InvalidArgument")
    hostile.replies(*(Reply(200, f"<DeleteResult>{each}</DeleteResult>".encode()) for each in (first, second)))
    refused = store.delete_many([(key, version) for key, version, _code in told])
    found = [(each.key, each.version, each.code) for each in refused]
    assert found == [told[0], told[2], ("b", "2", "InvalidArgument")]
    assert "refused to delete a in bucket bucket" in refused[0].message
    assert [each.body.count(b"<Object>") for each in hostile.requests] == [4, 1]


def test_what_keeps_an_object_is_told(hostile: Hostile, store: S3Objects) -> None:
    until = {"x-amz-object-lock-retain-until-date": "2027-02-01T00:00:00.000Z"}
    held = {"x-amz-object-lock-legal-hold": "ON"}
    hostile.replies(Reply(200, headers=until), Reply(200, headers=held), Reply(200), Reply(405))
    found = [store.lock("key", "v1") for _ in range(4)]
    assert found == [Lock(datetime(2027, 2, 1, tzinfo=UTC)), Lock(None), None, None]
    assert {(each.path, each.query["versionId"]) for each in hostile.requests} == {("/bucket/prefix/key", "v1")}


@pytest.mark.parametrize(
    ("condition", "header", "error"),
    [(IfNoneMatch(), ("if-none-match", "*"), ObjectExists), (IfMatch('"tag"'), ("if-match", '"tag"'), ObjectChanged)],
    ids=["if-none-match", "if-match"],
)
def test_a_put_can_have_a_condition(
    hostile: Hostile, store: S3Objects, condition: Any, header: tuple[str, str], error: type[AgentError]
) -> None:
    hostile.replies(Reply(200, headers={"ETag": '"new"'}), s3_error(412, "PreconditionFailed"))
    assert store.put("key", b"body", condition) == '"new"'
    with pytest.raises(error, match="key"):
        store.put("key", b"body", condition)
    assert [each.headers[header[0]] for each in hostile.requests] == [header[1]] * 2


def test_what_is_to_be_replaced_and_is_gone_is_told(hostile: Hostile, store: S3Objects) -> None:
    hostile.replies(s3_error(404, "NoSuchKey"))
    with pytest.raises(ObjectNotFound):
        store.put("key", b"body", IfMatch('"tag"'))


def test_a_request_that_is_signed_after_the_deadline_is_not_sent(
    hostile: Hostile, store: S3Objects, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has stood still between the look at the clock and the signature."""
    looks = []

    def passes() -> None:
        looks.append(1)
        if len(looks) == 2:
            raise AgentError("DeadlinePassed", "It has passed.")

    monkeypatch.setattr(progress, "check_deadline", passes)
    with pytest.raises(AgentError) as raised:
        store.put("key", b"body")
    assert raised.value.code == "DeadlinePassed"
    assert hostile.requests == []


@pytest.mark.parametrize(
    ("region", "bucket", "host"),
    [
        ("eu-central-1", "backups", "backups.s3.eu-central-1.amazonaws.com"),
        ("cn-north-1", "backups", "backups.s3.cn-north-1.amazonaws.com.cn"),
        ("us-east-1", "with.dots", "s3.us-east-1.amazonaws.com"),
    ],
)
def test_a_bucket_of_aws_is_asked_at_its_own_name(region: str, bucket: str, host: str) -> None:
    """Where botocore's client would ask as well."""
    asked: list[str] = []

    def answered(request: Any, **_more: Any) -> AWSResponse:
        asked.append(request.url)
        return AWSResponse(request.url, 200, {}, HTTPResponse(BytesIO(), preload_content=False))

    config = CONFIG.merge(Config(s3={"us_east_1_regional_endpoint": "regional"}))
    client = session_of(Credentials("access", "secret")).create_client("s3", region_name=region, config=config)
    client.meta.events.register("before-send.s3", answered)
    client.put_object(Bucket=bucket, Key="a/b", Body=b"")
    url, path = at_home(region, bucket)
    assert asked == [f"{url}{path}a/b"]
    assert url == f"https://{host}"


@pytest.mark.parametrize("checksums", [True, False])
def test_the_store_can_verify_what_is_put(hostile: Hostile, progress: Progress, checksums: bool) -> None:
    hostile.replies(DONE)
    keys = Credentials("access", "secret")
    client = QuickClient(
        keys, "us-east-1", "bucket", lambda: None, clock=progress.clock, url=hostile.url, checksums=checksums
    )
    S3Objects(client, "bucket", "prefix", None, progress).put("key", b"body")
    headers = hostile.requests[0].headers
    assert headers["x-amz-content-sha256"] == ("UNSIGNED-PAYLOAD" if checksums else sha256(b"body").hexdigest())
    crc = base64.b64encode(zlib.crc32(b"body").to_bytes(4, "big")).decode()
    assert headers.get("x-amz-checksum-crc32") == (crc if checksums else None)


def test_a_put_can_lock_what_it_writes(hostile: Hostile, store: S3Objects) -> None:
    """S3 takes a lock only of a body with a checksum."""
    hostile.replies(DONE)
    store.put("key", b"body", lock=Lock(datetime(2026, 12, 24, 1, 30, tzinfo=UTC), "COMPLIANCE"))
    (request,) = hostile.requests
    assert request.headers["x-amz-object-lock-mode"] == "COMPLIANCE"
    assert request.headers["x-amz-object-lock-retain-until-date"] == "2026-12-24T01:30:00Z"
    assert any(name.startswith("x-amz-checksum-") for name in request.headers)
    signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"} <= set(signed)


def test_a_lock_is_made_longer_and_one_that_is_longer_already_is_enough(hostile: Hostile, store: S3Objects) -> None:
    until = datetime(2026, 12, 24, 1, 30, tzinfo=UTC)
    held = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2026-12-24T01:30:00Z"}
    hostile.replies(DONE)
    store.extend_lock("key", Lock(until, "GOVERNANCE"))
    assert b"2026-12-24T01:30:00Z" in hostile.requests[-1].body
    hostile.replies(s3_error(403, "AccessDenied"), Reply(200, b"", {**ABOUT, **held}))
    store.extend_lock("key", Lock(until, "GOVERNANCE"))
    hostile.replies(s3_error(403, "AccessDenied"), Reply(200, b"", {**ABOUT, **held}))
    with pytest.raises(AgentError, match="PutObjectRetention") as raised:
        store.extend_lock("key", Lock(until + timedelta(seconds=1), "GOVERNANCE"))
    assert raised.value.code == "AccessDenied"


@pytest.mark.parametrize("longer", [-1, 1])
def test_a_lock_of_another_mode_is_none_that_is_wanted(longer: int, hostile: Hostile, store: S3Objects) -> None:
    until = datetime(2026, 12, 24, 1, 30, tzinfo=UTC)
    held = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2026-12-24T01:30:00Z"}
    hostile.replies(s3_error(403, "AccessDenied"), Reply(200, b"", {**ABOUT, **held}))
    with pytest.raises(LockedOtherwise, match="key is locked in mode GOVERNANCE"):
        store.extend_lock("key", Lock(until + longer * timedelta(days=1), "COMPLIANCE"))
