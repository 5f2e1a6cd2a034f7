# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary things: found by their tags, removed in an order that AWS allows, none kept by the failure of another."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import aws, things
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.things import Thing
from botocore.parsers import ResponseParserError

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION, UNREACHABLE, Clients, Ec2, Script, refused, says, tags

PLACE = (ACCOUNT, REGION)
UNREADABLE = ResponseParserError("not XML")
OURS = tags(mayfly__run="the-run", mayfly__temporary="true")
WANTED = {"mayfly:run": "the-run", "mayfly:temporary": "true"}
REMOVALS = {
    "instance": ("terminate_instances", "i-1", "InvalidInstanceID.NotFound"),
    "image": ("deregister_image", "ami-1", "InvalidAMIID.Unavailable"),
    "volume": ("delete_volume", "vol-1", "InvalidVolume.NotFound"),
    "snapshot": ("delete_snapshot", "snap-1", "InvalidSnapshot.NotFound"),
    "snapshot-share": ("modify_snapshot_attribute", "snap-2", "InvalidSnapshot.NotFound"),
    "network-interface": ("delete_network_interface", "eni-1", "InvalidNetworkInterfaceID.NotFound"),
    "security-group": ("delete_security_group", "sg-1", "InvalidGroup.NotFound"),
}
pytestmark = pytest.mark.usefixtures("quick")


SHARED = {"mayfly:shared-with": "444455556666", "mayfly:shared-by": "the-run", "mayfly:shared-until": "2026-11-27"}


def thing(kind: str = "volume", thing_id: str = "", **more: Any) -> Thing:
    """Something temporary."""
    if kind == "snapshot-share":
        more.setdefault("tags", SHARED)
    return Thing(kind, thing_id or REMOVALS[kind][1], ACCOUNT, REGION, **more)


def soon(seconds: float = 10) -> float:
    """A moment of the monotonic clock."""
    return time.monotonic() + seconds


@pytest.mark.parametrize(("kind", "call", "name"), [(kind, *row[:2]) for kind, row in REMOVALS.items()])
class TestAThingOfEachKind:
    def test_is_removed_by_its_own_call(self, kind: str, call: str, name: str) -> None:
        ec2 = Ec2()
        things.remove(ec2, thing(kind), soon())
        more = ["delete_tags"] if kind == "snapshot-share" else []
        assert [each for each, _ in ec2.asked] == [call, *more]
        assert ec2.ids(call) == [name]

    def test_that_is_gone_is_no_failure(self, kind: str, call: str, name: str) -> None:
        ec2 = Ec2(**{call: refused(REMOVALS[kind][2])})
        things.remove(ec2, thing(kind), soon())
        assert len(ec2.asked) == 1

    @pytest.mark.parametrize(
        "error", [refused("RequestLimitExceeded", 503), refused("InternalError", 500), UNREACHABLE, UNREADABLE]
    )
    def test_is_tried_again_while_aws_does_not_answer(self, kind: str, call: str, name: str, error: Exception) -> None:
        last = says("terminated") if kind == "instance" else {}
        ec2 = Ec2(**{call: Script(error, error, last)})
        things.remove(ec2, thing(kind), soon())
        assert ec2.ids(call) == [name] * 3

    def test_that_stays_is_named_with_its_place_and_what_ends_it(self, kind: str, call: str, name: str) -> None:
        ec2 = Ec2(**{call: refused("DependencyViolation")})
        with pytest.raises(KeeperError) as caught:
            things.remove(ec2, thing(kind), soon(0.05))
        assert caught.value.code == ("TerminationFailed" if kind == "instance" else "DeletionFailed")
        assert all(part in caught.value.message for part in (kind, name, ACCOUNT, REGION, "DependencyViolation"))
        assert "reap" in caught.value.remedy
        assert ("lease" in caught.value.remedy) == (kind == "instance")
        assert len(ec2.asked) > 1


def test_a_group_in_use_is_removed_once_nothing_uses_it() -> None:
    ec2 = Ec2(delete_security_group=Script(*[refused("DependencyViolation")] * 5, {}))
    things.remove(ec2, thing("security-group"), soon())
    assert len(ec2.asked) == 6


INSTANCES = [
    ("going at once", [says("shutting-down")], 1),
    ("gone already", [says("terminated")], 1),
    ("going in the end", [says("running"), says("pending"), says("shutting-down")], 3),
]


@pytest.mark.parametrize(("answers", "calls"), [row[1:] for row in INSTANCES], ids=[row[0] for row in INSTANCES])
def test_an_instance_is_removed_when_aws_says_that_it_is_going(answers: list[Any], calls: int) -> None:
    ec2 = Ec2(terminate_instances=Script(*answers))
    things.remove(ec2, thing("instance"), soon())
    assert ec2.ids("terminate_instances") == ["i-1"] * calls


def test_termination_protection_is_lifted() -> None:
    ec2 = Ec2(terminate_instances=Script(refused("OperationNotPermitted"), says("shutting-down")))
    things.remove(ec2, thing("instance"), soon())
    assert ec2.asked[1] == (
        "modify_instance_attribute",
        {"InstanceId": "i-1", "DisableApiTermination": {"Value": False}},
    )


def test_a_protection_that_cannot_be_lifted_is_tried_to_the_end() -> None:
    failing = refused("InternalError", 500)
    ec2 = Ec2(terminate_instances=refused("OperationNotPermitted"), modify_instance_attribute=failing)
    with pytest.raises(KeeperError, match="OperationNotPermitted"):
        things.remove(ec2, thing("instance"), soon(0.05))
    assert len(ec2.ids("terminate_instances")) > 1


def test_a_protection_that_may_not_be_lifted_is_final() -> None:
    denied = refused("UnauthorizedOperation", 403)
    ec2 = Ec2(terminate_instances=refused("OperationNotPermitted"), modify_instance_attribute=denied)
    with pytest.raises(things.NotRemoved, match="UnauthorizedOperation") as caught:
        things.remove(ec2, thing("instance"), soon())
    assert caught.value.final
    assert len(ec2.asked) == 2


@pytest.mark.parametrize("code", sorted(aws.FINAL_CODES))
@pytest.mark.parametrize("kind", REMOVALS)
def test_what_aws_refuses_for_good_is_asked_once(kind: str, code: str) -> None:
    ec2 = Ec2(**{REMOVALS[kind][0]: refused(code, 403)})
    with pytest.raises(things.NotRemoved) as caught:
        things.remove(ec2, thing(kind), soon())
    assert len(ec2.asked) == 1
    assert caught.value.final
    assert caught.value.code == ("TerminationFailed" if kind == "instance" else "DeletionFailed")
    assert code in caught.value.message
    assert "rights" in caught.value.remedy


NOT_FOUND = refused("InvalidVolume.NotFound")


def _after_tries(count: int) -> Exception:
    error = refused("InvalidVolume.NotFound")
    error.response["ResponseMetadata"]["RetryAttempts"] = count
    return error


@pytest.mark.parametrize(
    ("answers", "calls"),
    [([UNREACHABLE, NOT_FOUND], 2), ([refused("InternalError", 500), NOT_FOUND], 2), ([_after_tries(1)], 1)],
    ids=["without an answer", "with a 5xx", "within botocore"],
)
def test_a_young_thing_that_is_not_found_after_a_try_that_may_have_removed_it_is_gone(
    answers: list[Any], calls: int
) -> None:
    ec2 = Ec2(delete_volume=Script(*answers))
    things.remove(ec2, thing(created=datetime.now(UTC) + timedelta(hours=1)), soon())
    assert len(ec2.asked) == calls


@pytest.mark.parametrize("first", [_after_tries(0), refused("RequestLimitExceeded", 503), refused("VolumeInUse")])
def test_a_young_thing_that_is_not_found_after_a_clear_answer_may_yet_appear(first: Exception) -> None:
    ec2 = Ec2(delete_volume=Script(first, NOT_FOUND, {}))
    things.remove(ec2, thing(created=datetime.now(UTC) + timedelta(hours=1)), soon())
    assert len(ec2.asked) == 3


def test_a_young_thing_that_is_not_found_is_looked_for_until_it_is_old() -> None:
    """Young is less than 100 ms here."""
    young = thing("instance", created=datetime.now(UTC))
    ec2 = Ec2(terminate_instances=refused("InvalidInstanceID.NotFound"))
    began = time.monotonic()
    things.remove(ec2, young, soon())
    assert len(ec2.asked) > 1
    assert 0.08 < time.monotonic() - began < 5


def test_a_young_thing_is_removed_once_it_is_known_everywhere() -> None:
    young = thing("instance", created=datetime.now(UTC))
    ec2 = Ec2(terminate_instances=Script(refused("InvalidInstanceID.NotFound"), says("shutting-down")))
    things.remove(ec2, young, soon())
    assert len(ec2.asked) == 2


def test_an_old_thing_that_is_not_found_is_gone() -> None:
    old = thing("instance", created=datetime.now(UTC) - timedelta(hours=1))
    ec2 = Ec2(terminate_instances=refused("InvalidInstanceID.NotFound"))
    things.remove(ec2, old, soon())
    assert len(ec2.asked) == 1


def test_pauses_grow_from_try_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "backoff", lambda attempt: attempt / 1000)
    pauses: list[float] = []
    things.remove(Ec2(delete_volume=Script(UNREACHABLE, UNREACHABLE, {})), thing(), soon(), pauses.append)
    assert pauses == [0.001, 0.002]


def test_a_pause_may_give_up() -> None:
    def gives_up(seconds: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        things.remove(Ec2(delete_volume=UNREACHABLE), thing(), soon(), gives_up)


LISTED: dict[str, list[dict[str, Any]]] = {
    "describe_instances": [
        {"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": OURS},
        {"InstanceId": "i-2", "State": {"Name": "shutting-down"}, "Tags": OURS},
        {"InstanceId": "i-gone", "State": {"Name": "terminated"}, "Tags": OURS},
        {"InstanceId": "i-of-another-run", "State": {"Name": "running"}, "Tags": tags(mayfly__run="x")},
    ],
    "describe_volumes": [
        {"VolumeId": "vol-1", "State": "available", "Tags": OURS, "Attachments": []},
        {"VolumeId": "vol-held", "State": "in-use", "Tags": OURS, "Attachments": [{"InstanceId": "i-1"}]},
        {"VolumeId": "vol-going", "State": "deleting", "Tags": OURS},
        {"VolumeId": "vol-gone", "State": "deleted", "Tags": OURS},
        {"VolumeId": "vol-handed-over", "State": "available", "Tags": tags(mayfly__run="the-run")},
    ],
    "describe_snapshots": [{"SnapshotId": f"snap-{n}", "State": "pending", "Tags": OURS} for n in range(5)],
    "describe_network_interfaces": [
        {"NetworkInterfaceId": "eni-1", "Status": "available", "TagSet": OURS},
        {"NetworkInterfaceId": "eni-held", "Status": "in-use", "TagSet": OURS, "Attachment": {"InstanceId": "i-1"}},
    ],
    "describe_security_groups": [{"GroupId": "sg-1", "Tags": OURS}],
}


class TestWhatIsFound:
    def test_is_all_that_carries_the_tags_and_is_not_gone(self) -> None:
        found = things.find(Ec2(things=LISTED), PLACE, WANTED)
        assert [each.id for each in found] == [
            *("i-1", "i-2", "vol-1", "vol-held"),
            *(f"snap-{n}" for n in range(5)),
            *("eni-1", "eni-held", "sg-1"),
        ]
        assert {each.place for each in found} == {PLACE}

    def test_says_what_hangs_on_an_instance(self) -> None:
        found = things.find(Ec2(things=LISTED), PLACE, WANTED)
        assert [each.id for each in found if each.held] == ["vol-held", "eni-held"]

    def test_knows_state_tags_and_time(self) -> None:
        created = datetime(2026, 11, 24, tzinfo=UTC)
        entry = {"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": OURS, "LaunchTime": created}
        [found] = things.find(Ec2(things={"describe_instances": [entry]}), PLACE, WANTED)
        assert (found.kind, found.state, found.tags, found.created) == ("instance", "running", WANTED, created)

    def test_knows_state_and_tags_of_an_interface_which_aws_calls_otherwise(self) -> None:
        [found, _held] = things.find(Ec2(things=LISTED), PLACE, WANTED, ["network-interface"])
        assert (found.state, found.tags, found.created) == ("available", WANTED, None)

    def test_may_have_no_state(self) -> None:
        [found] = things.find(Ec2(things=LISTED), PLACE, WANTED, ["security-group"])
        assert (found.id, found.state, found.held) == ("sg-1", "", False)

    def test_is_of_the_kinds_that_were_asked_for(self) -> None:
        ec2 = Ec2(things=LISTED)
        assert {each.kind for each in things.find(ec2, PLACE, WANTED, ["volume"])} == {"volume"}
        assert [call for call, _ in ec2.asked] == ["describe_volumes"]

    def test_is_of_our_own_account(self) -> None:
        ec2 = Ec2(things=LISTED)
        things.find(ec2, PLACE, WANTED, ["snapshot"])
        assert ec2.asked[0][1]["OwnerIds"] == ["self"]

    def test_is_what_is_shared_as_well_by_whom_and_until_when_its_own_tags_say(self) -> None:
        kept = {"mayfly:deployment": "default", "mayfly:run": "before", "mayfly:deadline": "long ago"}
        rows = [{**kept, **SHARED}, {**kept, **SHARED, "mayfly:shared-by": "another"}, kept]
        entries = [
            {"SnapshotId": f"snap-{n}", "Tags": [{"Key": key, "Value": value} for key, value in row.items()]}
            for n, row in enumerate(rows)
        ]
        wanted = {**WANTED, "mayfly:deployment": "default"}
        [found] = things.find(Ec2(things={"describe_snapshots": entries}), PLACE, wanted)
        assert (found.kind, found.id, found.created) == ("snapshot-share", "snap-0", None)
        assert found.tags == {**wanted, "mayfly:deadline": "2026-11-27", "mayfly:shared-with": "444455556666"}


class TestRemovingAll:
    def test_removes_in_the_order_that_aws_needs(self) -> None:
        clients = Clients()
        mixed = [thing(kind) for kind in ("security-group", "volume", "instance", "network-interface", "snapshot")]
        assert set(things.remove_all(clients, mixed, soon()).values()) == {None}
        calls = [call for call, _ in clients.made[PLACE].asked]
        assert calls[0] == "terminate_instances"
        assert calls[-1] == "delete_security_group"
        assert len(calls) == 5

    def test_leaves_what_goes_with_its_instance(self) -> None:
        clients = Clients()
        held = thing("volume", "vol-held", held=True)
        assert set(things.remove_all(clients, [held, thing("volume")], soon())) == {thing("volume")}
        assert clients.made[PLACE].ids("delete_volume") == ["vol-1"]

    def test_goes_to_each_things_own_account(self) -> None:
        clients = Clients()
        there = Thing("volume", "vol-there", "444455556666", "us-east-1")
        things.remove_all(clients, [thing(), there], soon())
        assert clients.made["444455556666", "us-east-1"].ids("delete_volume") == ["vol-there"]
        assert clients.made[PLACE].ids("delete_volume") == ["vol-1"]

    def test_does_many_at_once(self) -> None:
        """Each answer waits until the others were asked for."""
        together = threading.Barrier(10)

        def meet(**_arguments: Any) -> Any:
            together.wait(30)
            return {}

        script = Script(meet)
        some = [thing("volume", f"vol-{n}") for n in range(10)]
        assert set(things.remove_all(Clients(lambda: Ec2(delete_volume=script)), some, soon(60)).values()) == {None}

    def test_one_failure_does_not_stop_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def answers(*, VolumeId: str) -> Any:
            if VolumeId == "vol-1":
                raise refused("VolumeInUse")
            return {}

        monkeypatch.setattr(aws, "backoff", lambda _attempt: 60.0)  # no second try in the time that is left
        clients = Clients(lambda: Ec2(delete_volume=answers))
        some = [thing("volume", f"vol-{n}") for n in range(3)]
        results = things.remove_all(clients, [*some, thing("security-group")], soon())
        assert {each.id: error.code if error else None for each, error in results.items()} == {
            "vol-0": None,
            "vol-1": "DeletionFailed",
            "vol-2": None,
            "sg-1": None,
        }

    def test_an_account_that_cannot_be_entered_does_not_stop_the_others(self) -> None:
        class Closed(Clients):
            def ending_client(self, account_id: str, region: str, service: str = "ec2") -> Any:
                if account_id != ACCOUNT:
                    raise KeeperError("NoCredentials", "There are none.")
                return self.client(account_id, region, service)

        there = Thing("volume", "vol-there", "444455556666", REGION)
        results = things.remove_all(Closed(), [there, thing()], soon())
        assert {each.id: error.code if error else None for each, error in results.items()} == {
            "vol-there": "NoCredentials",
            "vol-1": None,
        }


def test_a_thing_is_told_with_its_place() -> None:
    assert str(thing()) == f"volume vol-1 in account {ACCOUNT}, {REGION}"
