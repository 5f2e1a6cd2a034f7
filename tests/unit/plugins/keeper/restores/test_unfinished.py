# SPDX-License-Identifier: GPL-3.0-or-later
"""A control node that died in the middle of an exchange: the reaper puts the volumes back, by tags alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import originals, unfinished
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.operations import reaper
from ansible_collections.mayfly.workers.plugins.plugin_utils.reaping import Rule
from ansible_collections.mayfly.workers.plugins.plugin_utils.restore_rights import REPLACED, REPLACING

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION
from tests.unit.plugins.keeper.restores.cloud import PLACE, Cloud, context_for

OLD = {"/dev/xvda": "vol-root", "/dev/sdf": "vol-data"}
DEVICES = {volume: device for device, volume in OLD.items()}
MADE = {"vol-root": "vol-new-root", "vol-data": "vol-new-data"}
NEW = {device: MADE[volume] for device, volume in OLD.items()}
RULE = Rule("default", timedelta(minutes=15))
NOW = datetime(2026, 11, 27, tzinfo=UTC)
DEAD, ALIVE = "2026-11-26T20:00:00Z", "2026-11-27T00:01:00Z"
# Two tags, a stop, twice a detachment and an attachment, the flags, a start, the hand-over, and the last tags.
STEPS = 11
pytestmark = pytest.mark.usefixtures("quick")


class Died(BaseException):
    """The control node is gone."""


def died_after(steps: int, folder: Path, monkeypatch: pytest.MonkeyPatch, lease: str = DEAD) -> Cloud:
    """What a control node leaves that dies after so many steps."""
    cloud = Cloud()
    cloud.add_instance("i-1", OLD)
    ours = {"mayfly:temporary": "true", "mayfly:deployment": "default", "mayfly:run": "the-run"}
    for volume in MADE.values():
        cloud.volumes[volume] = {"Tags": {**ours, "mayfly:lease-ends": lease}}
    context = context_for(cloud, folder, monkeypatch)

    def die(_step: str) -> None:
        if len(cloud.steps) >= steps:
            cloud.before = lambda _step: Died()  # type: ignore[assignment, return-value]
            raise Died

    cloud.after = die  # type: ignore[assignment]
    planned = {"instance_id": "i-1", "devices": DEVICES}
    with pytest.raises(Died):
        originals.fill(context, PLACE, planned, MADE, {"timeout": 30, "boot_timeout": 0})
    cloud.before = cloud.after = lambda _step: None
    cloud.other["get_paginator"] = cloud.pages_of_volumes
    monkeypatch.setattr(unfinished, "time", SimpleNamespace(sleep=lambda _seconds: None))
    return cloud


def sweep(cloud: Cloud, rule: Rule = RULE) -> list[unfinished.Unfinished]:
    found = unfinished.find(cloud, PLACE, rule, NOW)
    for each in found:
        unfinished.finish(cloud, each)
    return found


@pytest.mark.parametrize("steps", range(1, STEPS + 1))
def test_the_instance_has_its_own_volumes_again_unless_the_new_ones_are_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    cloud = died_after(steps, tmp_path, monkeypatch)
    handed_over = steps >= STEPS - 1
    [found] = sweep(cloud) if steps < STEPS else [SimpleNamespace(settled=True)]
    assert found.settled == handed_over
    assert cloud.disks() == (NEW if handed_over else OLD)
    assert cloud.state() == "running"
    tags = [cloud.volumes[volume]["Tags"] for volume in OLD.values()]
    assert [REPLACED in each for each in tags] == [handed_over] * 2
    assert not [each for each in tags if REPLACING in each]
    assert sweep(cloud) == []


def test_a_run_that_lives_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = died_after(5, tmp_path, monkeypatch, lease=ALIVE)
    before = cloud.disks()
    assert sweep(cloud) == []
    assert cloud.disks() == before
    assert len(sweep(cloud, Rule("default", timedelta(0), run="the-run"))) == 1, "but one that is known to be dead"
    assert cloud.disks() == OLD


@pytest.mark.parametrize("rule", [Rule("other", timedelta(0)), Rule("default", timedelta(0), run="another")], ids=str)
def test_what_is_of_others_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Rule) -> None:
    assert sweep(died_after(5, tmp_path, monkeypatch), rule) == []


def test_where_people_were_first_only_tags_are_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = died_after(5, tmp_path, monkeypatch)
    cloud.volumes["vol-mine"] = {"Tags": {}}
    cloud.instances["i-1"]["disks"]["/dev/sdf"] = {"VolumeId": "vol-mine"}
    [found] = sweep(cloud)
    assert found.settled
    assert cloud.disks()["/dev/sdf"] == "vol-mine"
    assert sweep(cloud) == []


def test_of_an_instance_that_is_gone_nothing_is_to_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = died_after(5, tmp_path, monkeypatch)
    cloud.instances["i-1"]["state"] = "terminated"
    assert [each.settled for each in sweep(cloud)] == [True]


@pytest.mark.parametrize("check", [True, False])
def test_a_sweep_tells_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: bool) -> None:
    cloud = died_after(5, tmp_path, monkeypatch)
    context = context_for(cloud, tmp_path, monkeypatch)
    failed: list[dict[str, Any]] = []
    object.__setattr__(context, "check", check)
    [told] = reaper._undo(context, PLACE, RULE, failed)
    assert (told["kind"], told["id"], told["run"]) == ("exchange-of-volumes", "i-1", "the-run")
    assert (told["account"], told["region"], failed) == (ACCOUNT, REGION, [])
    assert (cloud.disks() == OLD) is not check
