# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's links and routes. The lab's namespace is the only router, and has no way out."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from mayfly_lab import addresses
from mayfly_lab.commands import run
from mayfly_lab.firewall import interface, render

_NOWHERE = "nowhere"  # a link whose other end nobody listens at: what goes there is lost without a word


def set_up() -> None:
    """Addresses of the control node, the services, the metadata service and the resolver; routing on."""
    own = [
        addresses.CONTROL_NODE,
        addresses.GATEWAY,
        addresses.METADATA,
        addresses.RESOLVER,
        addresses.ELSEWHERE,
        *addresses.all_addresses(),
    ]
    batch = ["link set lo up", *(f"addr add {address}/32 dev lo scope global" for address in own)]
    run("ip", "-b", "-", text="\n".join(batch) + "\n")
    run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    run("ip", "link", "add", _NOWHERE, "type", "veth", "peer", "name", f"{_NOWHERE}-end")
    for link in (_NOWHERE, f"{_NOWHERE}-end"):
        run("ip", "link", "set", link, "arp", "off", "up")
    apply({"hosts": []})


def apply(model: dict[str, Any], cut: Collection[str] = ()) -> None:
    """Put a picture of the network into force, all at once; the hosts ``cut`` have none."""
    run("nft", "-f", "-", text=render(model, cut))


def silence(private_ip: str) -> None:
    """Let an address without a host be one that never answers, not one that there is no way to."""
    run("ip", "route", "replace", f"{private_ip}/32", "dev", _NOWHERE, "src", addresses.CONTROL_NODE)


def unsilence(private_ip: str) -> None:
    run("ip", "route", "del", f"{private_ip}/32", "dev", _NOWHERE)


def add_host(instance_id: str, private_ip: str) -> Path:
    """A network namespace with one link that has ``private_ip``; the path of the namespace."""
    link = interface(instance_id)
    run("ip", "netns", "add", instance_id)
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", instance_id)
    gateway = addresses.GATEWAY
    inside = ["link set lo up", f"addr add {private_ip}/32 dev eth0", "link set eth0 up"]
    inside += [f"route add {gateway} dev eth0", f"route add default via {gateway}"]
    run("ip", "-n", instance_id, "-b", "-", text="\n".join(inside) + "\n")
    run("ip", "-b", "-", text=f"link set {link} up\n{_route(private_ip, link)}\n")
    return Path("/run/netns") / instance_id


def remove_host(instance_id: str) -> None:
    """Remove the namespace, with its link and route."""
    run("ip", "netns", "del", instance_id)


def add_tap(instance_id: str, private_ip: str) -> None:
    """A link of a machine that lays the other end of it by itself."""
    link = interface(instance_id)
    run("ip", "tuntap", "add", link, "mode", "tap")
    run("ip", "-b", "-", text=f"link set {link} up\n{_route(private_ip, link)}\n")


def remove_tap(instance_id: str) -> None:
    """Remove the link, with its route."""
    run("ip", "link", "del", interface(instance_id))


def _route(private_ip: str, link: str) -> str:
    return f"route add {private_ip}/32 dev {link} src {addresses.CONTROL_NODE}"


def resolver_configuration() -> str:
    """dnsmasq's settings: AWS's names, that of the one place elsewhere, and nothing else."""
    lines = [
        "no-resolv",
        "no-hosts",
        "bind-interfaces",
        f"listen-address={addresses.RESOLVER}",
        "user=root",
        "cache-size=0",
    ]
    lines += ["pid-file=", f"address=/{addresses.ELSEWHERE_NAME}/{addresses.ELSEWHERE}"]
    for service in addresses.SERVICES:
        for region in addresses.REGIONS:
            address = addresses.service_address(service, region)
            lines += [f"address=/{name}/{address}" for name in addresses.hostnames(service, region)]
    return "\n".join(lines) + "\n"
