# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed requests over TLS: an answer has a time limit, however it comes, and only the right server is asked."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from botocore.credentials import Credentials
from mayfly_agent.signed import ANSWER_SECONDS, NoAnswer, SignedRequests
from mayfly_lab import certificates

from tests.unit.agent.hostile import LOST, FastClock, Hostile, Reply

SIZE = 400
HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode()


class Dripping:
    """A TLS server that sends an answer byte by byte, from ``start`` on, each ``seconds`` after the last one.

    The seconds are those of ``clock``; ``pause`` are real ones, so that the client reads what was sent meanwhile.
    """

    def __init__(self, folder: Path, clock: FastClock) -> None:
        self.clock = clock
        self.start, self.seconds, self.pause = len(HEAD), 0.0, 0.0
        self.sent = 0
        self._client: ssl.SSLSocket | None = None
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "server.pem")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]

    @contextmanager
    def running(self) -> Iterator[Dripping]:
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        yield self
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        if self._client:
            with suppress(OSError):  # it may have ended by itself
                self._client.shutdown(socket.SHUT_RDWR)
        thread.join(10)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                with suppress(OSError), self._context.wrap_socket(accepted, server_side=True) as client:
                    client.settimeout(10)
                    self._client = client
                    while client.recv(8192):
                        self._answer(client)

    def _answer(self, client: ssl.SSLSocket) -> None:
        answer = HEAD + bytes(SIZE)
        client.sendall(answer[: self.start])
        for place in range(self.start, len(answer)):
            self.clock.time += self.seconds
            time.sleep(self.pause)
            client.sendall(answer[place : place + 1])
            self.sent += 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("signed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "certificate_names", lambda: ["localhost"])
        certificates.ensure_authority(made)
        certificates.issue_server_certificate(made, made / "server.pem")
    return made


@pytest.fixture
def server(folder: Path, clock: FastClock) -> Iterator[Dripping]:
    with Dripping(folder, clock).running() as made:
        yield made


@pytest.fixture
def requests(folder: Path, server: Dripping, monkeypatch: pytest.MonkeyPatch) -> SignedRequests:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    return asking(server, "localhost")


def asking(server: Dripping, host: str) -> SignedRequests:
    credentials = Credentials("AKIA", "secret")
    url = f"https://{host}:{server.port}"
    return SignedRequests(credentials, "ebs", "us-east-1", url, connections=2, clock=server.clock)


def ask(requests: SignedRequests) -> bytes:
    return requests.once("GET", "/", {}, b"", {}).body


def test_an_answer_in_small_pieces_comes_whole(server: Dripping, requests: SignedRequests) -> None:
    server.seconds = 0.9 * ANSWER_SECONDS / SIZE
    for _ in range(3):  # each has a limit of its own
        assert ask(requests) == bytes(SIZE)


@pytest.mark.parametrize("start", [len(HEAD), 5], ids=["body", "head"])
def test_an_answer_that_drips_ends_with_its_time(server: Dripping, requests: SignedRequests, start: int) -> None:
    server.start, server.seconds, server.pause = start, 0.1 * ANSWER_SECONDS, 0.01
    with pytest.raises(NoAnswer):
        ask(requests)
    assert server.sent < SIZE / 2
    server.start, server.seconds, server.pause = len(HEAD), 0.0, 0.0
    assert ask(requests) == bytes(SIZE)


def test_a_server_of_another_name_is_not_asked(server: Dripping, requests: SignedRequests) -> None:
    with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
        ask(asking(server, "127.0.0.1"))


def test_a_server_that_nobody_vouches_for_is_not_asked(
    server: Dripping, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
        ask(asking(server, "localhost"))


class Refusing:
    """A server without TLS that answers a request before it has read the body, and takes no more of it."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @contextmanager
    def running(self) -> Iterator[Refusing]:
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        yield self
        thread.join(10)
        self._listening.close()

    def _serve(self) -> None:
        client, _ = self._listening.accept()
        with client:
            client.recv(1000)
            client.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy")
            client.shutdown(socket.SHUT_WR)
            time.sleep(0.3)  # the client has the answer before its connection is reset


def test_an_answer_that_comes_before_the_body_has_gone_is_read(clock: FastClock) -> None:
    with Refusing().running() as server:
        requests = SignedRequests(
            Credentials("AKIA", "secret"), "s3", "us-east-1", server.url, connections=1, clock=clock
        )
        answer = requests.once("PUT", "/key", {}, bytes(64 << 20), {})
    assert (answer.status, answer.body) == (503, b"busy")


def test_connections_are_used_again_and_new_ones_made_when_they_are_closed(clock: FastClock) -> None:
    with Hostile().running() as server:
        requests = SignedRequests(
            Credentials("AKIA", "secret"), "s3", "us-east-1", server.url, connections=1, clock=clock
        )
        server.replies(Reply(200, b"one"), LOST, Reply(200, b"two"))
        assert [requests.once("GET", "/", {}, b"", {}).body for _ in range(1)] == [b"one"]
        with pytest.raises(NoAnswer):
            requests.once("GET", "/", {}, b"", {})
        assert [requests.once("GET", "/", {}, b"", {}).body for _ in range(3)] == [b"two"] * 3
        assert server.connections == 2
