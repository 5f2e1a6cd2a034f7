# SPDX-License-Identifier: GPL-3.0-or-later
"""A launch from its candidates to the registry: whatever AWS answers, what may live is under the keeper's care."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import aws, launch, turns
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import worker
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings

from tests.unit.plugins.keeper.fakes import (
    ACCOUNT,
    CANDIDATE,
    HOST,
    REGION,
    UNREACHABLE,
    Clients,
    Ec2,
    Script,
    refused,
)
from tests.unit.plugins.keeper.fakes import worker as lost_worker

RESOURCE = {"account": ACCOUNT, "region": REGION, "kind": "ec2", "id": "i-0001"}
ARGUMENTS: dict[str, Any] = {
    "resource": RESOURCE,
    "placement": {
        "candidates": [asdict(each) for each in (CANDIDATE, replace(CANDIDATE, instance_type="m6a.large"))],
    },
    "control_node_cidr": None,
    "max_workers": 0,
    "capacity_timeout": 1,
    "ssh_port": 22,
    "ssh_user": "mayfly",
    "user_data": "#!/bin/sh\n",
}
PENDING = {"InstanceId": "i-1", "State": {"Name": "pending"}, "LaunchTime": datetime.now(UTC)}
RUNNING = {**PENDING, "PrivateIpAddress": "10.0.0.7"}
NO_ROOM = {"Code": "Server.InsufficientInstanceCapacity", "Message": "No room."}
GONE = {**PENDING, "State": {"Name": "terminated"}, "StateReason": NO_ROOM}
pytestmark = pytest.mark.usefixtures("quick")


class Launch:
    """A launch over an EC2 that answers as told; its worker counts as ready when it is registered."""

    def __init__(self, folder: Path, **answers: Any) -> None:
        self.ec2 = Ec2(**{"describe_instances": {"Reservations": []}, **answers})
        self.run = Run("the-run", folder, folder, Report(folder, "the-run"))
        self.run.clients = self.run.workers._clients = Clients(lambda: self.ec2)  # type: ignore[assignment]
        self.doubts: list[float] = []
        self.run.workers.doubt = lambda *told: self.doubts.append(told[-1])  # type: ignore[assignment,method-assign]
        self.context = Context(self.run, HOST, False, Settings.from_call({}), RESOURCE)

    def go(self, *, canceled: bool = False, **changes: Any) -> Any:
        with self.run.workers.launching(HOST) as launching:
            if canceled:
                launching.pause = lambda _seconds: (launching.cancel(), launching.check())  # type: ignore[method-assign]
            return worker._launch(self.context, {**ARGUMENTS, **changes}, {}, launching)


@pytest.fixture(autouse=True)
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the registry is tested beside it, and so is how long AWS is asked for a token."""
    monkeypatch.setattr(launch, "_LOOK_SECONDS", 0.002)
    monkeypatch.setattr(worker, "await_ready", lambda *_: None)


def test_an_answer_is_registered(tmp_path: Path) -> None:
    it = Launch(tmp_path, run_instances={"Instances": [RUNNING]})
    assert it.go() == it.run.workers.get(HOST)
    assert (it.go().address, it.doubts) == ("10.0.0.7", [])


def test_an_instance_that_is_found_when_it_has_ended_makes_room_for_the_next_candidate(tmp_path: Path) -> None:
    """It has no address any more."""
    answers = Script(UNREACHABLE, refused("RequestExpired"), {"Instances": [RUNNING]})
    found = {"Reservations": [{"Instances": [GONE]}]}
    it = Launch(tmp_path, run_instances=answers, describe_instances=found)
    assert it.go().type == "m6a.large"
    assert it.doubts == []


def test_an_instance_without_an_address_is_registered_and_no_worker(tmp_path: Path) -> None:
    it = Launch(tmp_path, run_instances={"Instances": [PENDING]})
    with pytest.raises(KeeperError, match="no private address of the worker i-1"):
        it.go()
    assert it.run.workers.terminate(HOST)
    assert it.ec2.ids("terminate_instances") == ["i-1"]


def test_the_runs_group_lets_out_what_the_candidate_says(tmp_path: Path) -> None:
    it = Launch(tmp_path, run_instances={"Instances": [RUNNING]}, create_security_group={"GroupId": "sg-run"})
    wanted = replace(CANDIDATE, security_group_ids=(), ports_out=(2049,), name_servers=("10.0.0.53",))
    it.go(placement={"candidates": [asdict(wanted)]}, control_node_cidr="10.0.0.9/32")
    asked = [each["IpPermissions"][0] for name, each in it.ec2.asked if name == "authorize_security_group_egress"]
    assert [(each["IpProtocol"], each["ToPort"], each["IpRanges"][0]["CidrIp"]) for each in asked] == [
        ("tcp", 443, "0.0.0.0/0"),
        ("tcp", 2049, "0.0.0.0/0"),
        ("udp", 53, "10.0.0.53/32"),
        ("tcp", 53, "10.0.0.53/32"),
    ]


def test_spot_without_its_role_falls_back_and_says_how_to_mend_it(tmp_path: Path) -> None:
    """Nothing else on Spot is tried in that account."""
    code = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    it = Launch(tmp_path, run_instances=Script(refused(code), {"Instances": [RUNNING]}))
    spot = [replace(CANDIDATE, market="spot", instance_type=name) for name in ("c6a.large", "m6a.large")]
    assert it.go(placement={"candidates": [asdict(each) for each in (*spot, CANDIDATE)]}).market == "on-demand"
    told = it.context.report.as_dict()
    assert [(each["instance_type"], each["market"], each["code"]) for each in told["attempts"]] == [
        ("c6a.large", "spot", code)
    ]
    assert [each["code"] for each in told["errors"]] == [code]
    assert "create-service-linked-role" in told["errors"][0]["remedy"]


class TestTheCap:
    """One worker may live; another run launches in the same moment, and its worker is older."""

    OLDER: ClassVar = {
        "InstanceId": "i-0",
        "LaunchTime": datetime(2026, 1, 1, tzinfo=UTC),
        "State": {"Name": "running"},
    }

    @pytest.mark.parametrize("shown", ["at the launch", "after the boot"])
    def test_the_younger_worker_gives_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
        it = Launch(tmp_path, run_instances={"Instances": [RUNNING]})
        looks = [[], [self.OLDER, RUNNING]] if shown == "at the launch" else [[], [RUNNING], [self.OLDER, RUNNING]]
        monkeypatch.setattr(turns, "live_workers", lambda *_: looks.pop(0) if looks else [])  # it has ended, at last
        monkeypatch.setattr(turns, "_SEEN_SECONDS", -1)
        assert it.go(max_workers=1) == it.run.workers.get(HOST)
        assert it.ec2.ids("terminate_instances") == ["i-1"]
        assert [name for name, _ in it.ec2.asked].count("run_instances") == 2


class TestAfterALoss:
    def test_the_like_of_the_lost_one_comes_last(self, tmp_path: Path) -> None:
        it = Launch(tmp_path, run_instances={"Instances": [RUNNING]})
        it.context.state.lost = lost_worker()
        assert it.go().type == "m6a.large"

    def test_spot_is_not_asked_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        it = Launch(tmp_path, run_instances={"Instances": [RUNNING]})
        it.context.state.lost = lost_worker()
        monkeypatch.setitem(ARGUMENTS, "placement", {"candidates": [asdict(replace(CANDIDATE, market="spot"))]})
        with pytest.raises(KeeperError, match="its worker was lost, and no candidate is on demand") as caught:
            it.go()
        assert caught.value.code == "NoCapacity"
        assert it.ec2.ids("run_instances") == []


CLEAR = [refused("UnauthorizedOperation", 403), refused("RequestLimitExceeded", 503)]
DOUBTFUL = [UNREACHABLE, refused("InternalError", 500)]


@pytest.mark.parametrize("error", [*CLEAR, *DOUBTFUL], ids=aws.code_of)
def test_after_no_answer_an_instance_is_looked_for_longer(tmp_path: Path, error: Exception) -> None:
    it = Launch(tmp_path, run_instances=error)
    with pytest.raises(KeeperError):
        it.go()
    assert it.doubts == [20.0 if error in DOUBTFUL else 0.0]


@pytest.mark.parametrize("error", [CLEAR[1], *DOUBTFUL], ids=aws.code_of)
def test_a_cancel_in_the_middle_of_a_doubt_leaves_it(tmp_path: Path, error: Exception) -> None:
    it = Launch(tmp_path, run_instances=error)
    with pytest.raises(KeeperError) as caught:
        it.go(canceled=True)
    assert caught.value.code == "Canceled"
    assert it.doubts == [20.0 if error in DOUBTFUL else 0.0]


def test_a_mistake_of_our_own_is_a_doubt_as_well(tmp_path: Path) -> None:
    it = Launch(tmp_path, run_instances=ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        it.go()
    assert it.doubts == [20.0]
