# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's EBS direct APIs on ports of this machine, with snapshots of sparse files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mayfly_lab import addresses, certificates, web
from mayfly_lab.blocks.store import BlockStore
from mayfly_lab.ebs import connections
from mayfly_lab.ebs.application import Application
from mayfly_lab.ebs.tokens import Tokens
from mayfly_lab.faults import Faults
from mayfly_lab.gate import Gate
from mayfly_lab.iam.guard import Guard
from mayfly_lab.sessions import Sessions

from tests.unit.lab.ebs.calls import Server

SEALING_SECONDS = 0.05


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ebs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "certificate_names", lambda: ["localhost"])
        certificates.ensure_authority(folder)
        certificates.issue_server_certificate(folder, folder / "server.pem")
    for name in ("volumes", "snapshots"):
        (folder / name).mkdir()
    store = BlockStore(folder)
    regions = {addresses.service_address("ebs", region): region for region in addresses.REGIONS}
    sessions = Sessions(folder / "sessions")
    gate, guard = Gate(Faults(folder), sessions), Guard(folder / "iam", sessions)
    application = Application(store, Tokens(folder / "tokens.key"), gate, regions, SEALING_SECONDS, guard=guard)
    started, ports = [], {}
    for address, region in regions.items():
        started += web.serve(_at(application, address), ["127.0.0.1"], folder / "server.pem", port=0, threads=8)
        ports[region] = started[-1].bind_addr[1]
    connections.keep(started)
    yield Server(folder, store, ports)
    for each in started:
        each.stop()


def _at(application: Application, address: str) -> web.Application:
    def moved(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["mayfly.address"] = address
        return application(environ, start_response)

    return moved


@pytest.fixture
def ebs(server: Server) -> Any:
    return server.client()


@pytest.fixture
def faults(server: Server) -> Iterator[Faults]:
    """The faults of the service; they end with the test."""
    asked = Faults(server.folder)
    yield asked
    asked.clear()
