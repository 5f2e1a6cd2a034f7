# SPDX-License-Identifier: GPL-3.0-or-later
"""The ruleset as text; that the kernel obeys it, the integration tests show."""

from __future__ import annotations

from typing import Any

import pytest
from mayfly_lab import firewall

ANY = {"protocol": "all", "from_port": None, "to_port": None, "cidrs": ["0.0.0.0/0"]}


def host(number: int, vpc: str, **changes: Any) -> dict[str, Any]:
    base = {
        "instance_id": f"i-{number:017x}",
        "private_ip": f"10.20.0.{number}",
        "public": False,
        "vpc_id": vpc,
        "services": [],
        "peers": [],
        "ingress": [],
        "egress": [ANY],
    }
    return {**base, **changes}


def chain(text: str, name: str) -> str:
    _, _, rest = text.partition(f" chain {name} {{\n")
    assert rest, f"no chain {name}"
    return rest.partition(" }\n")[0]


def own(entry: dict[str, Any]) -> str:
    return firewall.interface(entry["instance_id"])[1:]


def test_interfaces_fit_the_kernel() -> None:
    assert len(firewall.interface("i-0123456789abcdef0")) == 15


def test_hosts_of_one_vpc_are_routed_and_those_of_others_are_not() -> None:
    first, second, other = host(1, "vpc-a"), host(2, "vpc-a"), host(3, "vpc-b")
    rules = chain(firewall.render({"hosts": [first, second, other]}), f"egress_{own(first)}")
    assert "10.20.0.2" in rules
    assert "10.20.0.3" not in rules


def test_peered_vpcs_are_routed() -> None:
    first, other = host(1, "vpc-a", peers=["vpc-b"]), host(3, "vpc-b", peers=["vpc-a"])
    assert "10.20.0.3" in chain(firewall.render({"hosts": [first, other]}), f"egress_{own(first)}")


def test_only_services_in_reach_are_let_through() -> None:
    entry = host(1, "vpc-a", services=["100.64.0.10"])
    assert "100.64.0.10" in chain(firewall.render({"hosts": [entry]}), f"local_{own(entry)}")
    alone = chain(firewall.render({"hosts": [host(1, "vpc-a")]}), f"local_{own(entry)}")
    assert "100.64" not in alone


def test_a_group_without_egress_closes_the_services_too() -> None:
    entry = host(1, "vpc-a", services=["100.64.0.10"], egress=[])
    assert "100.64" not in chain(firewall.render({"hosts": [entry]}), f"local_{own(entry)}")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            {"protocol": "tcp", "from_port": 22, "to_port": 22, "cidrs": ["10.0.0.1/32"]},
            "ip saddr { 10.0.0.1/32 } tcp dport 22",
        ),
        (
            {"protocol": "udp", "from_port": 1, "to_port": 9, "cidrs": ["10.0.0.0/8"]},
            "ip saddr { 10.0.0.0/8 } udp dport 1-9",
        ),
        ({"protocol": "icmp", "from_port": -1, "to_port": -1, "cidrs": ["10.0.0.0/8"]}, "ip protocol icmp"),
        (ANY, "ip saddr { 0.0.0.0/0 } accept"),
    ],
)
def test_ingress_rules(rule: dict[str, Any], expected: str) -> None:
    entry = host(1, "vpc-a", ingress=[rule])
    assert expected in chain(firewall.render({"hosts": [entry]}), f"ingress_{own(entry)}")


def test_a_rule_for_a_group_without_members_lets_nobody_in() -> None:
    entry = host(1, "vpc-a", ingress=[{**ANY, "cidrs": []}])
    assert "accept" not in chain(firewall.render({"hosts": [entry]}), f"ingress_{own(entry)}")


def test_every_packet_of_a_host_that_is_cut_off_is_dropped_before_anything_is_let_through() -> None:
    first, second = host(1, "vpc-a"), host(2, "vpc-a")
    cut, whole = firewall.interface(first["instance_id"]), firewall.interface(second["instance_id"])
    text = firewall.render({"hosts": [first, second]}, [first["instance_id"]])
    for name, sides in (("forward", ("iifname", "oifname")), ("input", ("iifname",)), ("output", ("oifname",))):
        rules = chain(text, name).splitlines()
        established = next(number for number, rule in enumerate(rules) if "established" in rule)
        dropped = [rule.strip() for rule in rules[:established] if "drop" in rule and "policy" not in rule]
        assert dropped == [f'{side} {{ "{cut}" }} drop' for side in sides]
        assert not any(whole in rule for rule in rules[:established])
    assert cut not in firewall.render({"hosts": [second]})
