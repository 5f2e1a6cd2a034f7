# SPDX-License-Identifier: GPL-3.0-or-later
"""What many hosts wait for is asked for once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.watching import Watching

PLACE = ("111122223333", "us-east-1")
FOR_EVER = 1000.0


class Ec2:
    """Knows instances that run; tells what it was asked for."""

    def __init__(self, *known: str) -> None:
        self.known = list(known)
        self.asked: list[list[str]] = []

    def get_paginator(self, call: str) -> Any:
        assert call == "describe_instances"
        return SimpleNamespace(paginate=self._paginate)

    def _paginate(self, Filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        ((_, ids),) = [(each["Name"], each["Values"]) for each in Filters]
        self.asked.append(ids)
        found = [{"InstanceId": each, "State": {"Name": "running"}} for each in self.known if each in ids]
        return [{"Reservations": [{"Instances": [each]}]} for each in found]


def watching(ec2: Ec2) -> Watching:
    return Watching(lambda *_place: ec2, time.sleep)


def test_one_look_is_for_all_instances_that_are_looked_at() -> None:
    ids = [f"i-{number}" for number in range(20)]
    ec2 = Ec2(*ids)
    several = watching(ec2)
    with ExitStack() as stack, ThreadPoolExecutor(20) as pool:
        looks: list[Callable[[float], Any]] = [stack.enter_context(several.instance(PLACE, each)) for each in ids]
        found = list(pool.map(lambda look: look(FOR_EVER), looks))
    assert [each["InstanceId"] for each in found] == ids
    assert ec2.asked == [sorted(ids)]


def test_a_look_is_no_older_than_it_may_be() -> None:
    ec2 = Ec2("i-1")
    with watching(ec2).instance(PLACE, "i-1") as look:
        look(FOR_EVER)
        look(FOR_EVER)
        assert len(ec2.asked) == 1
        look(0.0)
    assert len(ec2.asked) == 2


def test_what_was_not_looked_for_yet_is_asked_for() -> None:
    ec2 = Ec2("i-1", "i-2")
    several = watching(ec2)
    with several.instance(PLACE, "i-1") as first:
        first(FOR_EVER)
        with several.instance(PLACE, "i-2") as second:
            assert second(FOR_EVER) is not None
    assert ec2.asked == [["i-1"], ["i-1", "i-2"]]


def test_what_is_looked_at_no_more_is_asked_for_no_more() -> None:
    ec2 = Ec2("i-1", "i-2")
    several = watching(ec2)
    with several.instance(PLACE, "i-1") as look:
        look(0.0)
    with several.instance(PLACE, "i-2") as look:
        look(0.0)
    assert ec2.asked == [["i-1"], ["i-2"]]


def test_an_instance_that_is_not_known_yet_is_none() -> None:
    with watching(Ec2("i-1")).instance(PLACE, "i-2") as look:
        assert look(0.0) is None
