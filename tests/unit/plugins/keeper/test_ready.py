# SPDX-License-Identifier: GPL-3.0-or-later
"""From a launch to a worker that tasks may use: how long it is waited for, what is told, and which key it shows."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import launch, ready
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.ssh import Route, SshError, port_answers
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.watching import Watching
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.workers import Launching, Worker
from botocore.exceptions import ClientError

from tests.unit.plugins.keeper.fakes import HOST, UNREACHABLE, Script, Shown, refused, worker

FOLDER = "/etc/ssh"
NEW_KEY = "ssh-ed25519 AAAAnew mayfly@worker"
LOCAL = "127.0.0.1"


def shown(state: str, **reason: str) -> Any:
    """DescribeInstances' answer for a worker in that state."""
    instance = {"InstanceId": "i-worker", "State": {"Name": state}, "StateReason": reason}
    return {"Reservations": [{"Instances": [instance]}]}


class Connection:
    """A connection whose logins follow a script: an exception is raised, None is a success."""

    def __init__(self, port: int, *logins: Exception | None) -> None:
        self.port = port
        self.route = Route(connect_seconds=0, pause_seconds=0.01)
        self.logins = Script(*logins)
        self.happened: list[str] = []

    def answers(self) -> bool:
        return port_answers(LOCAL, self.port)

    def open(self) -> None:
        self.logins()
        self.happened.append("open")

    def pin(self, key: str) -> None:
        self.happened.append(f"pin {key}")


class Workers:
    """A registry with one worker, whose commands answer with its new key."""

    def __init__(self, connection: Connection) -> None:
        self.one = connection
        self.renewed: list[str] = []

    def connection(self, host: str) -> Connection:
        assert host == HOST
        return self.one

    def run(self, host: str, command: str) -> bytes:
        assert (host, command) == (HOST, ready._SECURE)
        self.one.happened.append("secure")
        return f"{NEW_KEY}\n".encode()

    def renew_lease(self, host: str, renewer: Any) -> None:
        self.renewed.append(host)
        assert renewer._interval == 60.0


class Boot:
    """One worker that boots: its SSH port is one of this machine, AWS and its logins answer as told."""

    def __init__(self, port: int, *logins: Exception | None, **answers: Any) -> None:
        self.worker = Worker(**{**worker().as_dict(), "address": LOCAL, "port": port})
        self.connection = Connection(port, *logins)
        self.workers = Workers(self.connection)
        self.ec2 = Shown(**{"describe_instances": Script(shown("running")), **answers})
        self.launching = Launching(HOST, 1)
        watching = Watching(lambda *_place: self.ec2, self.launching.pause)
        run, settings = SimpleNamespace(workers=self.workers, watching=watching), SimpleNamespace(lease=600)
        self.context: Any = SimpleNamespace(host=HOST, run=run, settings=settings)

    def await_ready(self) -> None:
        ready.await_ready(self.context, self.worker, self.launching)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is waited for 0.6 s, and looked at every 50 ms."""
    for name, seconds in (("READY", 0.6), ("LOOK", 0.05)):
        monkeypatch.setattr(ready, f"_{name}_SECONDS", seconds)


@pytest.fixture
def answers() -> Iterator[int]:
    """A port that answers."""
    with socket.create_server((LOCAL, 0)) as listening:
        yield int(listening.getsockname()[1])


@pytest.fixture
def closed() -> int:
    """A port that does not."""
    with socket.create_server((LOCAL, 0)) as listening:
        return int(listening.getsockname()[1])


NOT_YET = SshError("Connection reset by peer")


class TestAWorkerThatComesUp:
    @pytest.mark.parametrize("logins", [[None], [NOT_YET, NOT_YET, None]])
    def test_gets_a_new_key_before_anything_else_and_then_its_lease(
        self, answers: int, logins: list[Exception | None]
    ) -> None:
        boot = Boot(answers, *logins)
        boot.await_ready()
        assert boot.connection.happened == ["open", "secure", "pin ssh-ed25519 AAAAnew"]
        assert boot.workers.renewed == [HOST]

    @pytest.mark.parametrize(
        "answer",
        [shown("pending"), {"Reservations": []}, refused("RequestLimitExceeded", 503), UNREACHABLE],
        ids=["pending", "not known yet", "throttled", "no answer"],
    )
    def test_may_be_anything_to_aws_but_ended(self, answers: int, answer: Any) -> None:
        boot = Boot(answers, *[NOT_YET] * 20, None, describe_instances=Script(answer))
        boot.await_ready()
        assert boot.ec2.asked
        assert boot.workers.renewed == [HOST]


class TestAWorkerThatDoesNot:
    def test_is_given_up_in_time_with_what_ssh_said(self, answers: int) -> None:
        boot = Boot(answers, SshError("Permission denied (publickey)"))
        began = time.monotonic()
        with pytest.raises(KeeperError, match=r"i-worker at 127\.0\.0\.1 was not ready .*Permission denied") as caught:
            boot.await_ready()
        assert 0.5 < time.monotonic() - began < 5
        assert (caught.value.code, boot.workers.renewed) == ("WorkerNotReady", [])
        assert "security groups" in caught.value.remedy

    def test_is_no_matter_of_ssh_while_its_port_is_closed(self, closed: int) -> None:
        boot = Boot(closed, SshError("never tried"))
        with pytest.raises(KeeperError, match="its SSH port does not answer"):
            boot.await_ready()
        assert boot.connection.logins.count == 0

    @pytest.mark.parametrize("state", ready.ENDED)
    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            ("Server.InsufficientInstanceCapacity", launch.CandidateFailed),
            ("Client.InvalidSnapshot.NotFound", KeeperError),
        ],
    )
    def test_because_it_has_ended_is_told_with_aws_s_reason(
        self, closed: int, state: str, code: str, kind: type[Exception]
    ) -> None:
        answer = Script(shown("pending"), shown(state, Code=code, Message=f"{code}: so it is"))
        boot = Boot(closed, describe_instances=answer)
        with pytest.raises(kind, match="so it is"):
            boot.await_ready()

    def test_is_asked_for_no_more_than_every_so_often(self, closed: int) -> None:
        boot = Boot(closed)
        with pytest.raises(KeeperError):
            boot.await_ready()
        assert 2 <= len(boot.ec2.asked) <= 12

    def test_and_that_may_not_be_looked_at_is_an_error(self, closed: int) -> None:
        boot = Boot(closed, describe_instances=Script(refused("UnauthorizedOperation", 403)))
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            boot.await_ready()

    def test_is_not_waited_for_when_the_launch_is_canceled(self, closed: int) -> None:
        boot = Boot(closed)
        boot.launching.cancel()
        with pytest.raises(KeeperError, match="canceled") as caught:
            boot.await_ready()
        assert caught.value.code == "Canceled"


Secure = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secure:
    """Run the commands of the first login as on a worker, in a folder of their own; ``fails`` names what fails."""
    assert ready._SECURE.count(FOLDER) == 1
    for name in ("bin", "ssh"):
        (tmp_path / name).mkdir()
    (tmp_path / "ssh/mayfly_host_key").write_text("the one that user data has brought")
    for name in ("ip", "systemctl"):
        program = tmp_path / "bin" / name
        program.write_text('#!/bin/sh\necho "${0##*/} $*" >>"$SAID"\ncase "${0##*/} $*" in $FAILS) exit 1 ;; esac\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))

    def run(fails: str = "nothing") -> subprocess.CompletedProcess[str]:
        command = ready._SECURE.replace(FOLDER, str(tmp_path / "ssh"))
        environment = {**os.environ, "FAILS": fails}
        return subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, check=False, timeout=20, env=environment
        )

    return run


class TestTheFirstLogin:
    def test_makes_a_key_that_nobody_else_has_seen(self, tmp_path: Path, secure: Secure) -> None:
        assert shutil.which("ssh-keygen")
        keys = set()
        for _ in range(2):  # as after a first one that was cut off
            done = secure()
            assert done.returncode == 0, done.stderr
            assert done.stdout == (tmp_path / "ssh/mayfly_host_key.pub").read_text()
            shown_key = ["ssh-keygen", "-y", "-f", str(tmp_path / "ssh/mayfly_host_key")]
            derived = subprocess.run(shown_key, capture_output=True, text=True, check=True).stdout
            assert derived.split() == done.stdout.split()
            keys.add(done.stdout)
        assert len(keys) == 2
        assert (tmp_path / "ssh/mayfly_host_key").stat().st_mode & 0o777 == 0o600
        assert sorted(path.name for path in (tmp_path / "ssh").iterdir()) == ["mayfly_host_key", "mayfly_host_key.pub"]

    def test_closes_instance_metadata_before_that(self, tmp_path: Path, secure: Secure) -> None:
        secure()
        first, *_ = (tmp_path / "said").read_text().splitlines()
        assert first.startswith("ip rule add ")
        assert "169.254.169.254/32 unreachable" in first

    def test_leaves_the_key_as_it_was_when_metadata_cannot_be_closed(self, tmp_path: Path, secure: Secure) -> None:
        assert secure("ip*").returncode != 0
        assert (tmp_path / "ssh/mayfly_host_key").read_text() == "the one that user data has brought"

    @pytest.mark.parametrize(("fails", "code"), [("*reload ssh", 0), ("*reload*", 1)])
    def test_has_the_server_take_it_whatever_its_unit_is_called(self, secure: Secure, fails: str, code: int) -> None:
        assert secure(fails).returncode == code
