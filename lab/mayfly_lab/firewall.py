# SPDX-License-Identifier: GPL-3.0-or-later
"""What may talk to what, as one nftables ruleset. Pure: what each host reaches in, text out.

The lab's own namespace routes for every host, so a host cannot get around these rules from within. What a host has no
way to is dropped of connections that stand as well; what security groups say is asked of new ones alone, as on AWS.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mayfly_lab.addresses import CONTROL_NODE, METADATA, RESOLVER

TABLE = "lab"
_PROTOCOLS = {"icmpv6": "58"}  # AWS's names beside tcp, udp and icmp; all others are numbers


def interface(instance_id: str) -> str:
    """The lab's end of a host's link (at most 15 characters)."""
    return "v" + instance_id.removeprefix("i-")[-14:]


def render(model: dict[str, Any], cut: Collection[str] = ()) -> str:
    """The ruleset for ``{"hosts": [{instance_id, private_ip, ways, services, dns, ingress, egress}]}``.

    Each is as `mayfly_lab.reachability.Reach` has it; a rule is ``{protocol, from_port, to_port, cidrs}``, its ranges
    without overlap. Of the instances ``cut`` every packet is dropped, in both directions.
    """
    hosts = model["hosts"]
    lines = [f"table inet {TABLE} {{}}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    for host in hosts:
        lines += _host_chains(host)
    links = ", ".join(f'"{interface(instance_id)}"' for instance_id in sorted(cut))
    from_cut, to_cut = ([f"  {side} {{ {links} }} drop"] if cut else [] for side in ("iifname", "oifname"))
    leaving, arriving = _jumps("iifname", "egress", hosts), _jumps("oifname", "ingress", hosts)
    way_out, way_in = _jumps("iifname", "to", hosts), _jumps("oifname", "from", hosts)
    standing = "  ct state established,related accept"
    for name, policy, rules in (
        ("forward", "drop", [*from_cut, *to_cut, *way_out, *way_in, standing, *leaving, *arriving]),
        ("input", "accept", [*from_cut, *way_out, standing, *_jumps("iifname", "local", hosts), '  iifname "v*" drop']),
        ("output", "accept", [*to_cut, *way_in, standing, *arriving]),
    ):
        head = f"  type filter hook {name} priority 0; policy {policy};"
        lines += [f" chain {name} {{", head, *rules, " }"]
    return "\n".join([*lines, "}"]) + "\n"


def _name(host: dict[str, Any]) -> str:
    return interface(host["instance_id"])[1:]


def _jumps(key: str, kind: str, hosts: list[dict[str, Any]]) -> list[str]:
    if not hosts:
        return []
    pairs = ", ".join(f'"{interface(host["instance_id"])}" : jump {kind}_{_name(host)}' for host in hosts)
    return [f"  {key} vmap {{ {pairs} }}"]


def _host_chains(host: dict[str, Any]) -> list[str]:
    own = host["private_ip"]
    resolver = [RESOLVER] if host["dns"] else []
    ways = ", ".join(sorted([*host["ways"], *resolver, METADATA, CONTROL_NODE]))
    local = [f"  ip daddr {each} {protocol} dport 53 accept" for each in resolver for protocol in ("udp", "tcp")]
    local += [f"  ip daddr {METADATA} tcp dport 80 accept"]
    if host["services"]:
        pairs = ", ".join(f"{address} . {port}" for address, port in sorted(map(tuple, host["services"])))
        local += [f"  ip daddr . tcp dport {{ {pairs} }} accept"]
    return [
        *_chain(host, "to", [f"  ip saddr != {own} drop", f"  ip daddr {{ {ways} }} return"]),
        *_chain(host, "from", [f"  ip saddr {{ {ways} }} return"]),
        *_chain(host, "egress", [f"  {rule} return" for rule in _matches(host["egress"], "daddr")]),
        *_chain(host, "ingress", [f"  {rule} accept" for rule in _matches(host["ingress"], "saddr")]),
        *_chain(host, "local", local),
    ]


def _chain(host: dict[str, Any], kind: str, rules: list[str]) -> list[str]:
    """A chain that drops whatever none of its rules lets pass."""
    return [f" chain {kind}_{_name(host)} {{", *rules, "  drop", " }"]


def _matches(rules: list[dict[str, Any]], side: str) -> list[str]:
    """Each security-group rule as an nft match (one without ranges, or of no protocol there is, matches nothing)."""
    found = []
    for rule in rules:
        protocol = _protocol(rule["protocol"], rule["from_port"], rule["to_port"])
        if rule["cidrs"] and protocol is not None:
            found.append(f"ip {side} {{ {', '.join(rule['cidrs'])} }}{protocol}")
    return found


def _protocol(protocol: str, first: int | None, last: int | None) -> str | None:
    """What a rule's protocol and ports match; None for nothing. Of icmp the ports are type and code, -1 for all."""
    every = first in (None, -1)
    if protocol == "all":
        return ""
    if protocol in ("tcp", "udp"):
        ports = f" dport {first}" + (f"-{last}" if last != first else "")
        return f" meta l4proto {protocol}" if every else f" {protocol}{ports}"
    if protocol == "icmp":
        code = f" icmp code {last}" if last not in (None, -1) else ""
        return " ip protocol icmp" if every else f" icmp type {first}{code}"
    number = _PROTOCOLS.get(protocol, protocol)
    return f" meta l4proto {number}" if number.isdecimal() and int(number) <= 255 else None
