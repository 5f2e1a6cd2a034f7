# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody may try against the page, and what becomes of it; docs/file-recovery-page.md has it as a table."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import ssl
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.browser.site import TOKEN, Site, plain, served

pytestmark = pytest.mark.timeout(300)
OUTSIDE = b"of the worker"
TRAVERSALS = [
    "..",
    "../outside/secret.txt",
    "srv/../../outside/secret.txt",
    "/etc/passwd",
    "//etc/passwd",
    "srv//report.txt",
    "./srv",
    "srv/.",
    "srv/",
    "%2e%2e/outside/secret.txt",
    "%2e%2e%2foutside%2fsecret.txt",
    "..%2foutside%2fsecret.txt",
    "%252e%252e/outside",
    "..%00/outside",
    "srv%00",
    "..\\outside\\secret.txt",
    "%c0%ae%c0%ae/outside/secret.txt",
    "\uff0e\uff0e/outside/secret.txt",
    "srv/report%2Etxt",
    "n" * 256,
    "a/" * 10_000 + "a",  # a request of 40 KB: what is longer than 64 the server does not read to its end
    "%",
    "%zz",
]
# The way to a file behind a link, and to the link itself
LINKED = ["outside", "up/secret.txt", "inside", "folder/report.txt", "process/etc/passwd"]
PATHS = {
    "/api/entries": {},
    "/api/preview": {},
    "/api/image": {},
    "/api/file": {},
    "/api/search": {"words": "secret"},
}
POSTS: dict[str, dict[str, Any]] = {
    "/api/downloads": {"volume": "v1", "path": "", "paths": [""], "format": "zip"},
    "/api/put-back": {"volume": "v1", "path": "", "paths": ["srv"], "mode": "keep"},
    "/api/stay": {},
    "/api/end": {},
}


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_form_of_a_path_leads_out(site: Site, path: str) -> None:
    """400 for what is no path, 404 for one that is not there; never a byte from outside."""
    for address, more in PATHS.items():
        answer = site.ask(address, volume="v1", path=path, **more)
        assert answer.status in (400, 404, 414), (address, answer)
        assert OUTSIDE not in answer.body
    for body in ({"path": path, "paths": [""]}, {"path": "", "paths": [path]}):
        answer = site.ask("/api/downloads", body={"volume": "v1", "format": "zip", **body})
        if answer.status == 201:  # it is well formed, and not there
            answer = site.ask(f"/api/downloads/{answer.json['id']}")
            assert zipfile.ZipFile(io.BytesIO(answer.body)).namelist() == ["NOT-IN-THIS-ARCHIVE.txt"]
        else:
            assert answer.status in (400, 413), answer
        assert OUTSIDE not in answer.body


@pytest.mark.parametrize("name", LINKED)
def test_a_link_is_shown_and_not_followed(site: Site, name: str) -> None:
    for address, more in PATHS.items():
        answer = site.ask(address, volume="v1", path=f"links/{name}", **more)
        assert answer.status in (403, 404), (address, answer)
        assert OUTSIDE not in answer.body
    shown = {each["name"]: each for each in site.entries(b"links").json["entries"]}
    assert shown["outside"]["kind"] == "link"
    assert shown["outside"]["target"].endswith("/outside/secret.txt")
    assert {shown[each]["kind"] for each in ("pipe", "socket", "device")} == {"other"}
    for special in ("pipe", "socket", "device"):
        assert site.ask("/api/file", volume="v1", path=f"links/{special}").status == 403


def test_a_folder_that_becomes_a_link_again_and_again_leads_nowhere(site: Site, volume: Path) -> None:
    """A race, which no mounted volume can run: it is read-only."""
    race = volume / "race"
    inside, link = race / "inside", race / "link"
    inside.mkdir(parents=True)
    (inside / "secret.txt").write_text("of the volume")
    link.symlink_to(volume.parent / "outside")
    stop = threading.Event()

    def swap() -> None:
        target, spare = race / "target", race / "spare"
        inside.rename(target)
        while not stop.is_set():
            target.rename(spare)
            link.rename(target)
            target.rename(link)
            spare.rename(target)

    swapping = threading.Thread(target=swap)
    swapping.start()
    connection = site.connect()
    seen = set()
    try:
        for number in range(600):
            path = ("/api/file", "/api/preview")[number % 2]
            headers = {"cookie": site.cookie}
            connection.request("GET", f"{path}?volume=v1&path=race%2Ftarget%2Fsecret.txt", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            seen.add(answer.status)
            assert OUTSIDE not in body
    finally:
        stop.set()
        swapping.join()
        connection.close()
    assert 200 in seen  # it was there in between
    assert seen <= {200, 403, 404}


def test_nothing_of_the_api_answers_without_the_cookie(site: Site) -> None:
    for address, more in {**PATHS, "/api/recovery": {}, "/api/watch": {}, "/api/downloads/x": {}}.items():
        for cookie in ("", "__Host-mayfly=x", "__Host-mayfly=", f"__Host-mayfly={TOKEN}", "__Host-mayfly=%00"):
            answer = site.ask(address, volume="v1", path="", headers={"cookie": cookie}, **more)
            assert answer.status == 401, (address, cookie)
    for address, body in POSTS.items():
        assert site.ask(address, body=body, headers={"cookie": ""}).status == 401
    assert site.told()["state"] == "running"


def test_another_site_may_ask_for_nothing(site: Site) -> None:
    for address, body in POSTS.items():
        for headers in (
            {"content-type": "text/plain"},
            {"origin": "https://elsewhere.example"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            assert site.ask(address, body=body, headers=headers).status == 403, (address, headers)
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert site.ask("/api/entries", volume="v1", headers=elsewhere).status == 403
    assert site.ask("/", headers=elsewhere).status == 200  # a link leads to the page itself
    for host in ("elsewhere.example", "", "localhost.elsewhere.example"):
        assert site.ask("/", headers={"host": host or "-"}).status == 421  # a name that was turned to this address
    assert site.told()["state"] == "running"


def test_wrong_tokens_are_few(volume: Path, tmp_path: Path) -> None:
    with served(volume, tmp_path) as site:
        for wrong in ("x", TOKEN[:-1], f"{TOKEN} "):
            assert site.enter(wrong).status == 401
        for odd in ({"token": 7}, {"token": None}, {"token": "x" * 5000}, {}):
            answer = site.ask("/api/session", body=odd)
        assert answer.status == 429
        right = site.enter()
        assert right.status == 429  # even the right one has to wait
        assert 0 < int(right.headers["retry-after"]) <= 60
        text = (site.state / "requests.log").read_text() + (tmp_path / "output").read_text()
        assert TOKEN[:-1] not in text


def test_the_cookie_is_strict_and_the_token_is_nowhere(site: Site) -> None:
    opened = site.ask("/api/session", body={"token": TOKEN})
    words = {each.strip().lower() for each in opened.headers["set-cookie"].split(";")[1:]}
    assert words == {"httponly", "secure", "samesite=strict", "path=/"}
    assert opened.headers["set-cookie"].startswith("__Host-mayfly=")
    site.ask("/", token=TOKEN)  # somebody who puts it into the query
    site.ask(f"/{TOKEN}")
    site.ask("/api/entries", volume=TOKEN, path="")
    cookie = site.cookie.partition("=")[2]
    for path in site.state.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert cookie not in text
            assert TOKEN not in text.replace(f'"volume": "{TOKEN}"', "")  # what a session says is a volume is logged


def test_every_answer_has_the_headers(site: Site) -> None:
    for answer in (
        site.ask("/"),
        site.ask("/nowhere"),
        site.entries(),
        site.ask("/api/entries", headers={"cookie": ""}),
    ):
        policy = dict(each.strip().split(" ", 1) for each in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
    image = site.ask("/api/image", volume="v1", path="srv/photos/sunset.png")
    assert image.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_plain_http_gets_nothing(site: Site) -> None:
    answered = plain(site.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP" not in answered
    assert b"recovery" not in answered
    assert site.ask("/").status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(site: Site, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", site.port), 20) as raw, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(raw)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_tls_is_spoken(site: Site, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cadata=site.certificate.decode())
    context.minimum_version = context.maximum_version = version
    raw = socket.create_connection(("127.0.0.1", site.port), 20)
    with context.wrap_socket(raw, server_hostname="localhost") as spoken:
        assert "GCM" in str(spoken.cipher()) or "POLY1305" in str(spoken.cipher())


def test_slow_clients_are_left(site: Site) -> None:
    """One that sends a request byte by byte, and one that says nothing; others are served meanwhile."""
    began = time.monotonic()

    def connect() -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", site.port), 60)
        return site.context.wrap_socket(raw, server_hostname="localhost")

    with connect() as slow, connect() as idle:
        slow.settimeout(1)
        cut = False
        while not cut and time.monotonic() - began < 60:
            try:
                slow.sendall(b"GET / HTTP/1.1\r\n"[:1])
                cut = slow.recv(1000) in (b"",)
            except TimeoutError:
                continue
            except OSError:
                cut = True
        assert cut
        assert time.monotonic() - began > 10
        assert site.ask("/").status == 200
        idle.settimeout(30)
        with contextlib.suppress(OSError):
            assert idle.recv(1) == b""


def test_a_body_that_is_too_long_or_none_is_refused(site: Site) -> None:
    for body, status in (
        (b"[1]", 400),
        (b"{", 400),
        (b"[" * 200_000, 400),
        (b'{"a": "' + b"x" * (2 << 20) + b'"}', 413),
    ):
        assert site.ask("/api/downloads", body=body).status == status
    many = {"volume": "v1", "path": "", "paths": [f"{number:x}" for number in range(10_001)], "format": "zip"}
    assert site.ask("/api/downloads", body=many).status == 400
    for body in ({"volume": ["v1"], "path": "", "paths": [""]}, {"volume": "v1", "path": 1, "paths": [""]}):
        assert site.ask("/api/downloads", body={**body, "format": "zip"}).status in (400, 404)


def test_a_flood_of_requests_is_dammed(volume: Path, tmp_path: Path) -> None:
    """Strangers get 429 before long, and fill no log; the session goes on."""
    with served(volume, tmp_path) as site:
        assert site.enter().status == 200
        connection = site.connect()
        statuses = []
        for _ in range(200):
            connection.request("GET", "/api/entries?volume=v1")
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()
        assert set(statuses) == {401, 429}
        assert statuses.index(429) <= 125
        assert site.entries().status == 200
        strangers = [line for line in site.log() if not line["who"]]
        assert len(strangers) <= 61
    last = json.loads((site.state / "requests.log").read_text().splitlines()[-1])
    assert last["requests"] > 100  # the others, together


def test_hostile_names_are_texts(site: Site, volume: Path) -> None:
    names = {os.fsencode(each.name) for each in (volume / "odd").iterdir()}
    entries = site.entries(b"odd").json["entries"]
    assert len(entries) == len(names)
    for each in entries:
        assert all(character.isprintable() for character in each["name"]), each
        answer = site.ask("/api/file", volume="v1", path=f"odd/{each['path']}")
        assert answer.status == 200
        assert answer.body.removeprefix(b"content of ") in names
        header = answer.headers["content-disposition"]
        assert header.isascii()
        assert "\n" not in header
        assert header.count('"') == 2
