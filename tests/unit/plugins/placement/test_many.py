# SPDX-License-Identifier: GPL-3.0-or-later
"""Many resources in one large account: what was worked out for one serves those that want the same, and no others."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import place

from tests.benchmarks import placements
from tests.benchmarks.aims import Aims
from tests.unit.plugins.placement.world import ZONE_IDS, At, default_vpc, picture, request, subnets_of, types_of


def test_the_benchmark_runs() -> None:
    aims = Aims()
    placements.placements(aims, 30)
    assert [line.split(":")[0] for line in aims.lines] == [
        "placements of 30",
        "placements, growth for ten times as many",
    ]


def test_each_resource_is_placed_as_if_it_were_alone() -> None:
    subnets = [At("subnet-a", "a", free=5), At("subnet-b", "b", free=9)]
    shared = picture(default_vpc(*subnets))
    first = request()
    wanted = [
        first,
        replace(first, zones=(ZONE_IDS["a"],)),
        replace(first, size_bytes=2**41),
        replace(first, market="spot"),
        replace(first, images={"x86_64": replace(first.images["x86_64"], id="ami-other")}),
        replace(first, operation="retention"),
        first,
    ]
    together = [place(shared, each) for each in wanted]
    assert together == [place(picture(default_vpc(*subnets)), each) for each in wanted]
    assert subnets_of(together[1]) == ["subnet-a", "subnet-b"]
    assert types_of(together[2])[0] == "c6a.2xlarge"
    assert {each.image_id for each in together[4].candidates} == {"ami-other"}
