# SPDX-License-Identifier: GPL-3.0-or-later
"""The page, served as on a worker: a process of its own, on a socket that it was handed, over TLS, on this machine."""

from __future__ import annotations

import hashlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "a-token-of-which-nobody-else-knows-anything"
# As systemd does: the socket is descriptor 3.
_CHILD = """
import os, sys
os.dup2(int(sys.argv.pop(1)), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
from mayfly_agent.browser.main import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Answer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Site:
    """A page that runs, and how it is asked; ``cookie`` is that of the session that was opened."""

    port: int
    state: Path
    certificate: bytes
    process: subprocess.Popen[bytes]
    volume: Path
    cookie: str = ""
    context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        self.context = ssl.create_default_context(cadata=self.certificate.decode())

    @property
    def address(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def link(self) -> str:
        return f"{self.address}/#{TOKEN}"

    def connect(self, wait: float = 60) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.port, context=self.context, timeout=wait)

    def ask(
        self,
        path: str,
        /,
        *,
        method: str = "",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """One request in a connection of its own, with the session's cookie; a body is sent as JSON."""
        sent = {"cookie": self.cookie, **({"content-type": "application/json"} if body is not None else {})}
        sent = {name: value for name, value in {**sent, **(headers or {})}.items() if value}
        target = f"{path}?{urlencode(query)}" if query else path
        data = json.dumps(body) if body is not None and not isinstance(body, bytes) else body
        connection = self.connect()
        try:
            connection.request(method or ("GET" if body is None else "POST"), target, data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def enter(self, token: str = TOKEN) -> Answer:
        """Exchange the token for a cookie."""
        answer = self.ask("/api/session", body={"token": token}, headers={"cookie": ""})
        if answer.status == 200:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]
        return answer

    def entries(self, path: bytes = b"", **query: Any) -> Answer:
        return self.ask("/api/entries", volume="v1", path=quote_from_bytes(path), **query)

    def archive(self, paths: list[bytes], form: str = "zip", base: bytes = b"") -> bytes:
        """The bytes of an archive."""
        wanted = {"volume": "v1", "path": quote_from_bytes(base), "paths": [quote_from_bytes(each) for each in paths]}
        made = self.ask("/api/downloads", body={**wanted, "format": form})
        assert made.status == 201, made
        answer = self.ask(f"/api/downloads/{made.json['id']}")
        assert answer.status == 200, answer
        return answer.body

    def told(self) -> dict[str, Any]:
        """What the controller reads."""
        value: dict[str, Any] = json.loads((self.state / "state.json").read_text())
        return value

    def log(self) -> list[dict[str, Any]]:
        """The log of requests."""
        return [json.loads(line) for line in (self.state / "requests.log").read_text().splitlines()]


def certificate_and_key() -> tuple[bytes, bytes]:
    """A certificate for localhost as the role tls_certificate makes it, and its key; PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=10))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM), secret


@contextmanager
def served(volume: Path, folder: Path, **changes: Any) -> Iterator[Site]:
    """A page that shows ``volume`` as v1; ``changes`` are of its description."""
    given, state = folder / "given", folder / "state"
    for each in (given, state):
        each.mkdir(parents=True)
    certificate, key = certificate_and_key()
    (given / "certificate.pem").write_bytes(certificate)
    (given / "key.pem").write_bytes(key)
    about = {"name": "/ (sda1)", "file_system": "ext4", "size": 8 << 30, "restore_point": "2026-11-27T02:00:00Z"}
    description = {
        "version": 1,
        "source": {"name": "web-1", "id": "i-0abc"},
        "hosts": ["localhost", "127.0.0.1"],
        "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(),
        "idle_seconds": 1800,
        "lifetime_seconds": 86400,
        "volumes": [{"id": "v1", "path": str(volume), **about}],
        **changes,
    }
    (given / "description.json").write_text(json.dumps(description))
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "output").open("wb") as output:
        number = listener.fileno()
        command = [sys.executable, "-c", _CHILD, str(number), "serve", str(given), str(state)]
        process = subprocess.Popen(command, pass_fds=[number], stdout=output, stderr=output)
        try:
            site = Site(listener.getsockname()[1], state, certificate, process, volume)
            _wait(site, folder / "output")
            yield site
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
                raise
    text = (folder / "output").read_text()
    assert process.returncode == 0, text
    assert "Traceback" not in text, text


def _wait(site: Site, output: Path) -> None:
    ends = time.monotonic() + 60
    while site.process.poll() is None and time.monotonic() < ends:
        try:
            site.ask("/")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"it does not run: {output.read_text()}")


def until(true: Callable[[], bool], wait: float = 20) -> None:
    """Wait for it; fails when it does not come."""
    ends = time.monotonic() + wait
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.05)


def plain(port: int, data: bytes, wait: float = 30) -> bytes:
    """What is answered to bytes that are no TLS."""
    with socket.create_connection(("127.0.0.1", port), wait) as connection:
        connection.sendall(data)
        answered = b""
        try:
            while more := connection.recv(65536):
                answered += more
        except ConnectionResetError:
            pass
        return answered
