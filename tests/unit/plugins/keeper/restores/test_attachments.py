# SPDX-License-Identifier: GPL-3.0-or-later
"""Restored volumes stand alone, are attached all or none, or take the place of what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import attach, restored
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations.restore import chosen
from botocore.exceptions import ClientError

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION, refused
from tests.unit.plugins.keeper.restores.cloud import PLACE, RESOURCE, Cloud, context_for, failing_at

VOLUMES: list[dict[str, Any]] = [
    {"volume_id": f"vol-{number}", "device": device, "size_gib": 1, "attributes": {}}
    for number, device in ((1, "/dev/sdf"), (2, "/dev/sdg"))
]
POINT: dict[str, Any] = {"id": "p", "resource": RESOURCE, "volumes": VOLUMES}
TARGET = {"account": ACCOUNT, "region": REGION}
MADE = {"vol-1": "vol-new-1", "vol-2": "vol-new-2"}
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def cloud() -> Cloud:
    made = Cloud()
    made.add_instance("i-1", {"/dev/xvda": "vol-root", "/dev/sdf": "vol-1", "/dev/sdh": "vol-other"})
    for volume in MADE.values():
        made.volumes[volume] = {"Tags": {"mayfly:temporary": "true"}}
    return made


@pytest.fixture
def context(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    made = context_for(cloud, tmp_path, monkeypatch)
    for volume in MADE.values():
        made.run.temporaries.add(*PLACE, volume, "volume")
    return made


def plan(context: Context, mode: str, **options: Any) -> dict[str, Any]:
    return attach.plan(context, {"target": TARGET, "attachment": mode, **options}, POINT)


def test_without_a_word_they_stand_alone(cloud: Cloud, context: Context) -> None:
    assert plan(context, "none") == {}
    assert attach.done(context, PLACE, {}, MADE, {"timeout": 9}) == {}
    assert context.run.temporaries.all() == []
    assert [name for name, _ in cloud.steps] == ["untag"]


@pytest.mark.parametrize(
    ("named", "devices"),
    [
        ({}, {"vol-1": "/dev/sdi", "vol-2": "/dev/sdg"}),
        ({"/dev/sdf": "/dev/sdp"}, {"vol-1": "/dev/sdp", "vol-2": "/dev/sdg"}),
        ({"vol-1": "/dev/sdg"}, {"vol-1": "/dev/sdg", "vol-2": "/dev/sdi"}),
    ],
)
def test_each_gets_a_device_that_is_free(
    cloud: Cloud, context: Context, named: dict[str, str], devices: dict[str, str]
) -> None:
    planned = plan(context, "attach", devices=named)
    # /dev/sdf and /dev/sdh are in use, /dev/sdg is vol-2's own
    assert planned["devices"] == devices
    attach.done(context, PLACE, planned, MADE, {"timeout": 9})
    assert {MADE[volume]: ("i-1", device) for volume, device in planned["devices"].items()} == {
        new: cloud.holder(new) for new in MADE.values()
    }
    assert cloud.state() == "running"
    assert [cloud.volumes[new]["Tags"] for new in MADE.values()] == [{}, {}]


@pytest.mark.parametrize("named", [{"vol-1": "/dev/sdh"}, {"vol-1": "/dev/sdk", "vol-2": "/dev/sdk"}], ids=str)
def test_a_device_in_use_is_refused(context: Context, named: dict[str, str]) -> None:
    with pytest.raises(KeeperError) as caught:
        plan(context, "attach", devices=named)
    assert caught.value.code == "DeviceInUse"
    assert "mayfly_restore_devices" in caught.value.remedy


@pytest.mark.parametrize("number", range(3))
def test_all_are_attached_or_none(cloud: Cloud, context: Context, number: int) -> None:
    before = cloud.disks()
    planned = plan(context, "attach")
    cloud.before = failing_at(number, refused("UnauthorizedOperation"))
    with pytest.raises(ClientError):
        attach.done(context, PLACE, planned, MADE, {"timeout": 9})
    assert cloud.disks() == before
    assert len(context.run.temporaries.all()) == 2


def test_a_volume_that_stays_attached_is_told(cloud: Cloud, context: Context) -> None:
    planned = plan(context, "attach")
    calls = iter(range(9))
    cloud.before = lambda _step: refused("UnauthorizedOperation") if next(calls) else None  # all but the first
    with pytest.raises(ClientError):
        attach.done(context, PLACE, planned, MADE, {"timeout": 9})
    (told,) = context.report.as_dict()["errors"]
    assert told["code"] == "NotDetached"
    assert "vol-new-1" in told["message"]
    assert "i-1" in told["message"]


def test_only_what_is_attached_can_be_replaced(context: Context) -> None:
    with pytest.raises(KeeperError) as caught:
        plan(context, "replace")
    assert caught.value.code == "NothingAttached"
    planned = plan(context, "replace", devices={"vol-2": "/dev/sdh"})
    assert planned["replaced"] == {"/dev/sdf": "vol-1", "/dev/sdh": "vol-other"}


def test_what_is_replaced_is_kept(cloud: Cloud, context: Context) -> None:
    planned = plan(context, "replace", devices={"vol-2": "/dev/sdh"})
    done = attach.done(context, PLACE, planned, MADE, {"timeout": 9, "boot_timeout": 0})
    assert done["replaced"] == {"/dev/sdf": "vol-1", "/dev/sdh": "vol-other"}
    assert cloud.disks() == {"/dev/xvda": "vol-root", "/dev/sdf": "vol-new-1", "/dev/sdh": "vol-new-2"}
    assert cloud.holder("vol-1") is None


def test_volumes_are_chosen_by_id_or_device(context: Context) -> None:
    assert [each["volume_id"] for each in chosen(context, POINT, ["/dev/sdg"])["volumes"]] == ["vol-2"]
    assert chosen(context, POINT, ["vol-1"])["size_bytes"] == 2**30
    assert chosen(context, POINT, [])["volumes"] == VOLUMES
    with pytest.raises(KeeperError) as caught:
        chosen(context, POINT, ["vol-1", "/dev/sdz"])
    assert caught.value.code == "VolumeMissing"
    assert "/dev/sdz" in caught.value.message


GP3 = {"type": "gp3", "iops": 5000, "throughput": 250}


@pytest.mark.parametrize(
    ("recorded", "types", "taken"),
    [
        (GP3, {}, {"VolumeType": "gp3", "Iops": 5000, "Throughput": 250}),
        (GP3, {"/dev/sdf": "gp2"}, {"VolumeType": "gp2"}),
        (GP3, {"others": "io2"}, {"VolumeType": "io2", "Iops": 5000}),
        (GP3, {"others": "io2", "/dev/sdf": "st1"}, {"VolumeType": "st1"}),
        ({"type": "gp2", "iops": 100}, {"others": "gp3"}, {"VolumeType": "gp3"}),
        ({"type": "gp2", "iops": 100}, {"others": "io1"}, {"VolumeType": "io1", "Iops": 100}),
        ({}, {}, {"VolumeType": "gp3"}),
    ],
)
def test_a_volume_has_its_recorded_type_or_another(
    recorded: dict[str, Any], types: dict[str, str], taken: dict[str, Any]
) -> None:
    volume = {"device": "/dev/sdf", "size_gib": 9, "attributes": recorded}
    assert restored.attributes(volume, types) == {**taken, "Size": 9}
