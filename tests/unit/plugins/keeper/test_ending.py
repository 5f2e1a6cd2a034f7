# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run: in an order that leaves nothing, and looked for by tags until nothing is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import ending
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.journal import Journal
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.temporaries import Temporaries
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.things import NotRemoved, Thing
from botocore.parsers import ResponseParserError

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION, Clients, Ec2, Script, refused, says, tags

OTHER_ACCOUNT = "444455556666"
OURS = tags(mayfly__run="the-run", mayfly__temporary="true")
pytestmark = pytest.mark.usefixtures("quick", "at_once_again")


@pytest.fixture
def at_once_again(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two looks, which take no time."""
    pauses: list[float] = []
    monkeypatch.setattr(ending.time, "sleep", pauses.append)
    return pauses


@pytest.fixture
def things(tmp_path: Path) -> Temporaries:
    """The temporary things of a run that has made something in one place."""
    things = Temporaries(Journal(tmp_path))
    things.watch(ACCOUNT, REGION)
    return things


def sweep(things: Temporaries, clients: Any, seconds: float = 180.0, makes: bool = False) -> list[KeeperError]:
    """What a sweep of the run could not end; ``makes`` says that an agent may still make snapshots."""
    run: Any = SimpleNamespace(id="the-run", temporaries=things, clients=clients, may_still_make=lambda: makes)
    return ending.sweep_run(run, seconds)


def volume(name: str = "vol-1", **more: Any) -> dict[str, Any]:
    """A volume of the run as AWS describes it."""
    return {"VolumeId": name, "State": "available", "Tags": OURS, **more}


def account_with(*volumes: dict[str, Any]) -> Clients:
    """An account in which volumes are gone once they were deleted."""
    there = {"describe_volumes": list(volumes)}

    def gone(*, VolumeId: str) -> Any:
        there["describe_volumes"] = [each for each in there["describe_volumes"] if each["VolumeId"] != VolumeId]
        return {}

    return Clients(lambda: Ec2(things=there, delete_volume=gone))


def looks(clients: Clients) -> int:
    """How often the account was looked into."""
    return [call for call, _ in clients.made[ACCOUNT, REGION].asked].count("describe_volumes")


class TestTheSweep:
    def test_looks_twice_where_nothing_is(self, things: Temporaries, at_once_again: list[float]) -> None:
        clients = Clients()
        assert sweep(things, clients) == []
        calls = {call for call, _ in clients.made[ACCOUNT, REGION].asked}
        assert not [call for call in calls if not call.startswith("describe_")]
        assert (looks(clients), at_once_again) == (2, [1.0])

    def test_looks_nowhere_when_nothing_was_made(self, tmp_path: Path) -> None:
        clients = Clients()
        assert sweep(Temporaries(Journal(tmp_path)), clients) == []
        assert clients.made == {}

    def test_leaves_a_snapshot_that_is_older_than_the_run_that_its_tags_name(self, things: Temporaries) -> None:
        entries = [
            {
                "SnapshotId": name,
                "StartTime": datetime(2026, 11, day, 12, tzinfo=UTC),
                "Tags": tags(mayfly__run="20261125T110000Z-abcdef", mayfly__temporary="true"),
            }
            for name, day in (("snap-somebodys", 24), ("snap-ours", 25))
        ]
        clients = Clients(lambda: Ec2(things={"describe_snapshots": entries}))
        run: Any = SimpleNamespace(
            id="20261125T110000Z-abcdef", temporaries=things, clients=clients, may_still_make=lambda: False
        )
        ending.sweep_run(run, 0)
        assert set(clients.made[ACCOUNT, REGION].ids("delete_snapshot")) == {"snap-ours"}

    def test_removes_what_is_found_and_looks_twice_more(self, things: Temporaries) -> None:
        clients = account_with(volume())
        assert sweep(things, clients) == []
        assert clients.made[ACCOUNT, REGION].ids("delete_volume") == ["vol-1"]
        assert looks(clients) == 3

    def test_removes_what_is_known_and_not_found(self, things: Temporaries) -> None:
        clients = account_with(volume())
        things.add(ACCOUNT, REGION, "vol-known", "volume")
        assert sweep(things, clients) == []
        assert sorted(clients.made[ACCOUNT, REGION].ids("delete_volume")) == ["vol-1", "vol-known"]
        assert things.all() == []

    def test_removes_what_is_both_known_and_found_once(self, things: Temporaries) -> None:
        clients = account_with(volume())
        things.add(ACCOUNT, REGION, "vol-1", "volume")
        assert sweep(things, clients) == []
        assert clients.made[ACCOUNT, REGION].ids("delete_volume") == ["vol-1"]

    @pytest.mark.parametrize(
        "left",
        [
            {"describe_volumes": [volume(State="in-use", Attachments=[{"InstanceId": "i-1"}])]},
            {"describe_instances": [{"InstanceId": "i-1", "State": {"Name": "shutting-down"}, "Tags": OURS}]},
            {"describe_volumes": [volume(Tags=tags(mayfly__run="another-run", mayfly__temporary="true"))]},
            {"describe_volumes": [volume(Tags=tags(mayfly__run="the-run"))]},
        ],
        ids=["what hangs on an instance", "what is going", "another run's", "what is not temporary"],
    )
    def test_leaves(self, things: Temporaries, left: dict[str, list[dict[str, Any]]]) -> None:
        clients = Clients(lambda: Ec2(things=left))
        assert sweep(things, clients) == []
        calls = {call for call, _ in clients.made[ACCOUNT, REGION].asked}
        assert not [call for call in calls if not call.startswith("describe_")]
        assert looks(clients) == 2

    def test_leaves_what_was_handed_over(self, things: Temporaries) -> None:
        clients = account_with(volume("vol-given"))
        things.hand_over(Ec2(), ["vol-given"])
        assert sweep(things, clients) == []
        assert clients.made[ACCOUNT, REGION].ids("delete_volume") == []

    def test_leaves_what_the_keeper_before_this_one_has_handed_over(self, things: Temporaries, tmp_path: Path) -> None:
        """Its tags of a moment ago are still seen."""
        things.hand_over(Ec2(), ["vol-given"])
        clients = account_with(volume("vol-given"), volume("vol-1"))
        after = Temporaries(Journal(tmp_path))
        after.watch(ACCOUNT, REGION)
        assert sweep(after, clients) == []
        assert clients.made[ACCOUNT, REGION].ids("delete_volume") == ["vol-1"]

    @pytest.mark.parametrize("error", [refused("InternalError", 500), ResponseParserError("not XML")])
    def test_goes_on_after_a_look_that_failed(self, things: Temporaries, error: Exception) -> None:
        describe = Script(error, {})
        clients = Clients(lambda: Ec2(describe_instances=describe))
        assert sweep(things, clients) == []
        assert describe.count == 3

    @pytest.mark.parametrize(("code", "seconds"), [("UnauthorizedOperation", 180.0), ("InternalError", 0.05)])
    def test_tells_of_a_place_that_cannot_be_searched_and_cleans_the_others(
        self, things: Temporaries, code: str, seconds: float
    ) -> None:
        clients = account_with(volume())
        describe = Script(refused(code, 403))
        clients.made[OTHER_ACCOUNT, REGION] = Ec2(describe_instances=describe)
        things.watch(OTHER_ACCOUNT, REGION)
        [error] = sweep(things, clients, seconds)
        assert error.code == "CleanupFailed"
        assert all(part in error.message for part in (OTHER_ACCOUNT, REGION, code))
        assert clients.made[ACCOUNT, REGION].ids("delete_volume") == ["vol-1"]
        assert (describe.count == 1) == (code == "UnauthorizedOperation")

    def test_leaves_what_is_refused_at_once_and_removes_the_rest(self, things: Temporaries) -> None:
        there = {"describe_volumes": [volume("vol-1"), volume("vol-2")]}

        def answers(*, VolumeId: str) -> Any:
            if VolumeId == "vol-1":
                raise refused("UnauthorizedOperation", 403)
            there["describe_volumes"] = there["describe_volumes"][:1]
            return {}

        clients = Clients(lambda: Ec2(things=there, delete_volume=answers))
        [error] = sweep(things, clients)
        assert isinstance(error, NotRemoved)
        assert (error.thing.id, error.final) == ("vol-1", True)
        assert sorted(clients.made[ACCOUNT, REGION].ids("delete_volume")) == ["vol-1", "vol-2"]
        assert looks(clients) == 3

    def test_looks_for_instances_again_while_a_group_is_busy(
        self, things: Temporaries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An instance that nobody knew of uses it, and AWS shows that one late."""
        monkeypatch.setattr(ending, "_SLICE_SECONDS", 0.0)
        clock = [0.0]
        fake = SimpleNamespace(
            monotonic=lambda: clock[0], sleep=lambda seconds: clock.__setitem__(0, clock[0] + seconds)
        )
        for module in (ending, ending.things):
            monkeypatch.setattr(module, "time", fake)
        group = {"GroupId": "sg-1", "Tags": OURS}
        there: dict[str, list[dict[str, Any]]] = {"describe_security_groups": [group]}
        count = Script(None)

        def look(**_filters: Any) -> None:
            count()
            if count.count == 2:
                there["describe_instances"] = [{"InstanceId": "i-late", "State": {"Name": "pending"}, "Tags": OURS}]

        def end(*, InstanceIds: list[str]) -> Any:
            there["describe_instances"] = []
            return says("shutting-down")(InstanceIds=InstanceIds)

        def delete(**_named: Any) -> Any:
            if count.count < 2 or there["describe_instances"]:
                clock[0] += 1
                raise refused("DependencyViolation")
            there["describe_security_groups"] = []
            return {}

        clients = Clients(
            lambda: Ec2(things=there, describe_instances=look, terminate_instances=end, delete_security_group=delete)
        )
        assert sweep(things, clients) == []
        assert clients.made[ACCOUNT, REGION].ids("terminate_instances") == ["i-late"]
        assert clock[0] < 20

    @pytest.mark.parametrize(("makes", "deleted"), [(True, ["snap-late"]), (False, [])])
    def test_waits_for_the_end_of_a_worker_whose_agent_may_still_make_snapshots(
        self, things: Temporaries, makes: bool, deleted: list[str]
    ) -> None:
        """Its last one appears when the worker is gone, and after two looks that have found nothing."""
        instance = {"InstanceId": "i-1", "State": {"Name": "shutting-down"}, "Tags": OURS}
        there: dict[str, list[dict[str, Any]]] = {"describe_instances": [instance]}
        count = Script(None)

        def describe(**_filters: Any) -> None:
            count()
            if count.count == 5:
                there["describe_instances"] = []
                there["describe_snapshots"] = [{"SnapshotId": "snap-late", "State": "pending", "Tags": OURS}]

        def delete(**_named: Any) -> None:
            there["describe_snapshots"] = []

        clients = Clients(lambda: Ec2(things=there, describe_instances=describe, delete_snapshot=delete))
        assert sweep(things, clients, makes=makes) == []
        assert clients.made[ACCOUNT, REGION].ids("delete_snapshot") == deleted

    def test_waits_for_a_worker_no_longer_than_its_time_and_tells_of_no_error(self, things: Temporaries) -> None:
        instance = {"InstanceId": "i-1", "State": {"Name": "shutting-down"}, "Tags": OURS}
        clients = Clients(lambda: Ec2(things={"describe_instances": [instance]}))
        assert sweep(things, clients, 0.05, makes=True) == []
        assert looks(clients) > 2

    def test_tells_of_what_could_not_be_removed_and_keeps_account_of_it(
        self, things: Temporaries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failed = KeeperError("DeletionFailed", "It is still there.")
        monkeypatch.setattr(ending.things, "remove_all", lambda _clients, found, _ends: dict.fromkeys(found, failed))
        things.add(ACCOUNT, REGION, "vol-1", "volume")
        assert sweep(things, Clients(), -1.0) == [failed]
        assert [each.id for each in things.all()] == ["vol-1"]


def test_what_an_ending_instance_lets_go_is_removed_as_well(things: Temporaries) -> None:
    """A volume that was attached to it a moment ago does not go with it."""
    going = {"InstanceId": "i-1", "State": {"Name": "shutting-down"}, "Tags": OURS}
    held = volume(State="in-use", Attachments=[{"InstanceId": "i-1"}])
    there: dict[str, Any] = {"describe_instances": [going], "describe_volumes": [held]}
    looked = Script(None)

    def look(**_filters: Any) -> None:
        looked()
        if looked.count == 4:
            there["describe_instances"], there["describe_volumes"] = [], [volume()]

    def gone(*, VolumeId: str) -> None:
        assert VolumeId == "vol-1"
        there["describe_volumes"] = []

    clients = Clients(lambda: Ec2(things=there, describe_volumes=look, delete_volume=gone))
    assert sweep(things, clients) == []
    assert clients.made[ACCOUNT, REGION].ids("delete_volume") == ["vol-1"]


def test_the_end_of_a_run_waits_for_volumes_that_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return seconds > 0

    errors, calls = ended(monkeypatch, [], [], [], wait=wait)
    assert errors == []
    assert calls[-3:] == ["sweep", "marker.stop", "workers.close"]
    assert len(waits) == 2


class Recorder:
    """Takes note of what is called, in order; ``answers`` are given to it."""

    def __init__(self, calls: list[str], name: str, **answers: Any) -> None:
        self._calls, self._name, self._answers = calls, name, answers

    def __getattr__(self, call: str) -> Any:
        def answer(*_arguments: Any) -> Any:
            self._calls.append(f"{self._name}.{call}")
            return self._answers.get(call)

        return answer


TERMINATION = KeeperError("TerminationFailed", "It still runs.")
BUG = KeeperError("InternalError", "A bug.")
LEFT = KeeperError("DeletionFailed", "It is still there.")
WORKER = Thing("instance", "i-1", ACCOUNT, REGION)
NOT_ALLOWED = NotRemoved(WORKER, "No (id 1).", final=True)
SAME_AGAIN = NotRemoved(WORKER, "No (id 2).", final=True)


def ended(
    monkeypatch: pytest.MonkeyPatch,
    first: list[KeeperError],
    left: list[KeeperError],
    again: list[KeeperError],
    drained: bool = True,
    *,
    wait: Callable[[float], bool] = lambda _seconds: True,
) -> tuple[list[KeeperError], list[str]]:
    """What the end of a run could not end, and all that was called for it."""
    calls: list[str] = []
    failures = [first, again]

    def terminate_all(timeout: float) -> list[KeeperError]:
        assert 0 < timeout < 300
        calls.append("workers.terminate_all")
        return failures.pop(0)

    run: Any = SimpleNamespace(
        close=lambda: calls.append("run.close"),
        credentials=Recorder(calls, "credentials"),
        spot=Recorder(calls, "spot"),
        workers=SimpleNamespace(terminate_all=terminate_all, close=lambda: calls.append("workers.close")),
        marker=Recorder(calls, "marker"),
        closing=SimpleNamespace(waiting=0),
        undoing=SimpleNamespace(wait=wait),
    )
    server: Any = Recorder(calls, "server", drain=drained)
    monkeypatch.setattr(ending, "sweep_run", lambda _run, _seconds: (calls.append("sweep"), list(left))[1])
    return ending.end_run(run, server), calls


@pytest.mark.parametrize("drained", [True, False])
def test_a_run_ends_in_an_order_that_leaves_nothing(monkeypatch: pytest.MonkeyPatch, drained: bool) -> None:
    """Nothing new first; what calls under way have made is found by the sweep after them."""
    errors, calls = ended(monkeypatch, [], [], [], drained)
    assert errors == []
    assert calls == [
        "run.close",
        "credentials.stop",
        "spot.stop",
        "workers.terminate_all",
        "server.drain",
        "sweep",
        "workers.terminate_all",
        "marker.stop",
        "workers.close",
    ]


ERRORS = [
    ("nothing", [], [], [], []),
    ("no worker that was ended at the second try", [TERMINATION, BUG], [], [], []),
    ("a worker that was not, whatever its tags say", [TERMINATION], [], [TERMINATION], [TERMINATION]),
    ("what is left", [TERMINATION, BUG], [LEFT], [], [LEFT]),
    ("both", [TERMINATION], [LEFT], [TERMINATION], [LEFT, TERMINATION]),
    ("a worker once", [NOT_ALLOWED], [NOT_ALLOWED], [SAME_AGAIN], [NOT_ALLOWED]),
]


@pytest.mark.parametrize(
    ("first", "left", "again", "told"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS]
)
def test_the_end_tells_of(
    monkeypatch: pytest.MonkeyPatch, first: Any, left: Any, again: Any, told: list[KeeperError]
) -> None:
    assert ended(monkeypatch, first, left, again)[0] == told
