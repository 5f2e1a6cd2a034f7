# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS over memory: what comes out is what went in, in few pieces, and an end is seen as one."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mayfly_lab import certificates
from mayfly_lab.tls import Tls

LARGE = os.urandom(3 * (1 << 19) + 7)


class Counted(socket.socket):
    """Counts what is sent."""

    sends = 0

    def sendall(self, *arguments: object) -> None:  # type: ignore[override]
        self.sends += 1
        super().sendall(*arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "certificate_names", lambda: ["localhost"])
        certificates.ensure_authority(made)
        certificates.issue_server_certificate(made, made / "server.pem")
    return made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def sockets() -> Iterator[tuple[Counted, socket.socket]]:
    one, other = socket.socketpair()
    ours = Counted(fileno=one.detach())
    for each in (ours, other):
        each.settimeout(10)
    yield ours, other
    ours.close()
    other.close()


@pytest.fixture
def served(folder: Path, sockets: tuple[Counted, socket.socket]) -> Tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return Tls(sockets[0], context)


@pytest.fixture
def client(
    folder: Path, sockets: tuple[Counted, socket.socket], served: Tls, pool: ThreadPoolExecutor
) -> ssl.SSLSocket:
    shaking = pool.submit(served.do_handshake)
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    made = context.wrap_socket(sockets[1], server_hostname="localhost")
    shaking.result()
    return made


def taken(client: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += client.recv(size - len(data))
    return data


def test_a_large_answer_goes_out_whole_in_few_pieces(served, client, sockets, pool):
    before = sockets[0].sends
    sending = pool.submit(served.sendall, LARGE)
    assert taken(client, len(LARGE)) == LARGE
    sending.result()
    assert sockets[0].sends - before <= len(LARGE) // (1 << 17) + 1


def test_what_is_held_goes_out_with_what_follows(served, client, sockets):
    before = sockets[0].sends
    served.hold(b"head ")
    assert sockets[0].sends == before
    served.sendall(b"body")
    assert (taken(client, 9), sockets[0].sends) == (b"head body", before + 1)


def test_a_large_request_comes_in_whole(served, client, pool):
    sending = pool.submit(client.sendall, LARGE)
    target = memoryview(bytearray(len(LARGE)))
    done = 0
    while done < len(LARGE):
        done += served.recv_into(target[done:])
    assert bytes(target) == LARGE
    sending.result()


def test_what_has_arrived_is_pending(served, client):
    assert not served.pending()
    client.sendall(b"one")
    client.sendall(b"two")
    assert served.recv(3) == b"one"
    assert served.pending()  # not decrypted yet
    assert served.recv(3) == b"two"
    assert not served.pending()
    client.sendall(b"three")
    assert served.recv(2) == b"th"
    assert served.pending()


@pytest.mark.parametrize("politely", [True, False])
def test_the_end_is_seen(served, client, pool, politely):
    client.sendall(b"last")
    if politely:
        pool.submit(client.unwrap)
    else:
        client.shutdown(socket.SHUT_WR)
    assert served.recv(100) == b"last"
    assert served.recv(100) == b""
    assert served.recv_into(memoryview(bytearray(10))) == 0
    served.shutdown(socket.SHUT_RDWR)
    served.close()


def test_a_client_that_leaves_at_once_is_an_error(served, sockets):
    sockets[1].shutdown(socket.SHUT_WR)
    with pytest.raises(OSError, match="went away"):
        served.do_handshake()


def test_a_client_that_speaks_no_tls_is_an_error(served, sockets):
    sockets[1].sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ssl.SSLError):
        served.do_handshake()
