# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls over the keeper's socket, from a task's side: results, errors, and a keeper that is not there or hangs."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import client, operations, protocol
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.server import Server

from tests.unit.plugins.keeper.fakes import until

HOST = "web-1_i-0001"
RESOURCE = {"account": "111122223333", "region": "eu-central-1", "kind": "ec2", "id": "i-0001", "name": "web-1"}
SETTINGS = {"deployment": "team-7", "operation": "ec2_backup", "lease": 60, "deadline": 3600, "accounts": {}}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that asks AWS nothing, and whose server ends soon."""
    monkeypatch.setattr("ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.server._ACCEPT_SECONDS", 0.05)
    (tmp_path / "secrets").mkdir()
    return Run("the-run", tmp_path, tmp_path / "secrets", Report(tmp_path, "the-run"))


@pytest.fixture
def server(run: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The keeper's socket, where tasks look for it."""
    monkeypatch.setattr(protocol, "ALIVE_SECONDS", 0.05)
    server = Server(run, run.folder / "keeper.sock")
    monkeypatch.setenv(client.ADDRESS_VARIABLE, str(run.folder / "keeper.sock"))
    server.start()
    yield server
    server.stop()


Function = Callable[[Context, dict[str, Any]], dict[str, Any]]


@pytest.fixture
def operation(monkeypatch: pytest.MonkeyPatch) -> Callable[[Function], None]:
    """Make a function the only operation, ``test``."""

    def register(function: Function) -> None:
        monkeypatch.setattr(operations, "find", lambda name: function if name == "test" else None)

    return register


def call(arguments: dict[str, Any] | None = None, timeout: float = 20, **more: Any) -> dict[str, Any]:
    """Call ``test`` for a host."""
    return client.call("test", arguments or {}, timeout, host=HOST, settings=SETTINGS, **more)


@pytest.mark.usefixtures("server")
class TestACall:
    def test_reaches_its_operation_with_all_that_was_sent(self, operation: Any) -> None:
        def function(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
            seen.append((context.host, context.check, context.settings.deployment, context.resource, arguments))
            return {"answer": 42}

        seen: list[Any] = []
        operation(function)
        assert call({"resource": RESOURCE, "x": [1]}, check=True) == {"answer": 42}
        assert seen == [(HOST, True, "team-7", RESOURCE, {"resource": RESOURCE, "x": [1]})]

    def test_tells_the_run_its_settings(self, operation: Any, run: Run) -> None:
        operation(lambda context, arguments: {"lease": run.marker.tag()})
        client.call("test", {}, 20, host=HOST, settings={**SETTINGS, "lease": 7200})
        run.report.flush()
        assert json.loads((run.folder / "report.json").read_text())["operation"] == "ec2_backup"
        [ends] = run.marker.tag().values()
        assert datetime.fromisoformat(ends) - datetime.now(UTC) > timedelta(seconds=7200)

    def test_may_come_without_host_and_settings(self, operation: Any) -> None:
        operation(lambda context, arguments: {"host": context.host, "operation": context.settings.operation})
        assert client.call("test", {}, 20) == {"host": "localhost", "operation": "unknown"}

    def test_is_of_the_resource_that_an_earlier_one_named(self, operation: Any) -> None:
        operation(lambda context, arguments: {"id": (context.resource or {}).get("id")})
        assert call() == {"id": None}
        assert call({"resource": RESOURCE}) == {"id": "i-0001"}
        assert call() == {"id": "i-0001"}

    def test_that_fails_tells_the_task_and_the_report(self, operation: Any, run: Run) -> None:
        def function(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
            raise KeeperError("NoCapacity", "There is none.", "Name more types.")

        operation(function)
        with pytest.raises(KeeperError) as caught:
            call()
        assert caught.value.as_dict() == {
            "code": "NoCapacity",
            "message": "There is none.",
            "remedy": "Name more types.",
        }
        assert run.report.resource(HOST).as_dict()["errors"] == [caught.value.as_dict()]
        assert run.report.resource(HOST).failed

    def test_that_is_a_bug_is_told_as_one(self, operation: Any) -> None:
        def function(context: Context, arguments: dict[str, Any]) -> dict[str, Any]:
            raise ZeroDivisionError("division by zero")

        operation(function)
        with pytest.raises(KeeperError) as caught:
            call()
        assert caught.value.code == "InternalError"
        assert "ZeroDivisionError: division by zero" in caught.value.message
        assert "keeper.log" in caught.value.remedy

    def test_of_an_unknown_operation_is_refused(self) -> None:
        with pytest.raises(KeeperError) as caught:
            client.call("no.such", {}, 20, host=HOST)
        assert caught.value.code == "UnknownOperation"
        assert "no.such" in caught.value.message

    def test_with_bad_settings_is_refused_before_anything_is_done(self, operation: Any) -> None:
        operation(lambda context, arguments: pytest.fail("it was called"))
        with pytest.raises(KeeperError) as caught:
            client.call("test", {}, 20, host=HOST, settings={**SETTINGS, "deployment": "two words"})
        assert caught.value.code == "BadSetting"

    def test_that_tidies_up_goes_by_the_settings_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker is ended although a setting has become wrong since it was launched."""
        seen: list[str] = []

        def note(context: Context, _arguments: dict[str, Any]) -> dict[str, Any]:
            seen.append(context.settings.deployment)
            return {}

        monkeypatch.setattr(operations, "find", lambda _name: note)
        bad = {**SETTINGS, "lease": 1}
        client.call("worker.info", {}, 20, host=HOST, settings={**SETTINGS, "deployment": "ours"})
        client.call("worker.absent", {}, 20, host=HOST, settings=bad)
        assert seen == ["ours", "ours"]
        with pytest.raises(KeeperError, match="mayfly_lease"):
            client.call("worker.info", {}, 20, host=HOST, settings=bad)

    def test_of_a_second_host_of_the_same_resource_is_refused(self, operation: Any) -> None:
        operation(lambda context, arguments: {})
        call({"resource": RESOURCE})
        with pytest.raises(KeeperError) as caught:
            client.call("test", {"resource": {**RESOURCE, "name": "x"}}, 20, host="web-2", settings=SETTINGS)
        assert caught.value.code == "DuplicateResource"
        assert all(part in caught.value.message for part in (HOST, "web-2", "i-0001"))

    @pytest.mark.parametrize("part", ["account", "region", "kind", "id"])
    def test_of_a_resource_that_lacks_a_part_is_refused(self, operation: Any, part: str) -> None:
        operation(lambda context, arguments: {})
        with pytest.raises(KeeperError) as caught:
            call({"resource": {**RESOURCE, part: ""}})
        assert caught.value.code == "BadResource"
        assert f"mayfly_resource of {HOST} has no {part}" in caught.value.message

    def test_is_answered_beside_others(self, operation: Any, at_once: Any) -> None:
        """Each waits until all others are under way."""
        together = threading.Barrier(20)
        operation(lambda context, arguments: {"met": together.wait(30) >= 0})
        assert at_once(20, lambda: call(timeout=60)) == [{"met": True}] * 20

    def test_that_takes_long_goes_on_while_the_keeper_says_so(
        self, operation: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(protocol, "SILENCE_SECONDS", 0.5)
        go_on = threading.Event()
        threading.Timer(1.0, go_on.set).start()
        operation(lambda context, arguments: {"ended": go_on.wait(20)})
        assert call() == {"ended": True}

    def test_whose_task_has_gone_away_harms_no_other(self, operation: Any, run: Run) -> None:
        go_on = threading.Event()
        operation(lambda context, arguments: {"ended": go_on.wait(20)})
        with socket.socket(socket.AF_UNIX) as task:
            task.connect(str(run.folder / "keeper.sock"))
            protocol.send(task, {"operation": "test", "host": HOST}, 5)
        go_on.set()
        assert call() == {"ended": True}

    @pytest.mark.parametrize("sent", [b"", b"\x00\x00\x00\x05hello", b"\xff\xff\xff\xff"], ids=repr)
    def test_of_nonsense_harms_no_other(self, operation: Any, run: Run, sent: bytes) -> None:
        operation(lambda context, arguments: {})
        with socket.socket(socket.AF_UNIX) as task:
            task.connect(str(run.folder / "keeper.sock"))
            task.sendall(sent)
        assert call() == {}


def test_a_keeper_knows_whether_anybody_has_used_it(server: Server) -> None:
    assert client.call("run.ping", {}, 20) == {}
    assert server.calls == 0
    assert client.call("worker.info", {}, 20) == {"workers": []}
    assert server.calls == 1


def test_a_call_that_has_ended_makes_room_for_another(
    run: Run, operation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.server._AT_ONCE", 2)
    server = Server(run, run.folder / "keeper.sock")
    monkeypatch.setenv(client.ADDRESS_VARIABLE, str(run.folder / "keeper.sock"))
    server.start()
    operation(lambda context, arguments: {})
    assert [call(timeout=5) for _ in range(6)] == [{}] * 6
    server.stop()


def test_the_socket_is_this_users_alone_and_goes_with_the_keeper(run: Run) -> None:
    path = run.folder / "keeper.sock"
    server = Server(run, path)
    server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.stop()
    assert not path.exists()


def test_calls_under_way_are_waited_for_but_those_beside(server: Server, operation: Any) -> None:
    go_on = threading.Event()
    operation(lambda context, arguments: {"ended": go_on.wait(20)})
    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: server.calls == 2)
    assert not server.drain(0.05, lambda: 0)
    assert not server.drain(0.05, lambda: 1)
    assert server.drain(5, lambda: 2)
    go_on.set()
    assert server.drain(20, lambda: 0)
    for thread in threads:
        thread.join(20)


class Keeper(threading.Thread):
    """A keeper that sends what it is told to, and stays until it is told to go."""

    def __init__(self, path: Path, answer: bytes, stays: bool) -> None:
        super().__init__()
        self.answer, self.stays = answer, stays
        self.leave = threading.Event()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(1)

    def run(self) -> None:
        connection, _ = self.socket.accept()
        with connection, self.socket:
            protocol.receive(connection, 10)
            connection.sendall(self.answer)
            if self.stays:
                self.leave.wait(20)


def framed(text: str) -> bytes:
    """A body with its length in front."""
    return len(text).to_bytes(4, "big") + text.encode()


FAILURES = [
    ("that hangs", b"", True, "KeeperTimeout"),
    ("that dies", b"", False, "KeeperGone"),
    ("that dies while it answers", framed("{}")[:-1], False, "KeeperGone"),
    ("that answers nonsense", framed("hello"), False, "KeeperGone"),
    ("that answers without a result", framed("{}"), False, "InternalError"),
    ("that answers with a list", framed('{"result":[]}'), False, "InternalError"),
    ("whose error has no parts", framed('{"error":{}}'), False, "InternalError"),
]


@pytest.mark.parametrize(("answer", "stays", "code"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_a_keeper_fails_its_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, stays: bool, code: str
) -> None:
    monkeypatch.setenv(client.ADDRESS_VARIABLE, str(tmp_path / "keeper.sock"))
    keeper = Keeper(tmp_path / "keeper.sock", answer, stays)
    keeper.start()
    with pytest.raises(KeeperError) as caught:
        call(timeout=0.2 if stays else 20)
    keeper.leave.set()
    keeper.join(20)
    assert caught.value.code == code


def test_a_keeper_that_says_nothing_at_all_is_taken_for_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SILENCE_SECONDS", 0.1)
    monkeypatch.setenv(client.ADDRESS_VARIABLE, str(tmp_path / "keeper.sock"))
    keeper = Keeper(tmp_path / "keeper.sock", b"", stays=True)
    keeper.start()
    with pytest.raises(KeeperError) as caught:
        call(timeout=20)
    keeper.leave.set()
    keeper.join(20)
    assert caught.value.code == "KeeperGone"
    assert "nothing was heard" in caught.value.message


def test_without_a_keeper_nothing_is_asked() -> None:
    assert client.address() is None
    with pytest.raises(KeeperError) as caught:
        call()
    assert caught.value.code == "NoKeeper"
    assert "mayfly.workers.guard" in caught.value.remedy


def test_a_keeper_whose_socket_is_gone_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(client.ADDRESS_VARIABLE, str(tmp_path / "keeper.sock"))
    with pytest.raises(KeeperError) as caught:
        call()
    assert caught.value.code == "KeeperGone"
    assert "keeper.log" in caught.value.remedy


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(("closing", "status"), [(False, "Failed"), (True, "Canceled")])
def test_what_the_end_of_a_run_cuts_off_was_canceled(operation: Any, run: Run, closing: bool, status: str) -> None:
    def fail(_context: Context, _arguments: dict[str, Any]) -> dict[str, Any]:
        raise KeeperError("WorkerLost", "Its worker is gone.")

    operation(fail)
    run.report.resource(HOST)  # as every host of a play, known from its start
    if closing:
        run.close()
    with pytest.raises(KeeperError, match="worker is gone"):
        call()
    run.report.end()
    assert run.report.resource(HOST).status == status
    assert bool(run.report.resource(HOST).as_dict()["errors"]) is not closing
