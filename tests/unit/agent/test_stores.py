# SPDX-License-Identifier: GPL-3.0-or-later
"""Stores that are not AWS's: how requests to them are made, and what their errors say."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from botocore.credentials import Credentials
from mayfly_agent import access
from mayfly_agent.clients import client_at
from mayfly_agent.ebs import DirectSnapshots
from mayfly_agent.errors import AgentError
from mayfly_agent.job import Endpoint, RepositoryPlace
from mayfly_agent.objects import Kept
from mayfly_agent.progress import Progress
from mayfly_agent.quick import QuickClient
from mayfly_agent.s3 import S3Objects
from mayfly_lab import certificates

from tests.unit.agent.hostile import FastClock, Hostile, Reply, s3_error

KEYS = Credentials("key", "the-secret")
BODY = b"a body"


def store_at(url: str, *, path_style: bool = True, trusted: Path | None = None) -> S3Objects:
    """Of a bucket there, with a clock that does not wait."""
    client = client_at(Endpoint(url, path_style), KEYS, "here-1", lambda: None, trusted)
    return S3Objects(client, "bucket", "prefix", None, Progress(FastClock()), endpoint_url=url)


def test_requests_are_signed_with_the_body_and_carry_nothing_of_awss_own(hostile: Hostile) -> None:
    hostile.replies(Reply(200, headers={"ETag": '"tag"'}))
    store_at(hostile.url).put("key", BODY)
    (request,) = hostile.requests
    assert request.path == "/bucket/prefix/key"
    assert request.headers["x-amz-content-sha256"] == hashlib.sha256(BODY).hexdigest()
    assert "/here-1/s3/" in request.headers["authorization"]
    assert not [name for name in request.headers if name.startswith(("x-amz-checksum", "x-amz-sdk", "x-amz-expected"))]
    assert request.body == BODY


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "InvalidAccessKeyId", "access_key_id"),
        (403, "SignatureDoesNotMatch", "secret_access_key"),
        (403, "AccessDenied", "keys of mayfly_repository"),
        (404, "NoSuchBucket", "bucket of mayfly_repository"),
    ],
)
def test_errors_name_the_store_and_the_setting(hostile: Hostile, status: int, code: str, remedy: str) -> None:
    hostile.replies(s3_error(status, code))
    with pytest.raises(AgentError) as raised:
        store_at(hostile.url).put("key", BODY)
    assert raised.value.code == code
    assert f"The store {hostile.url} refused" in raised.value.message
    assert remedy in raised.value.remedy
    assert str(store_at(hostile.url)) == f"bucket/prefix at {hostile.url}"


def test_one_that_is_not_there_is_named(hostile: Hostile) -> None:
    with pytest.raises(AgentError) as raised:
        store_at("http://127.0.0.1:1").put("key", BODY)
    assert raised.value.code == "S3Unreachable"
    assert "The store http://127.0.0.1:1 could not be reached" in raised.value.message
    assert "endpoint_url" in raised.value.remedy


LOCKED = (
    b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    b"<Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)
VERSIONED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


@pytest.mark.parametrize(
    ("replies", "kept"),
    [
        ([Reply(200, VERSIONED), Reply(200, LOCKED)], Kept(True, True, True)),
        (
            [Reply(200, b"<VersioningConfiguration/>"), s3_error(404, "ObjectLockConfigurationNotFoundError")],
            Kept(False, False),
        ),
        ([s3_error(501, "NotImplemented"), s3_error(405, "MethodNotAllowed")], Kept(False, False)),
    ],
    ids=["all", "nothing", "unknown"],
)
def test_what_a_bucket_keeps(hostile: Hostile, replies: list[Reply], kept: Kept) -> None:
    hostile.replies(*replies)
    assert store_at(hostile.url).kept() == kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("authority")
    certificates.ensure_authority(made)
    certificates.issue_server_certificate(made, made / "server.pem", ["localhost"])
    return made


class Answers(BaseHTTPRequestHandler):
    """One object, whatever is asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in {
            "Content-Length": str(len(BODY)),
            "ETag": '"tag"',
            "Last-Modified": "Tue, 24 Nov 2026 01:30:00 GMT",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    """A store behind the authority's certificate."""
    server = HTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_the_agent_trusts_the_authority_that_came_with_its_job(
    url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_CREDENTIALS", tmp_path)
    monkeypatch.setattr(access, "_TRUSTED", tmp_path)
    keys = {"access_key": "key", "secret_key": "secret", "token": None}
    (tmp_path / "repository.json").write_text(json.dumps(keys))
    endpoint = {"url": url, "authorities": (folder / "ca.pem").read_text()}
    place = RepositoryPlace.parse({"bucket": "bucket", "prefix": "", "region": "here-1", "endpoint": endpoint})
    assert access._store(place, "repository", Progress(FastClock())).get("key").body == BODY


def test_without_it_the_store_is_refused_at_once_with_what_would_mend_it(url: str) -> None:
    with pytest.raises(AgentError) as raised:
        store_at(url).get("key")
    assert raised.value.code == "CertificateNotTrusted"
    assert url in raised.value.message
    assert "tried" not in raised.value.message
    assert "ca_file" in raised.value.remedy


def test_nor_is_one_that_answers_in_place_of_aws(url: str, progress: Progress) -> None:
    """Over the connections that are AWS's own: nothing is tried again, and no network is to blame."""
    client = QuickClient(KEYS, "us-east-1", "bucket", lambda: None, clock=FastClock(), url=url)
    with pytest.raises(AgentError) as raised:
        S3Objects(client, "bucket", "", None, progress).get("key")
    assert raised.value.code == "CertificateNotTrusted"
    assert "tried" not in raised.value.message
    assert "inspection" in raised.value.remedy


def test_nor_is_one_that_answers_in_place_of_ebs(url: str, progress: Progress) -> None:
    snapshots = DirectSnapshots(Credentials("AKIA", "secret"), "us-east-1", 1, progress, url)
    for ask in (lambda: snapshots.get_block("snap-1", 0, "token"), lambda: next(snapshots.list_blocks("snap-1"))):
        with pytest.raises(AgentError) as raised:
            ask()
        assert raised.value.code == "CertificateNotTrusted"
        assert "localhost" in raised.value.message
        assert "tried" not in raised.value.message
        assert "inspection" in raised.value.remedy
