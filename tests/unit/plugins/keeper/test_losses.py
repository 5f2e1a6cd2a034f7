# SPDX-License-Identifier: GPL-3.0-or-later
"""Which workers count as lost, so that another one may take their place, and which do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import losses
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.lease import Renewer
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import worker as operations
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.watching import Watching
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings

from tests.unit.plugins.keeper.fakes import HOST, Clients, Shown, worker

pytestmark = pytest.mark.usefixtures("quick")
UNREACHABLE = KeeperError("WorkerUnreachable", "ssh: no route to host")
SILENT = KeeperError("WorkerCommandTimeout", "A command took longer than 20 s.")
FAILED = KeeperError("WorkerCommandFailed", "A command ended with 1.")


class Connection:
    """A connection that answers as told: with an error, or at all."""

    def __init__(self, answer: KeeperError | None) -> None:
        self.answer = answer

    def run(self, *_: Any) -> bytes:
        if self.answer:
            raise self.answer
        return b"answered"

    def remove(self) -> None:
        pass


class Master:
    """A connection that is renewed later than any test ends."""

    def open(self) -> None:
        raise AssertionError

    def renew(self, timeout: float) -> None:
        raise AssertionError


class Situation:
    """A run with one worker, whose connection answers as told; AWS says that it is in a state, for a reason."""

    def __init__(
        self,
        folder: Path,
        answer: KeeperError | None = None,
        state: str = "running",
        code: str = "",
        *,
        ready: bool = True,
    ) -> None:
        shown = {"InstanceId": "i-worker", "State": {"Name": state}, "StateReason": {"Code": code, "Message": "Why."}}
        ec2 = Shown(describe_instances={"Reservations": [{"Instances": [shown]}]})
        self.run = Run("the-run", folder, folder, Report(folder, "the-run"))
        self.run.clients = self.run.workers._clients = Clients(lambda: ec2)  # type: ignore[assignment]
        self.run.watching = Watching(self.run.clients.client, self.run.pause)
        self.ec2 = ec2
        self.run.workers.add(worker(), Connection(answer))  # type: ignore[arg-type]
        if ready:
            self.run.workers.renew_lease(HOST, Renewer("i-worker", Master(), 600))
        self.context = Context(self.run, HOST, False, Settings.from_call({}))

    def ask(self) -> str:
        """The operation's answer."""
        reason: str = operations.lost(self.context, {})["lost"]
        return reason


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker out of reach is waited for as long as a test can wait."""
    monkeypatch.setattr(losses, "_LOST_SECONDS", 0.05)
    monkeypatch.setattr(losses, "_RECONNECT_SECONDS", 0.01)


LOST: list[tuple[str, KeeperError | None, str, str, str]] = [
    ("answers", None, "running", "", ""),
    ("answers with an error", FAILED, "running", "", ""),
    ("is out of reach", UNREACHABLE, "running", "", "ssh: no route to host"),
    ("is silent", SILENT, "running", "", "A command took longer than 20 s."),
    ("was taken", None, "shutting-down", "Server.SpotInstanceTermination", "i-worker is shutting-down (Why.)."),
    ("was ended by AWS", UNREACHABLE, "terminated", "Server.InternalError", "i-worker is terminated (Why.)."),
    ("powered itself off", UNREACHABLE, "stopped", "Client.InstanceInitiatedShutdown", "i-worker is stopped (Why.)."),
    ("was ended by somebody", UNREACHABLE, "terminated", "Client.UserInitiatedShutdown", ""),
    ("is being ended by somebody", None, "shutting-down", "Client.UserInitiatedShutdown", ""),
]


@pytest.mark.parametrize(("answer", "state", "code", "reason"), [row[1:] for row in LOST], ids=[row[0] for row in LOST])
def test_a_worker_that(tmp_path: Path, answer: KeeperError | None, state: str, code: str, reason: str) -> None:
    it = Situation(tmp_path, answer, state, code)
    assert it.ask() == reason
    assert it.ec2.ids("terminate_instances") == (["i-worker"] if reason else [])
    assert (it.run.workers.get(HOST) is None) == bool(reason)
    assert (it.context.state.lost is not None) == bool(reason)


def test_the_first_reason_holds_and_is_not_asked_for_again(tmp_path: Path) -> None:
    it = Situation(tmp_path)
    it.run.workers.lose(HOST, "Spot takes it back", "i-worker")
    it.run.workers.lose(HOST, "It is gone", "i-worker")
    assert it.ask() == "Spot takes it back"


def test_a_reason_for_another_instance_says_nothing_of_this_one(tmp_path: Path) -> None:
    it = Situation(tmp_path)
    it.run.workers.lose(HOST, "Spot takes it back", "i-before")
    assert it.ask() == ""


def test_a_transfer_that_has_ended_well_needs_no_other_worker(tmp_path: Path) -> None:
    it = Situation(tmp_path, UNREACHABLE)
    it.context.state.status = {"state": "succeeded", "result": {"restore_point": "p"}}
    assert it.ask() == ""


def test_a_run_that_is_ending_begins_nothing_again(tmp_path: Path) -> None:
    it = Situation(tmp_path, UNREACHABLE)
    it.run.close()
    assert it.ask() == ""


def test_a_worker_that_was_never_ready_is_a_launch_that_has_failed(tmp_path: Path) -> None:
    it = Situation(tmp_path, UNREACHABLE, ready=False)
    assert it.ask() == ""
    assert it.run.workers.get(HOST) is not None


def test_no_worker_is_none_that_was_lost(tmp_path: Path) -> None:
    it = Situation(tmp_path, UNREACHABLE)
    it.run.workers.terminate(HOST)
    assert it.ask() == ""


def test_the_report_tells_the_lost_one_and_goes_on(tmp_path: Path) -> None:
    it = Situation(tmp_path, UNREACHABLE)
    report = it.context.report
    report.set(volumes={"vol-1": {"blocks_done": 7}})
    with pytest.raises(KeeperError, match="its worker was lost during the transfer: ssh") as caught:
        losses.reach(it.context, "poll", 1)
    assert caught.value.code == "WorkerLost"
    report.error(caught.value)
    assert it.ask()
    entry = report.as_dict()
    assert (entry["status"], entry["errors"]) == ("Running", [])
    assert "volumes" not in entry
    (attempt,) = entry["attempts"]
    assert {name: attempt[name] for name in ("instance_id", "instance_type", "code", "reason", "volumes")} == {
        "instance_id": "i-worker",
        "instance_type": "c6a.large",
        "code": "WorkerLost",
        "reason": "ssh: no route to host",
        "volumes": {"vol-1": {"blocks_done": 7}},
    }
