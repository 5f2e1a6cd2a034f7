# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections that stay with a thread keep none from another connection."""

from __future__ import annotations

import http.client
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cheroot.wsgi import Server as WebServer
from mayfly_lab import web
from mayfly_lab.ebs import connections

THREADS = 4


@pytest.fixture(params=[True, False], ids=["stays", "is handed on"])
def staying(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def web_server(server: Any, staying: bool) -> Any:
    """A server of 4 threads that says hello; connections stay in the first of two cases."""

    def hello(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]

    started = web.serve(hello, ["127.0.0.1"], server.folder / "server.pem", port=0, threads=THREADS)
    if staying:
        connections.keep(started)
    yield started[0]
    started[0].stop()


def connection(folder: Path, web_server: WebServer) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    return http.client.HTTPSConnection("localhost", web_server.bind_addr[1], context=context, timeout=20)


def ask(opened: http.client.HTTPSConnection) -> bytes:
    opened.request("GET", "/")
    return opened.getresponse().read()


def test_a_connection_stays_while_it_is_used(server, web_server, staying, monkeypatch):
    handed: list[Any] = []
    put = web_server.put_conn
    monkeypatch.setattr(web_server, "put_conn", lambda each: (handed.append(each), put(each)))
    opened = connection(server.folder, web_server)
    assert [ask(opened) for _ in range(20)] == [b"hello"] * 20
    time.sleep(0.3)  # it is handed on when it is used no more
    assert (1 <= len(handed) < 10) if staying else len(handed) == 20
    assert ask(opened) == b"hello"
    opened.close()


def test_more_connections_than_threads_are_all_served(server, web_server):
    def talk(_: int) -> list[bytes]:
        opened = connection(server.folder, web_server)
        answers = [ask(opened) for _ in range(10)]
        opened.close()
        return answers

    with ThreadPoolExecutor(5 * THREADS) as pool:
        assert list(pool.map(talk, range(5 * THREADS))) == [[b"hello"] * 10] * (5 * THREADS)


def test_idle_connections_take_no_thread(server, web_server):
    idle = [connection(server.folder, web_server) for _ in range(2 * THREADS)]
    for opened in idle:
        ask(opened)
    opened = connection(server.folder, web_server)
    assert ask(opened) == b"hello"
    assert [ask(each) for each in idle] == [b"hello"] * len(idle)
    for each in [opened, *idle]:
        each.close()
