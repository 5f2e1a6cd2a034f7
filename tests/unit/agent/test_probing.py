# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check finds: names, certificates, closed ports and rights, each told apart from the others, and in time."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from mayfly_agent import probing
from mayfly_agent.clients import CONFIG
from mayfly_agent.ebs import DirectSnapshots
from mayfly_agent.errors import AgentError
from mayfly_agent.job import CheckJob, Endpoint, Port, RepositoryPlace, Service
from mayfly_agent.probing import Finding, Probe, Rights
from mayfly_agent.progress import Progress
from mayfly_agent.s3 import S3Objects
from mayfly_agent.signed import SignedRequests
from mayfly_lab import certificates

from tests.unit.agent.hostile import Hostile, Reply, Request, ebs_error, s3_error

REGION = "us-east-1"
KEYS = Credentials("AKIA", "secret")
JOB = CheckJob(
    run="run",
    seconds_left=60,
    resource={"account": "111122223333", "region": REGION, "kind": "subnet", "id": "subnet-1"},
    repository=RepositoryPlace("bucket", "prefix", REGION, "111122223333"),
    retry_timeout=0.1,
    services=(),
    snapshot_id="snap-00000000000000000",
)
ARN = "arn:aws:sts::111122223333:assumed-role/mayfly-worker/run"
IDENTITY = f"<GetCallerIdentityResponse><Arn>{ARN}</Arn></GetCallerIdentityResponse>".encode()
REFUSED = (
    b"<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>no such token</Message></Error></ErrorResponse>"
)
NO_BLOCKS = ebs_error(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND")
FOUND = {"Last-Modified": "Tue, 24 Nov 2026 01:30:00 GMT", "ETag": '"tag"'}
EMPTY = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


class TlsServer:
    """Shakes hands and hangs up; with ``silent`` it says nothing at all."""

    def __init__(self, certificate: Path, *, silent: bool = False) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._silent = silent
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    @contextmanager
    def running(self) -> Iterator[TlsServer]:
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            thread.join(10)

    def _serve(self) -> None:
        held = []
        with suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                held.append(accepted)
                with suppress(OSError):
                    if not self._silent:
                        self._context.wrap_socket(accepted, server_side=True).close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("probing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "certificate_names", lambda: ["localhost"])
        certificates.ensure_authority(made)
        certificates.issue_server_certificate(made, made / "server.pem")
    return made


@pytest.fixture(scope="module")
def session() -> botocore.session.Session:
    return botocore.session.Session()


@pytest.fixture(autouse=True)
def trusted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))


@pytest.fixture
def server(folder: Path) -> Iterator[TlsServer]:
    with TlsServer(folder / "server.pem").running() as made:
        yield made


@pytest.fixture
def rights(hostile: Hostile, progress: Progress, session: botocore.session.Session) -> Rights:
    """The three services, all behind one server."""
    progress.retry_timeout = 0.1
    config = CONFIG.merge(Config(s3={"addressing_style": "path"}))
    client = session.create_client("s3", region_name=REGION, endpoint_url=hostile.url, config=config)
    return Rights(
        store=lambda: S3Objects(client, "bucket", "prefix", "111122223333", progress),
        snapshots=lambda region: DirectSnapshots(KEYS, region, 1, progress, hostile.url),
        sts=lambda _url, region: SignedRequests(KEYS, "sts", region, hostile.url, connections=1, clock=progress.clock),
    )


def service(name: str, host: str = "localhost", *, private: bool = False) -> Service:
    return Service(name, REGION, host, private)


def found(rights: Rights, port: int, *services: Service) -> dict[str, Finding]:
    """The findings for services, by "service check"."""
    at_port = tuple(replace(each, port=port) for each in services)
    findings = Probe(replace(JOB, services=at_port), rights).run()
    return {f"{each.service} {each.check}": each for each in findings}


def oks(findings: dict[str, Finding]) -> dict[str, bool | None]:
    return {name: each.ok for name, each in findings.items()}


FOLDER = "prefix/111122223333/us-east-1/subnet/subnet-1/"


def answers(**by_service: Reply) -> Callable[[Request], Reply]:
    """A script over all three services: the list and the object of S3, EBS, STS.

    Of S3, a worker may list the folder of its resource and nothing else.
    """

    def script(request: Request) -> Reply:
        if request.method == "POST":
            return by_service["sts"]
        if request.path.startswith("/snapshots/"):
            return by_service["ebs"]
        if "list-type" not in request.query:
            return by_service["object"]
        return by_service["list"] if request.query["prefix"] == FOLDER else s3_error(403, "AccessDenied")

    return script


GOOD = {"sts": Reply(200, IDENTITY), "ebs": NO_BLOCKS, "list": Reply(200, EMPTY), "object": Reply(200, b"{}", FOUND)}


def test_everything_in_order_is_found_so(rights: Rights, hostile: Hostile, server: TlsServer) -> None:
    hostile.script = answers(**GOOD)
    findings = found(rights, server.port, *(service(name) for name in ("s3", "ebs", "sts", "kms", "ec2")))
    tried = [f"{name} {check}" for name in ("s3", "ebs", "sts") for check in ("name", "tls", "rights")]
    reached = [f"{name} {check}" for name in ("kms", "ec2") for check in ("name", "tls")]
    assert oks(findings) == {
        **dict.fromkeys([*tried, *reached], True),
        **dict.fromkeys(["kms rights", "ec2 rights"], None),
    }
    assert {each.remedy for each in findings.values()} == {""}
    assert ARN in findings["sts rights"].reason
    assert "127.0.0.1" in findings["ebs name"].reason
    assert "own" in findings["kms rights"].reason


def test_it_asks_for_what_a_transfer_asks_for(rights: Rights, hostile: Hostile, server: TlsServer) -> None:
    hostile.script = answers(**GOOD)
    found(rights, server.port, service("s3"), service("ebs"), service("sts"))
    asked = {(each.method, each.path) for each in hostile.requests}
    assert asked == {
        ("GET", "/bucket"),
        ("GET", "/bucket/prefix/repository.json"),
        ("GET", "/snapshots/snap-00000000000000000/blocks"),
        ("POST", "/"),
    }
    (listed,) = [each for each in hostile.requests if each.path == "/bucket"]
    assert listed.query["prefix"] == FOLDER


# What a service answers, whether that is right, and a word of the reason and of the remedy.
RIGHTS: list[tuple[str, str, Reply, bool, str, str]] = [
    ("s3", "list", s3_error(403, "AccessDenied"), False, "AccessDenied", "role"),
    ("s3", "list", s3_error(404, "NoSuchBucket"), False, "NoSuchBucket", "bucket"),
    ("s3", "object", s3_error(403, "AccessDenied"), False, "repository.json", "role"),
    ("s3", "object", s3_error(404, "NoSuchKey"), False, "has no repository.json", "repository_create"),
    ("s3", "object", s3_error(503, "SlowDown"), False, "SlowDown", "worker_role_arn"),
    ("ebs", "ebs", ebs_error(400, "ValidationException", "INVALID_SNAPSHOT_ID"), True, "", ""),
    ("ebs", "ebs", Reply(200, b'{"Blocks": [], "BlockSize": 524288}'), True, "", ""),
    ("ebs", "ebs", ebs_error(403, "AccessDeniedException"), False, "EBS refused", "worker_role_arn"),
    ("ebs", "ebs", ebs_error(500, "InternalServerException"), False, "tried", "worker_role_arn"),
    ("sts", "sts", Reply(403, REFUSED), False, "no such token (InvalidClientTokenId)", "worker_role_arn"),
    ("sts", "sts", Reply(503, b"<html>busy"), False, "status 503", "worker_role_arn"),
]


@pytest.mark.parametrize("case", RIGHTS, ids=lambda case: f"{case[0]}-{case[1]}-{case[4] or 'good'}")
def test_rights_are_what_the_service_says(
    rights: Rights, hostile: Hostile, server: TlsServer, case: tuple[str, str, Reply, bool, str, str]
) -> None:
    name, call, reply, right, reason, remedy = case
    hostile.script = answers(**{**GOOD, call: reply})
    findings = found(rights, server.port, service(name))
    assert oks(findings) == {f"{name} name": True, f"{name} tls": True, f"{name} rights": right}
    finding = findings[f"{name} rights"]
    assert reason in finding.reason
    assert remedy in finding.remedy
    assert bool(finding.remedy) is not right


def test_without_credentials_there_are_no_rights(rights: Rights, server: TlsServer) -> None:
    def none(_region: str) -> Any:
        raise AgentError("NoCredentials", "The credentials source.json cannot be read.")

    finding = found(replace(rights, snapshots=none), server.port, service("ebs"))["ebs rights"]
    assert (finding.ok, finding.reason) == (False, "The credentials source.json cannot be read.")


def test_a_failure_of_the_agents_own_is_told_and_takes_no_other_with_it(
    rights: Rights, hostile: Hostile, server: TlsServer
) -> None:
    hostile.script = answers(**GOOD)

    def broken(_region: str) -> Any:
        raise ZeroDivisionError("oops")

    findings = found(replace(rights, snapshots=broken), server.port, service("ebs"), service("sts"))
    assert findings["ebs rights"].reason == "ZeroDivisionError: oops"
    assert findings["sts rights"].ok


def closed_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_closed_port_is_no_way(rights: Rights) -> None:
    findings = found(rights, closed_port(), service("ebs"))
    assert oks(findings) == {"ebs name": True, "ebs tls": False, "ebs rights": None}
    assert "refused" in findings["ebs tls"].reason
    assert "TCP 443 out" in findings["ebs tls"].remedy
    assert findings["ebs rights"].reason == "Not tried: the step before it has failed."


def test_a_server_that_says_nothing_is_no_way(rights: Rights, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_CONNECT_SECONDS", 0.2)
    with TlsServer(folder / "server.pem", silent=True).running() as mute:
        finding = found(rights, mute.port, service("ebs"))["ebs tls"]
    assert finding.ok is False
    assert "timed out" in finding.reason


@pytest.mark.parametrize("why", ["another name", "another authority"])
def test_a_certificate_that_is_not_awss_is_found_so(
    rights: Rights, server: TlsServer, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = "127.0.0.1" if why == "another name" else "localhost"
    if why == "another authority":
        certificates.ensure_authority(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    finding = found(rights, server.port, service("ebs", host))["ebs tls"]
    assert finding.ok is False
    assert "is not AWS's" in finding.reason
    assert "inspection" in finding.remedy


def resolver(*addresses: str) -> Callable[..., Any]:
    """Stands in for the C library, so that no other machine is asked; without an address the name is unknown."""

    def getaddrinfo(_host: str, port: int, **_more: Any) -> Any:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    return getaddrinfo


def test_a_name_that_nobody_knows(rights: Rights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver())
    findings = found(rights, 1, service("ebs", "ebs.us-east-1.amazonaws.com"))
    assert oks(findings) == {"ebs name": False, "ebs tls": None, "ebs rights": None}
    assert findings["ebs name"].reason == "ebs.us-east-1.amazonaws.com is not resolved: Name or service not known."
    assert "enableDnsSupport" in findings["ebs name"].remedy


# Addresses, whether a VPC endpoint is expected, whether that is right.
ADDRESSES = [
    (["10.0.0.7", "10.0.1.7"], True, True),
    (["100.64.0.10"], True, True),  # AWS takes this range for VPCs as well
    (["52.95.110.1"], True, False),
    (["10.0.0.7", "52.95.110.1"], True, False),
    (["fd00::7"], True, True),
    (["2600:1f00::1"], True, False),
]


@pytest.mark.parametrize(("addresses", "private", "right"), ADDRESSES)
def test_an_endpoints_name_has_private_addresses(
    addresses: list[str], private: bool, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver(*addresses))
    probe = Probe(JOB, Rights(None, None, None))  # type: ignore[arg-type]  # nothing is asked
    if right:
        assert all(each in probe._resolve(service("ebs", private=private)) for each in addresses)
        return
    with pytest.raises(AgentError) as raised:
        probe._resolve(service("ebs", private=private))
    assert "private DNS names" in raised.value.remedy
    assert probe._resolve(service("ebs"))  # without an endpoint, any address will do


def test_ports_are_tried_beside_services(rights: Rights, server: TlsServer) -> None:
    closed = closed_port()
    job = replace(JOB, ports=(Port("127.0.0.1", server.port), Port("127.0.0.1", closed)))
    first, second = Probe(job, rights).run()
    assert (first.service, first.check, first.ok, first.remedy) == (f"127.0.0.1:{server.port}", "tcp", True, "")
    assert (second.service, second.check, second.ok) == (f"127.0.0.1:{closed}", "tcp", False)
    assert "mayfly_check_ports" in second.remedy


def test_each_step_has_a_limit_and_all_services_have_theirs_at_once(
    rights: Rights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The C library's resolver takes no limit: what hangs in it is left behind."""
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_words, **_more: released.wait(30))
    monkeypatch.setattr(probing, "_NAME_SECONDS", 1.0)
    began = time.monotonic()
    findings = found(rights, 1, *(service(name) for name in ("s3", "ebs", "ec2", "sts", "kms")))
    assert time.monotonic() - began < 4
    released.set()
    assert [each.ok for each in findings.values()] == [False, None, None] * 5
    assert "no answer within" in findings["kms name"].reason
    assert "enableDnsSupport" in findings["kms name"].remedy


def test_all_steps_of_a_service_together_take_less_than_a_minute() -> None:
    limits = (probing._NAME_SECONDS, probing._TLS_SECONDS, probing._RIGHT_SECONDS)
    assert sum(limits) < 60
    assert probing._PORT_SECONDS < 60


@pytest.mark.parametrize("trusted", [True, False], ids=["its authority", "another one"])
def test_a_store_is_looked_at_with_the_authorities_of_its_own(
    *, trusted: bool, hostile: Hostile, rights: Rights, server: TlsServer, folder: Path, tmp_path: Path
) -> None:
    hostile.script = lambda request: Reply(200, EMPTY) if request.query else Reply(200, b"{}", FOUND)
    if not trusted:
        certificates.ensure_authority(tmp_path)
    authorities = ((folder if trusted else tmp_path) / "ca.pem").read_text()
    place = RepositoryPlace("bucket", "prefix", REGION, None, Endpoint("https://localhost", authorities=authorities))
    asked = Service("store", REGION, "localhost", port=server.port)
    name, tls, right = Probe(replace(JOB, repository=place, services=(asked,)), rights).run()
    assert (name.ok, tls.ok, right.ok) == ((True, True, True) if trusted else (True, False, None))
    if not trusted:
        assert "ca_file" in tls.remedy
