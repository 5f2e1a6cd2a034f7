# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's S3 on a port of this machine, as every Region's endpoint in turn."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from mayfly_lab import accounts, addresses, certificates, web
from mayfly_lab.faults import Faults
from mayfly_lab.gate import Gate
from mayfly_lab.iam.guard import Guard
from mayfly_lab.s3.application import Application
from mayfly_lab.s3.content import Spool
from mayfly_lab.sessions import Sessions


@dataclass(frozen=True)
class Server:
    folder: Path
    ports: dict[str, int]

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def sessions(self) -> Sessions:
        return Sessions(self.folder / "sessions")

    def client(
        self, account: str = accounts.BACKUP, region: str = "us-east-1", key: str | None = None, **options: Any
    ) -> Any:
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **options)
        return boto3.client(
            "s3",
            region_name=region,
            endpoint_url=f"https://localhost:{self.ports[region]}",
            aws_access_key_id=key or accounts.new_access_key_id(account, temporary=False),
            aws_secret_access_key="secret",
            verify=str(self.folder / "ca.pem"),
            config=config,
        )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("s3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "certificate_names", lambda: ["localhost"])
        certificates.ensure_authority(folder)
        certificates.issue_server_certificate(folder, folder / "server.pem")
    sessions = Sessions(folder / "sessions")
    gate, guard = Gate(Faults(folder), sessions), Guard(folder / "iam", sessions)
    application = Application(Spool(folder / "spool"), gate, guard)
    started, ports = [], {}
    for region in addresses.REGIONS:
        at = _at(application, addresses.service_address("s3", region))
        started += web.serve(at, ["127.0.0.1"], folder / "server.pem", port=0, threads=8)
        ports[region] = started[-1].bind_addr[1]
    yield Server(folder, ports)
    for each in started:
        each.stop()


def _at(application: Application, address: str) -> web.Application:
    def moved(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["mayfly.address"] = address
        return application(environ, start_response)

    return moved


@pytest.fixture
def faults(server: Server) -> Iterator[Faults]:
    """The faults of the service; they end with the test."""
    asked = Faults(server.folder)
    yield asked
    asked.clear()


@pytest.fixture
def s3(server: Server) -> Any:
    return server.client()


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"bucket-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=name)
    return name
