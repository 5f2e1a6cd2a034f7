# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose addresses the run's temporary security group lets in, where no group is configured."""

from __future__ import annotations

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement import place

from tests.unit.plugins.placement.world import CONTROL_NODE, At, default_vpc, network, picture, refusal, request, vpc

CONTROL_NODES = [
    ("an address", CONTROL_NODE, None),
    ("a network", "10.20.0.0/16", None),
    ("an address of version 6", "2001:db8::5/128", None),
    ("nothing", None, "NoControlNode"),
    ("a blank", "", "NoControlNode"),
    ("a name", "bastion.example", "BadControlNode"),
    ("no number", "10.20.0.300/32", "BadControlNode"),
    ("a prefix that is too long", "10.20.0.5/33", "BadControlNode"),
    ("an address inside a network", "10.20.0.5/16", "BadControlNode"),
    ("an address without a prefix", "10.20.0.5", "BadControlNode"),
    ("everywhere", "0.0.0.0/0", "BadControlNode"),
    ("everywhere in version 6", "::/0", "BadControlNode"),
]


@pytest.mark.parametrize(("cidr", "code"), [row[1:] for row in CONTROL_NODES], ids=[row[0] for row in CONTROL_NODES])
class TestTheControlNode:
    def test_must_be_known_where_a_group_has_to_be_made(self, cidr: str | None, code: str | None) -> None:
        world, wanted = picture(default_vpc(At("subnet-a"))), request(control_node_cidr=cidr)
        if code is None:
            assert place(world, wanted).candidates[0].security_group_ids == ()
            return
        error = refusal(world, wanted)
        assert error.code == code
        assert "mayfly_control_node_cidr" in error.remedy
        assert "mayfly_networks" in error.remedy
        assert code == "NoControlNode" or "mayfly_control_node_cidr" in error.message

    def test_is_of_no_matter_where_groups_are_configured(self, cidr: str | None, code: str | None) -> None:
        entry = network(security_group_ids=["sg-workers"])
        placed = place(picture(default_vpc(At("subnet-a"))), request(entry, control_node_cidr=cidr))
        assert placed.candidates[0].security_group_ids == ("sg-workers",)


def test_the_control_node_must_be_known_when_one_entry_of_two_has_no_group() -> None:
    world = picture(vpc("vpc-one", At("subnet-one")), vpc("vpc-two", At("subnet-two")))
    entries = [network(vpc_id="vpc-one", security_group_ids=["sg-workers"]), network(vpc_id="vpc-two")]
    assert refusal(world, request(*entries, control_node_cidr=None)).code == "NoControlNode"
