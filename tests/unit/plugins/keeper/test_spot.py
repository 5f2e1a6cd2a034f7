# SPDX-License-Identifier: GPL-3.0-or-later
"""What Spot says of its requests: only what it takes back by itself is lost, and one call asks for all of a place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.spot import SpotWatch
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.workers import Worker

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION, Clients, refused, worker


class Requests:
    """An EC2 that knows the status of some instances' requests, a page each; or refuses."""

    def __init__(self, refuses: Exception | None = None, **codes: str) -> None:
        self.codes = codes
        self.refuses = refuses
        self.asked: list[list[str]] = []

    def get_paginator(self, call: str) -> Requests:
        assert call == "describe_spot_instance_requests"
        return self

    def paginate(self, *, Filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.refuses:
            raise self.refuses
        (only,) = Filters
        assert only["Name"] == "instance-id"
        self.asked.append(only["Values"])
        known = [each for each in only["Values"] if each in self.codes]
        return [
            {"SpotInstanceRequests": [{"InstanceId": each, "Status": {"Code": self.codes[each], "Message": "It is."}}]}
            for each in known
        ]


class Registry:
    """Workers, and which of them were lost."""

    def __init__(self, *workers: Worker) -> None:
        self.workers = list(workers)
        self.lost: dict[str, tuple[str, str]] = {}

    def all(self) -> list[Worker]:
        return self.workers

    def lose(self, host: str, why: str, instance_id: str = "") -> None:
        self.lost[host] = instance_id, why


def spot(name: str, **more: Any) -> Worker:
    return replace(worker(name, f"i-{name}"), market="spot", **more)


@pytest.mark.parametrize(
    ("code", "lost"),
    [
        ("fulfilled", False),
        ("request-canceled-and-instance-running", False),
        ("instance-terminated-by-user", False),
        ("marked-for-termination", True),
        ("instance-terminated-by-price", True),
        ("instance-terminated-no-capacity", True),
        ("instance-terminated-capacity-oversubscribed", True),
    ],
)
def test_a_status(code: str, lost: bool) -> None:
    registry = Registry(spot("web"))
    SpotWatch(Clients(lambda: Requests(**{"i-web": code})).client, registry).look()
    told = ("i-web", f"Spot takes i-web back ({code}: It is.)")
    assert registry.lost == ({"web": told} if lost else {})


def test_one_call_asks_for_all_spot_workers_of_a_place() -> None:
    clients = Clients(lambda: Requests(**{"i-b": "marked-for-termination"}))
    SpotWatch(clients.client, registry := Registry(spot("a"), worker("c", "i-c"), spot("b"))).look()
    assert clients.made[ACCOUNT, REGION].asked == [["i-a", "i-b"]]
    assert set(registry.lost) == {"b"}


def test_a_place_that_does_not_tell_keeps_no_other_from_it() -> None:
    elsewhere = spot("b", region="us-east-1")
    answers = iter([Requests(refused("UnauthorizedOperation", 403)), Requests(**{"i-b": "marked-for-termination"})])
    SpotWatch(Clients(lambda: next(answers)).client, registry := Registry(spot("a"), elsewhere)).look()
    assert set(registry.lost) == {"b"}


def test_without_spot_workers_nothing_is_asked() -> None:
    clients = Clients(Requests)
    SpotWatch(clients.client, Registry(worker())).look()
    assert clients.made == {}
