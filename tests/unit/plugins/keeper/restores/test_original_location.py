# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever fails while volumes are exchanged, the instance runs with its own volumes, as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import originals, swaps
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.journal import read_exchanges
from ansible_collections.mayfly.workers.plugins.plugin_utils.restore_rights import REPLACED, REPLACING
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.unit.plugins.keeper.fakes import HOST, UNREACHABLE, refused
from tests.unit.plugins.keeper.restores.cloud import PLACE, Cloud, context_for, failing_at

OLD = {"/dev/xvda": "vol-root", "/dev/sdf": "vol-data"}
NEW = {"/dev/xvda": "vol-new-root", "/dev/sdf": "vol-new-data"}
MADE = {"vol-root": "vol-new-root", "vol-data": "vol-new-data"}
DEVICES = {volume: device for device, volume in OLD.items()}
WAITS = {"timeout": 30, "boot_timeout": 0}
# The changing calls of an exchange: two tags, a stop, twice a detachment and an attachment, the flags, a start, and the
# hand-over.
STEPS = ["tag", "tag", "stop", "detach", "attach", "detach", "attach", "modify", "start", "untag"]
LAST = "untag"  # the exchange is settled, and cannot fail any more
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def cloud() -> Cloud:
    made = Cloud()
    made.add_instance("i-1", OLD)
    for volume in NEW.values():
        made.volumes[volume] = {"Tags": {"mayfly:temporary": "true", "mayfly:run": "the-run", "Name": "mine"}}
    return made


@pytest.fixture
def context(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    made = context_for(cloud, tmp_path, monkeypatch)
    for volume in NEW.values():
        made.run.temporaries.add(*PLACE, volume, "volume")
    return made


def fill(context: Context) -> dict[str, Any]:
    return originals.fill(context, PLACE, {"instance_id": "i-1", "devices": DEVICES}, MADE, WAITS)


def is_as_before(cloud: Cloud) -> bool:
    disks = cloud.instances["i-1"]["disks"].values()
    marked = [volume for volume in OLD.values() if {REPLACED, REPLACING} & cloud.volumes[volume]["Tags"].keys()]
    return (
        cloud.disks() == OLD
        and cloud.state() == "running"
        and all(e["DeleteOnTermination"] for e in disks)
        and not marked
    )


def test_the_restored_volumes_are_the_users_and_the_old_ones_say_where_they_were(
    cloud: Cloud, context: Context, tmp_path: Path
) -> None:
    assert fill(context) == {"instance_id": "i-1", "replaced": OLD}
    assert [name for name, _ in cloud.steps] == [*STEPS, LAST]
    assert cloud.disks() == NEW
    assert cloud.state() == "running"
    assert all(disk["DeleteOnTermination"] for disk in cloud.instances["i-1"]["disks"].values())
    assert [cloud.volumes[volume]["Tags"] for volume in NEW.values()] == [{"Name": "mine"}] * 2
    assert context.run.temporaries.all() == []
    assert {v: cloud.volumes[v]["Tags"] for v in OLD.values()} == {v: {REPLACED: f"i-1 {d}"} for d, v in OLD.items()}
    assert read_exchanges(tmp_path) == []


@pytest.mark.parametrize("number", range(len(STEPS)), ids=[f"{n}-{step}" for n, step in enumerate(STEPS)])
class TestAFailureAtAStep:
    def test_puts_the_old_volumes_back(self, cloud: Cloud, context: Context, number: int) -> None:
        cloud.before = failing_at(number, refused("UnauthorizedOperation"))
        with pytest.raises((ClientError, KeeperError)):
            fill(context)
        assert is_as_before(cloud)
        assert len(context.run.temporaries.all()) == 2, "the run's end removes them"

    def test_of_which_the_answer_was_lost_changes_nothing(self, cloud: Cloud, context: Context, number: int) -> None:
        """But for tags: their client repeats a call by itself."""
        cloud.after = failing_at(number, UNREACHABLE)
        cloud.lag = 3
        if STEPS[number] == "tag":
            with pytest.raises(EndpointConnectionError):
                fill(context)
            assert is_as_before(cloud)
        else:
            fill(context)
            assert cloud.disks() == NEW
            assert cloud.state() == "running"

    def test_that_ends_the_run_puts_the_old_volumes_back(self, cloud: Cloud, context: Context, number: int) -> None:
        """The playbook was killed: the keeper's call goes on until it sees that the run ends."""

        def close(_step: str) -> None:
            if len(cloud.steps) > number:
                context.run.close()

        cloud.after = close  # type: ignore[assignment]
        if number == len(STEPS) - 1:
            fill(context)  # all had been done
            assert cloud.disks() == NEW
            return
        with pytest.raises(KeeperError) as caught:
            fill(context)
        assert caught.value.code == "RunEnding"
        assert is_as_before(cloud)

    def test_of_a_keeper_that_was_killed_is_made_good_by_the_next(
        self, cloud: Cloud, context: Context, number: int, tmp_path: Path
    ) -> None:
        class Killed(BaseException):
            pass

        def kill(step: str) -> None:
            if len(cloud.steps) > number:
                noted.extend(read_exchanges(tmp_path))
                cloud.before = lambda _step: Killed()  # type: ignore[return-value, assignment]
                raise Killed(step)

        noted: list[Any] = []
        cloud.after = kill  # type: ignore[assignment]
        with pytest.raises(Killed):
            fill(context)
        cloud.before = cloud.after = lambda _step: None
        following = Run("the-run", tmp_path, tmp_path, context.run.report)
        following.clients = context.run.clients
        assert len(noted) == 1
        handed_over = number == len(STEPS) - 1
        for place, value in noted:
            if handed_over:
                following.journal.note_handed_over(NEW.values())
                following.temporaries._handed_over.update(NEW.values())
            swaps.finish_for(following, place, value)
        assert is_as_before(cloud) != handed_over


def test_an_instance_that_fails_its_checks_has_its_own_volumes_again(cloud: Cloud, context: Context) -> None:
    cloud.status = "impaired"
    with pytest.raises(KeeperError) as caught:
        fill(context)
    assert caught.value.code == "ChecksFailed"
    assert is_as_before(cloud)


def test_an_instance_for_which_there_is_no_capacity_is_asked_for_again_with_its_own_volumes(
    cloud: Cloud, context: Context
) -> None:
    refusals = iter([refused("InsufficientInstanceCapacity", 500)] * 3)
    cloud.before = lambda step: next(refusals, None) if step == "start" else None
    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        fill(context)
    assert is_as_before(cloud)
    assert [name for name, _ in cloud.steps].count("start") == 4


def test_an_instance_that_was_stopped_stays_so(cloud: Cloud, context: Context) -> None:
    cloud.instances["i-1"]["state"] = "stopped"
    cloud.status = "not asked for"
    fill(context)
    assert cloud.disks() == NEW
    assert cloud.state() == "stopped"
    assert {"stop", "start"}.isdisjoint(name for name, _ in cloud.steps)


def test_volumes_that_cannot_be_put_back_are_named(cloud: Cloud, context: Context) -> None:
    cloud.before = lambda step: refused("UnauthorizedOperation") if step == "attach" else None
    with pytest.raises(KeeperError) as caught:
        fill(context)
    assert caught.value.code == "NotPutBack"
    assert all(f"{volume} as {device}" in caught.value.message for device, volume in OLD.items())
    assert cloud.volumes["vol-root"]["Tags"] == {REPLACED: "i-1 /dev/xvda", REPLACING: "default running the-run"}


def test_a_device_that_has_no_volume_gets_one_and_is_empty_again(cloud: Cloud, context: Context) -> None:
    del cloud.instances["i-1"]["disks"]["/dev/sdf"]
    cloud.status = "impaired"
    with pytest.raises(KeeperError):
        fill(context)
    assert cloud.disks() == {"/dev/xvda": "vol-root"}
    cloud.status = "ok"
    assert fill(context)["replaced"] == {"/dev/xvda": "vol-root"}
    assert cloud.disks() == NEW


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "protected from stops": ({"attributes": {"disableApiStop": True}}, "StopProtection"),
    "a member of an Auto Scaling group": ({"tags": {"aws:autoscaling:groupName": "web"}}, "AutoScaling"),
    "a Spot Instance": ({"more": {"InstanceLifecycle": "spot"}}, "SpotInstance"),
    "without a root volume": ({"more": {"RootDeviceType": "instance-store"}}, "NoVolumes"),
    "stopping": ({"more": {"State": {"Name": "stopping"}}}, "InstanceBusy"),
    "gone": ({"more": {"State": {"Name": "terminated"}}}, "InstanceNotFound"),
}


@pytest.mark.parametrize(("changes", "code"), REFUSED.values(), ids=REFUSED)
def test_an_instance_is_refused_that_is(cloud: Cloud, context: Context, changes: dict[str, Any], code: str) -> None:
    """Before the data is moved, and once more before anything is stopped."""
    cloud.instances["i-1"] |= changes
    for attempt in (lambda: originals.plan(context, PLACE, "i-1", DEVICES, there=False), lambda: fill(context)):
        with pytest.raises(KeeperError) as caught:
            attempt()
        assert caught.value.code == code
        assert HOST in caught.value.message
    assert cloud.steps == []


def test_a_plan_follows_a_volume_that_is_attached_elsewhere_now(cloud: Cloud, context: Context) -> None:
    cloud.instances["i-1"]["disks"]["/dev/sdk"] = cloud.instances["i-1"]["disks"].pop("/dev/sdf")
    planned = originals.plan(context, PLACE, "i-1", DEVICES, there=True)
    assert planned["devices"] == {"vol-root": "/dev/xvda", "vol-data": "/dev/sdk"}
    assert planned["replaced"] == {"/dev/xvda": "vol-root", "/dev/sdk": "vol-data"}


def test_a_plan_tells_of_an_address_that_a_stop_takes(cloud: Cloud, context: Context) -> None:
    owners = {"198.51.100.1": "amazon", "198.51.100.2": "111122223333"}
    listed = [{"Association": {"PublicIp": each, "IpOwnerId": owner}} for each, owner in owners.items()]
    cloud.instances["i-1"]["more"] = {"NetworkInterfaces": listed}
    [note] = originals.plan(context, PLACE, "i-1", DEVICES, there=True)["notes"]
    assert "198.51.100.1" in note
