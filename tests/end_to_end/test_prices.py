# SPDX-License-Identifier: GPL-3.0-or-later
"""Candidates by price, with the prices that AWS tells under the rights of a run; and what is told when it does not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import Site, faulty

pytestmark = pytest.mark.timeout(300)
TYPES = ["m5.large", "c5.large", "c6a.large"]  # the dearest first
ROW = re.compile(r"^\s*\"?\s*\d+  \d{12} +(\S+) +(spot|on-demand) +(\S+) +subnet-\S+ +ami-\S+ *([0-9.]*)", re.M)


def placed(site: Site, settings: Any, **more: Any) -> tuple[list[tuple[str, str, float]], str]:
    """(type, market, price) of each candidate for a backup of web-1, 0.0 for no price; and all that was shown."""
    words = settings(mayfly_instance_types={"small": TYPES}, **more)
    done = site.lab.playbook("ec2_backup", "--check", "--limit", site.web, *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    rows = [(kind, market, float(price or 0)) for kind, market, _zone, price in ROW.findall(done.stdout)]
    assert rows, done.stdout
    return rows, done.stdout


@pytest.fixture(scope="module")
def ready(site: Site) -> Site:
    """The site with a repository."""
    assert site.lab.playbook("repository_create").returncode == 0
    return site


def test_the_cheapest_of_each_market_comes_first(ready: Site, settings: Any) -> None:
    rows, output = placed(ready, settings, mayfly_worker_order="price", mayfly_worker_market="spot")
    markets = [market for _, market, _ in rows]
    assert markets == sorted(markets, reverse=True)  # spot, then on-demand
    for wanted in ("spot", "on-demand"):
        prices = [price for _, market, price in rows if market == wanted]
        assert prices == sorted(prices)
        assert prices[0] > 0
    kinds = list(dict.fromkeys(kind for kind, market, _ in rows if market == "on-demand"))
    assert kinds == ["c6a.large", "c5.large", "m5.large"]
    assert re.search(r"chosen +order: by price: \S+ in zone use1-az\d costs 0\.\d+ USD an hour \(spot\)", output)


def test_what_aws_does_not_tell_is_a_reason_and_refuses_nothing(ready: Site, settings: Any) -> None:
    closed = ("--status", "400", "--code", "AccessDeniedException")
    with (
        faulty(ready, "error", "--service", "pricing", *closed),
        faulty(ready, "error", "--service", "servicequotas", *closed),
    ):
        rows, output = placed(ready, settings, mayfly_worker_order="price")
    assert list(dict.fromkeys(kind for kind, _, _ in rows)) == TYPES
    assert {price for *_, price in rows} == {0.0}
    assert output.count("AccessDeniedException") >= len(TYPES) + 1
    assert re.search(r"unknown +on-demand price of m5\.large: AccessDeniedException", output)
    assert re.search(r"unknown +quota L-1216C47A: AccessDeniedException", output)
