# SPDX-License-Identifier: GPL-3.0-or-later
"""Who answers where: one address for each service and Region, so that a firewall can tell them apart."""

from __future__ import annotations

from itertools import product

REGIONS = ("us-east-1", "eu-central-1")
SERVICES = ("ec2", "ebs", "s3", "sts", "iam", "kms", "ssm", "servicequotas", "pricing")

GATEWAY = "169.254.0.1"  # next hop of every host; never seen on a wire
METADATA = "169.254.169.254"
RESOLVER = "169.254.169.253"
CONTROL_NODE = "10.255.0.10"
# A place on the internet that is not AWS's, for a server of a test's own; hosts reach its TCP 443 as they do AWS's.
ELSEWHERE = "100.64.255.10"
ELSEWHERE_NAME = "elsewhere.example"

_PREFIXES = {"pricing": "api.pricing"}  # where a service's names do not begin with its own
_GLOBAL = {"iam": "us-east-1", "sts": "us-east-1", "s3": "us-east-1"}
_ADDRESSES = {
    key: f"100.64.{number // 200}.{number % 200 + 10}" for number, key in enumerate(product(SERVICES, REGIONS))
}


def service_address(service: str, region: str) -> str:
    """The IPv4 address of a service's endpoint; raises KeyError for an unknown service or Region."""
    return _ADDRESSES[service, region]


def service_at(address: str) -> tuple[str, str]:
    """(service, Region) of an address; raises KeyError."""
    return {value: key for key, value in _ADDRESSES.items()}[address]


def all_addresses() -> list[str]:
    """Every service address of the lab."""
    return list(_ADDRESSES.values())


def hostnames(service: str, region: str) -> list[str]:
    """The DNS names (each with everything below it) of a service's endpoint."""
    names = [f"{_PREFIXES.get(service, service)}.{region}.amazonaws.com"]
    if _GLOBAL.get(service) == region:
        names.append(f"{service}.amazonaws.com")
    return names


def certificate_names() -> list[str]:
    """Subject alternative names that cover every endpoint, buckets as host names included."""
    names = ["*.amazonaws.com", "*.s3.amazonaws.com"]
    for region in REGIONS:
        names += [f"*.{region}.amazonaws.com", f"*.s3.{region}.amazonaws.com", f"api.pricing.{region}.amazonaws.com"]
    return names
