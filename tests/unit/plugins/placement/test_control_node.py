# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose addresses the run's temporary security group lets in, where no group is configured."""

from __future__ import annotations

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.place import place

from tests.unit.plugins.placement.world import (
    CONTROL_NODE,
    At,
    Rule,
    default_vpc,
    group,
    network,
    picture,
    reasons,
    refusal,
    request,
    vpc,
)

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

    def test_may_be_left_out_where_groups_are_configured(self, cidr: str | None, code: str | None) -> None:
        entry = network(security_group_ids=["sg-workers"])
        everyone = group("sg-workers", Rule("tcp", 22, 22, "0.0.0.0/0"), Rule("tcp", 22, 22, "::/0"))
        world, wanted = picture(default_vpc(At("subnet-a"), groups=[everyone])), request(entry, control_node_cidr=cidr)
        if code == "BadControlNode":
            assert refusal(world, wanted).code == code
        else:
            assert place(world, wanted).candidates[0].security_group_ids == ("sg-workers",)


def test_the_control_node_must_be_known_when_one_entry_of_two_has_no_group() -> None:
    world = picture(vpc("vpc-one", At("subnet-one"), groups=[group("sg-workers")]), vpc("vpc-two", At("subnet-two")))
    entries = [network(vpc_id="vpc-one", security_group_ids=["sg-workers"]), network(vpc_id="vpc-two")]
    assert refusal(world, request(*entries, control_node_cidr=None)).code == "NoControlNode"


LETTING_IN = [
    ("its own address", [Rule("tcp", 22, 22, CONTROL_NODE)], True),
    ("a network that holds it", [Rule("tcp", 22, 22, "10.20.0.0/16")], True),
    ("all ports", [Rule("-1", 0, 65535, "10.20.0.0/16")], True),
    ("a range of ports", [Rule("tcp", 20, 30, "10.20.0.0/16")], True),
    ("another network", [Rule("tcp", 22, 22, "10.21.0.0/16")], False),
    ("another port", [Rule("tcp", 443, 443, CONTROL_NODE)], False),
    ("another protocol", [Rule("udp", 22, 22, CONTROL_NODE)], False),
    ("a network of two that holds it", [Rule("tcp", 22, 22, "10.20.0.4/31")], True),
    ("a group", [Rule("tcp", 22, 22, "sg-bastion")], False),
]


@pytest.mark.parametrize(("rules", "lets_in"), [row[1:] for row in LETTING_IN], ids=[row[0] for row in LETTING_IN])
def test_configured_groups_must_let_the_control_node_in(rules: list[Rule], lets_in: bool) -> None:
    world = picture(default_vpc(At("subnet-a"), groups=[group("sg-workers", *rules)]))
    wanted = request(network(security_group_ids=["sg-workers"]))
    if lets_in:
        assert place(world, wanted).candidates
    else:
        error = refusal(world, wanted)
        assert f"sg-workers lets TCP 22 in from nowhere that holds {CONTROL_NODE}" in error.message


def test_the_port_of_ssh_is_the_workers_own() -> None:
    at_2222 = group("sg-workers", Rule("tcp", 2222, 2222, CONTROL_NODE))
    world = picture(default_vpc(At("subnet-a"), groups=[at_2222]))
    entry = network(security_group_ids=["sg-workers"])
    assert "TCP 22 in" in refusal(world, request(entry)).message
    assert place(world, request(entry, ssh_port=2222)).candidates


def test_session_manager_needs_no_way_in() -> None:
    closed = group("sg-workers", Rule("tcp", 443, 443, "10.0.0.0/8"))
    world = picture(default_vpc(At("subnet-a"), groups=[closed]))
    assert place(world, request(network(security_group_ids=["sg-workers"]), session_manager=True)).candidates
    assert place(world, request(session_manager=True, control_node_cidr=None)).candidates


BASTION = ("10.30.0.9/32", "sg-bastion")
LETTING_THE_BASTION_IN = [
    ("its address", Rule("tcp", 22, 22, "10.30.0.9/32"), True),
    ("its group", Rule("tcp", 22, 22, "sg-bastion"), True),
    ("the control node alone", Rule("tcp", 22, 22, CONTROL_NODE), False),
    ("another group", Rule("tcp", 22, 22, "sg-other"), False),
]


@pytest.mark.parametrize(
    ("rule", "lets_in"), [row[1:] for row in LETTING_THE_BASTION_IN], ids=[row[0] for row in LETTING_THE_BASTION_IN]
)
def test_with_a_bastion_it_alone_must_be_let_in(rule: Rule, lets_in: bool) -> None:
    world = picture(default_vpc(At("subnet-a"), groups=[group("sg-workers", rule)]))
    wanted = request(network(security_group_ids=["sg-workers"]), bastion=BASTION)
    if lets_in:
        assert place(world, wanted).candidates
    else:
        assert "in from nowhere that holds 10.30.0.9/32 or sg-bastion" in refusal(world, wanted).message


def test_with_a_bastion_no_control_node_must_be_known() -> None:
    world = picture(default_vpc(At("subnet-a")))
    assert refusal(world, request(control_node_cidr=None)).code == "NoControlNode"
    assert place(world, request(control_node_cidr=None, bastion=BASTION)).candidates


@pytest.mark.parametrize("peer", ["0.0.0.0/0", "::/0"])
def test_a_group_that_lets_everybody_in_is_taken_with_a_warning_that_names_it(peer: str) -> None:
    groups = [group("sg-open", Rule("tcp", 22, 22, CONTROL_NODE), Rule("tcp", 8080, 8090, peer))]
    placed = place(
        picture(default_vpc(At("subnet-a"), groups=groups)), request(network(security_group_ids=["sg-open"]))
    )
    warnings = [(each.subject, each.reason) for each in placed.reasons if each.decision == "warning"]
    assert warnings == [("security group sg-open", f"lets {peer} in to tcp 8080-8090; no worker needs that")]
    assert reasons(placed)["subnet subnet-a"][0] == "chosen"
