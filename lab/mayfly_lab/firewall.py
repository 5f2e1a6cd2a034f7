# SPDX-License-Identifier: GPL-3.0-or-later
"""What may talk to what, as one nftables ruleset. Pure: a picture of the network in, text out.

The lab's own namespace routes for every host, so a host cannot get around these rules from within.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mayfly_lab.addresses import METADATA, RESOLVER

TABLE = "lab"


def interface(instance_id: str) -> str:
    """The lab's end of a host's link (at most 15 characters)."""
    return "v" + instance_id.removeprefix("i-")[-14:]


def render(model: dict[str, Any], cut: Collection[str] = ()) -> str:
    """The ruleset for ``{"hosts": [{instance_id, private_ip, vpc_id, services, peers, ingress, egress}]}``.

    Of the instances ``cut`` every packet is dropped, in both directions, of connections that stand as well.
    """
    hosts = model["hosts"]
    reach = {host["instance_id"]: _reachable(host, hosts) for host in hosts}
    lines = [f"table inet {TABLE} {{}}", f"delete table inet {TABLE}", f"table inet {TABLE} {{"]
    for host in hosts:
        lines += _host_chains(host, reach[host["instance_id"]])
    leaving = _jumps("iifname", "egress", hosts)
    arriving = _jumps("oifname", "ingress", hosts)
    local = _jumps("iifname", "local", hosts)
    links = ", ".join(f'"{interface(instance_id)}"' for instance_id in sorted(cut))
    from_cut, to_cut = ([f"  {side} {{ {links} }} drop"] if cut else [] for side in ("iifname", "oifname"))
    lines += [
        " chain forward {",
        "  type filter hook forward priority 0; policy drop;",
        *from_cut,
        *to_cut,
        "  ct state established,related accept",
    ]
    lines += [*leaving, *arriving, " }"]
    lines += [
        " chain input {",
        "  type filter hook input priority 0; policy accept;",
        *from_cut,
        "  ct state established,related accept",
    ]
    lines += [*local, '  iifname "v*" drop', " }"]
    lines += [
        " chain output {",
        "  type filter hook output priority 0; policy accept;",
        *to_cut,
        "  ct state established,related accept",
    ]
    lines += [*arriving, " }", "}"]
    return "\n".join(lines) + "\n"


def _reachable(host: dict[str, Any], hosts: list[dict[str, Any]]) -> list[str]:
    inside = {host["vpc_id"], *host["peers"]}
    return sorted(other["private_ip"] for other in hosts if other["vpc_id"] in inside and other is not host)


def _name(host: dict[str, Any]) -> str:
    return interface(host["instance_id"])[1:]


def _jumps(key: str, kind: str, hosts: list[dict[str, Any]]) -> list[str]:
    if not hosts:
        return []
    pairs = ", ".join(f'"{interface(host["instance_id"])}" : jump {kind}_{_name(host)}' for host in hosts)
    return [f"  {key} vmap {{ {pairs} }}"]


def _host_chains(host: dict[str, Any], reachable: list[str]) -> list[str]:
    own = host["private_ip"]
    egress = [f" chain egress_{_name(host)} {{", f"  ip saddr != {own} drop"]
    if reachable:
        egress += [
            f"  ip daddr {{ {', '.join(reachable)} }} {rule} return" for rule in _matches(host["egress"], "daddr")
        ]
    egress += ["  drop", " }"]
    ingress = [f" chain ingress_{_name(host)} {{"]
    ingress += [f"  {rule} accept" for rule in _matches(host["ingress"], "saddr")]
    ingress += ["  drop", " }"]
    local = [f" chain local_{_name(host)} {{", f"  ip saddr != {own} drop"]
    local += [f"  ip daddr {RESOLVER} udp dport 53 accept", f"  ip daddr {RESOLVER} tcp dport 53 accept"]
    local += [f"  ip daddr {METADATA} tcp dport 80 accept"]
    targets = [*host["services"], *host.get("control_nodes", [])]
    if targets:
        local += [f"  ip daddr {{ {', '.join(targets)} }} {rule} accept" for rule in _matches(host["egress"], "daddr")]
    local += ["  drop", " }"]
    return egress + ingress + local


def _matches(rules: list[dict[str, Any]], side: str) -> list[str]:
    """Each security-group rule as an nft match (an empty rule list matches nothing)."""
    found = []
    for rule in rules:
        if not rule["cidrs"]:
            continue
        match = f"ip {side} {{ {', '.join(_without_overlap(rule['cidrs']))} }}"
        protocol = rule["protocol"]
        if protocol in ("tcp", "udp"):
            first, last = rule["from_port"], rule["to_port"]
            match += f" {protocol} dport {first}" + (f"-{last}" if last != first else "")
        elif protocol == "icmp":
            match += " ip protocol icmp"
        found.append(match)
    return found


def _without_overlap(cidrs: list[str]) -> list[str]:
    """nft refuses intervals that overlap in one set."""
    return ["0.0.0.0/0"] if "0.0.0.0/0" in cidrs else sorted(set(cidrs))
