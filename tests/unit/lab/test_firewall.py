# SPDX-License-Identifier: GPL-3.0-or-later
"""The ruleset as text; that the kernel obeys it, the integration tests show."""

from __future__ import annotations

from typing import Any

import pytest
from mayfly_lab import firewall

ANY = {"protocol": "all", "from_port": None, "to_port": None, "cidrs": ["0.0.0.0/0"]}


def host(number: int, **changes: Any) -> dict[str, Any]:
    base = {
        "instance_id": f"i-{number:017x}",
        "private_ip": f"10.20.0.{number}",
        "ways": [],
        "services": [],
        "dns": True,
        "ingress": [],
        "egress": [ANY],
    }
    return {**base, **changes}


def chain(text: str, name: str) -> str:
    _, _, rest = text.partition(f" chain {name} {{\n")
    assert rest, f"no chain {name}"
    return rest.partition("\n }\n")[0] + "\n"


def own(entry: dict[str, Any]) -> str:
    return firewall.interface(entry["instance_id"])[1:]


def test_interfaces_fit_the_kernel() -> None:
    assert len(firewall.interface("i-0123456789abcdef0")) == 15


@pytest.mark.parametrize(("kind", "side"), [("to", "daddr"), ("from", "saddr")])
def test_what_there_is_no_way_to_is_dropped(kind: str, side: str) -> None:
    entry = host(1, ways=["10.20.0.2", "100.64.0.10"])
    rules = chain(firewall.render({"hosts": [entry]}), f"{kind}_{own(entry)}").splitlines()
    ways = "10.20.0.2, 10.255.0.10, 100.64.0.10, 169.254.169.253, 169.254.169.254"
    assert rules[-2:] == [f"  ip {side} {{ {ways} }} return", "  drop"]


@pytest.mark.parametrize(
    ("name", "sides"),
    [("forward", ("iifname", "oifname")), ("input", ("iifname",)), ("output", ("oifname",))],
)
def test_ways_count_for_connections_that_stand_as_well(name: str, sides: tuple[str, ...]) -> None:
    entry = host(1)
    rules = chain(firewall.render({"hosts": [entry]}), name).splitlines()
    established = next(number for number, rule in enumerate(rules) if "established" in rule)
    link = firewall.interface(entry["instance_id"])
    kinds = {"iifname": "to", "oifname": "from"}
    wanted = [f'  {side} vmap {{ "{link}" : jump {kinds[side]}_{own(entry)} }}' for side in sides]
    assert rules[1:established] == wanted


def test_only_services_in_reach_are_let_through() -> None:
    entry = host(1, services=[["100.64.0.10", 443]])
    wanted = "  ip daddr . tcp dport { 100.64.0.10 . 443 } accept"
    assert wanted in chain(firewall.render({"hosts": [entry]}), f"local_{own(entry)}")
    assert "100.64" not in chain(firewall.render({"hosts": [host(1)]}), f"local_{own(entry)}")


def test_a_vpc_that_resolves_no_names_has_no_resolver() -> None:
    entry = host(1, dns=False)
    text = firewall.render({"hosts": [entry]})
    assert "169.254.169.253" not in text
    assert "169.254.169.253" in firewall.render({"hosts": [host(1)]})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            {"protocol": "tcp", "from_port": 22, "to_port": 22, "cidrs": ["10.0.0.1/32"]},
            "ip saddr { 10.0.0.1/32 } tcp dport 22 accept",
        ),
        (
            {"protocol": "udp", "from_port": 1, "to_port": 9, "cidrs": ["10.0.0.0/8", "11.0.0.0/8"]},
            "ip saddr { 10.0.0.0/8, 11.0.0.0/8 } udp dport 1-9 accept",
        ),
        ({**ANY, "protocol": "tcp", "from_port": -1, "to_port": -1}, "meta l4proto tcp accept"),
        ({**ANY, "protocol": "icmp", "from_port": -1, "to_port": -1}, "ip protocol icmp accept"),
        ({**ANY, "protocol": "icmp", "from_port": 8, "to_port": -1}, "icmp type 8 accept"),
        ({**ANY, "protocol": "icmp", "from_port": 3, "to_port": 4}, "icmp type 3 icmp code 4 accept"),
        ({**ANY, "protocol": "50"}, "ip saddr { 0.0.0.0/0 } meta l4proto 50 accept"),
        ({**ANY, "protocol": "58"}, "ip saddr { 0.0.0.0/0 } meta l4proto 58 accept"),
        ({**ANY, "protocol": "icmpv6"}, "ip saddr { 0.0.0.0/0 } meta l4proto 58 accept"),
        (ANY, "ip saddr { 0.0.0.0/0 } accept"),
    ],
)
def test_ingress_rules(rule: dict[str, Any], expected: str) -> None:
    entry = host(1, ingress=[rule])
    assert f"{expected}\n" in chain(firewall.render({"hosts": [entry]}), f"ingress_{own(entry)}")


@pytest.mark.parametrize("rule", [{**ANY, "cidrs": []}, {**ANY, "protocol": "nonsense"}, {**ANY, "protocol": "256"}])
def test_a_rule_for_nobody_or_for_no_protocol_lets_nobody_in(rule: dict[str, Any]) -> None:
    entry = host(1, ingress=[rule])
    assert "accept" not in chain(firewall.render({"hosts": [entry]}), f"ingress_{own(entry)}")


def test_every_packet_of_a_host_that_is_cut_off_is_dropped_before_anything_is_let_through() -> None:
    first, second = host(1), host(2)
    cut = firewall.interface(first["instance_id"])
    text = firewall.render({"hosts": [first, second]}, [first["instance_id"]])
    for name, sides in (("forward", ("iifname", "oifname")), ("input", ("iifname",)), ("output", ("oifname",))):
        rules = [rule.strip() for rule in chain(text, name).splitlines()[1:]]
        assert rules[: len(sides)] == [f'{side} {{ "{cut}" }} drop' for side in sides]
        assert not any("drop" in rule for rule in rules[len(sides) :] if "vmap" not in rule and "v*" not in rule)
    assert cut not in firewall.render({"hosts": [second]})
