# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to workers: the very commands, what their environment holds, and what OpenSSH makes of them.

Real bastions, and real SSH over a command of Session Manager's shape, are the lab's.
"""

from __future__ import annotations

import os
import shlex
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import ways
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.ssh import Connection, KeyPair, Route
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.connection import Bastion, Way

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION

pytestmark = pytest.mark.timeout(60)
WORKER = "i-0123456789abcdef0"
SECRETS = {"AWS_ACCESS_KEY_ID": "ASIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_SESSION_TOKEN": "a-token"}
KEY = KeyPair.generate()
HOST_KEY = KeyPair.generate().public


class Clients:
    """Credentials that are others at each time they are asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def variables(self, account_id: str, region: str) -> dict[str, str]:
        self.asked.append((account_id, region))
        return {**SECRETS, "AWS_SESSION_TOKEN": f"a-token-{len(self.asked)}"}


def over_session_manager() -> tuple[Route, Clients]:
    clients = Clients()
    return ways.over_session_manager(clients, ACCOUNT, REGION, WORKER, 2222), clients


def bastion(**changes: Any) -> Bastion:
    values = {"host": "10.20.0.5", "user": "jump", "private_key": KEY.private, "host_key": HOST_KEY}
    return Bastion(**{**values, "cidr": "10.20.0.5/32", **changes})


def as_ssh_reads(route: Route, tmp_path: Path) -> dict[str, str]:
    """The options of a worker's connection, as OpenSSH itself shows them."""
    made = Connection(
        address="10.9.9.9", port=22, user="mayfly", alias=WORKER, folder=tmp_path, key_file=tmp_path / "k", route=route
    )
    words = made._ssh()
    text = subprocess.run([words[0], "-G", *words[1:], "10.9.9.9"], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


class TestSessionManager:
    def test_the_command(self) -> None:
        route, _ = over_session_manager()
        assert route.way is Way.SESSION_MANAGER
        assert list(route.proxy) == [
            "aws",
            "ssm",
            "start-session",
            "--region",
            REGION,
            "--target",
            WORKER,
            "--document-name",
            "AWS-StartSSHSession",
            "--parameters",
            "portNumber=2222",
        ]

    def test_credentials_are_in_the_environment_alone_and_new_for_each_login(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_PROFILE", "somebody")
        monkeypatch.setenv("AWS_DEFAULT_PROFILE", "somebody")
        monkeypatch.setenv("SHELL", "/bin/false")
        route, clients = over_session_manager()
        assert clients.asked == []
        first, second = route.variables(), route.variables()
        assert first is not None
        assert second is not None
        assert clients.asked == [(ACCOUNT, REGION)] * 2
        assert {name: first[name] for name in SECRETS} == {**SECRETS, "AWS_SESSION_TOKEN": "a-token-1"}
        assert second["AWS_SESSION_TOKEN"] == "a-token-2"
        assert (first["PATH"], first["SHELL"]) == (os.environ["PATH"], "/bin/sh")
        assert not {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} & set(first)
        words = f"{route.proxy} {route.options}"
        assert not [secret for secret in SECRETS.values() if secret in words]

    def test_is_taken_by_openssh(self, tmp_path: Path) -> None:
        route, _ = over_session_manager()
        shown = as_ssh_reads(route, tmp_path)
        assert shown["proxycommand"] == shlex.join(route.proxy)
        assert (shown["connecttimeout"], shown["hostkeyalias"], shown["stricthostkeychecking"]) == (
            "30",
            WORKER,
            "true",
        )

    @pytest.mark.parametrize("there", [[], ["aws"], ["session-manager-plugin"]], ids=str)
    def test_its_programs_must_be_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: list[str]
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in there:
            (tmp_path / name).touch(mode=0o755)
        with pytest.raises(KeeperError) as raised:
            ways.check_programs()
        assert raised.value.code == "NoSessionManager"
        missing = {"aws", "session-manager-plugin"} - set(there)
        assert all(each in raised.value.message for each in missing)

    def test_and_are_then_enough(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in ("aws", "session-manager-plugin"):
            (tmp_path / name).touch(mode=0o755)
        ways.check_programs()


class TestABastion:
    WORDS = ("ssh", "-F", "none", "-o", "IdentityFile=/run/100%/key", "10.20.0.5")

    def test_is_jumped_over_to_the_workers_own_port(self, tmp_path: Path) -> None:
        route = ways.over_bastion(self.WORDS, "10.30.1.7", 2222)
        assert route.way is Way.BASTION
        assert route.proxy == (*self.WORDS[:-1], "-W", "[10.30.1.7]:2222", "10.20.0.5")
        shown = as_ssh_reads(route, tmp_path)
        assert shown["proxycommand"] == shlex.join(route.proxy).replace("%", "%%")
        assert shown["hostkeyalias"] == WORKER

    def test_needs_nothing_in_the_environment_but_a_shell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SHELL", "/bin/false")
        assert ways.over_bastion(self.WORDS, "10.30.1.7", 22).variables() == {**os.environ, "SHELL": "/bin/sh"}

    def test_that_does_not_answer_is_told_in_the_words_of_ssh(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = int(listening.getsockname()[1])
        with pytest.raises(KeeperError) as raised:
            ways.bastion_words(bastion(host="127.0.0.1", port=port), tmp_path)
        assert raised.value.code == "BastionUnreachable"
        assert "Connection refused" in raised.value.message
        assert "connections.yml" in raised.value.remedy
        (key,) = tmp_path.glob("*.key")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert key.read_text() == KEY.private
        (known,) = tmp_path.glob("*.known_hosts")
        assert known.read_text() == f"mayfly-bastion {HOST_KEY}\n"


def test_a_worker_that_is_dialled_has_no_proxy_and_the_keepers_own_environment(tmp_path: Path) -> None:
    assert Route().variables() is None
    assert "proxycommand" not in as_ssh_reads(Route(), tmp_path)
