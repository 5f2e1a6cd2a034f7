# SPDX-License-Identifier: GPL-3.0-or-later
"""The cap on a deployment's workers: counted by tags, waited for, and given way to by the younger."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import turns
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.turns import Turns, await_turn, live_workers

PLACE = ("111122223333", "eu-central-1")
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


class Ec2:
    """Instances that any filter finds; the filters asked for are kept."""

    def __init__(self, *instances: dict[str, Any]) -> None:
        self.instances = list(instances)
        self.filters: list[Any] = []

    def get_paginator(self, call: str) -> Ec2:
        assert call == "describe_instances"
        return self

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:
        self.filters.append(asked["Filters"])
        return [{"Reservations": [{"Instances": [each]} for each in self.instances]}]


def worker(name: str, seconds: int, state: str = "running") -> dict[str, Any]:
    """An instance that was launched so many seconds after noon."""
    return {"InstanceId": name, "LaunchTime": NOW + timedelta(seconds=seconds), "State": {"Name": state}}


FOUR = (worker("i-3", 2), worker("i-1", 0), worker("i-2", 1, "pending"), worker("i-0", -9, "terminated"))


def test_live_workers_are_those_of_the_deployment_oldest_first() -> None:
    ec2 = Ec2(*FOUR)
    assert [each["InstanceId"] for each in live_workers(ec2, "ours")] == ["i-1", "i-2", "i-3"]
    asked = {each["Name"]: each["Values"] for each in ec2.filters[0]}
    assert asked == {"tag:mayfly:deployment": ["ours"], "tag:mayfly:temporary": ["true"]}


@pytest.mark.parametrize(("cap", "free"), [(3, False), (4, True), (2, False)])
def test_a_turn_is_free_below_the_cap(cap: int, free: bool) -> None:
    assert Turns().reserve(Ec2(*FOUR), PLACE, "web-1", "ours", cap) is free


def test_a_launch_under_way_has_its_place() -> None:
    it = Turns()
    assert it.reserve(Ec2(), PLACE, "web-1", "ours", 1)
    assert not it.reserve(Ec2(), PLACE, "web-2", "ours", 1)
    assert it.reserve(Ec2(), ("444455556666", "eu-central-1"), "web-2", "ours", 1)
    it.settle(PLACE, "web-1")
    assert it.reserve(Ec2(), PLACE, "web-2", "ours", 1)


def test_what_was_just_launched_counts_although_aws_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Turns()
    it.settle(PLACE, "web-1", "i-9")
    assert not it.reserve(Ec2(), PLACE, "web-2", "ours", 1)
    monkeypatch.setattr(turns, "_SEEN_SECONDS", -1)
    assert it.reserve(Ec2(), PLACE, "web-2", "ours", 1)


def test_it_is_not_counted_twice() -> None:
    it = Turns()
    it.settle(PLACE, "web-1", "i-1")
    assert it.reserve(Ec2(worker("i-1", 0)), PLACE, "web-2", "ours", 2)


@pytest.mark.parametrize(
    ("cap", "instance", "keeps"),
    [(3, "i-3", True), (2, "i-3", False), (2, "i-2", True), (4, "i-unseen", True), (3, "i-x", False)],
)
def test_the_younger_give_way(cap: int, instance: str, keeps: bool) -> None:
    assert Turns().keeps(Ec2(*FOUR), "ours", cap, instance) is keeps


def test_a_turn_is_waited_for_and_given_up_at_last() -> None:
    answers, pauses = iter([False, False, True]), []
    await_turn(lambda: next(answers), pauses.append, time.monotonic() + 60, "web-1: 3 workers run")
    assert len(pauses) == 2
    with pytest.raises(KeeperError) as caught:
        await_turn(lambda: False, lambda _seconds: None, time.monotonic() - 1, "web-1: 3 workers run")
    assert caught.value.code == "NoTurn"
    assert "web-1" in caught.value.message
    assert "mayfly_max_workers" in caught.value.remedy


def test_a_cancel_ends_the_wait() -> None:
    def cancel(_seconds: float) -> None:
        raise KeeperError("Canceled", "The launch was canceled.")

    with pytest.raises(KeeperError, match="canceled"):
        await_turn(lambda: False, cancel, time.monotonic() + 60, "web-1")
