# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instance types a worker may have: wanted, offered, of the image's architecture, and within the quota."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from .picture import InstanceType, Picture

ON_DEMAND = "on-demand"
SPOT = "spot"


@dataclass(frozen=True)
class QuotaClass:
    """Families of types that share one quota of vCPUs in a Region: its codes for on-demand and for Spot instances."""

    families: tuple[str, ...]
    on_demand: str
    spot: str

    def code(self, market: str) -> str:
        """The quota's code for a market."""
        return self.spot if market == SPOT else self.on_demand


# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html; a family is the letters that a type
# begins with. Types of no class here (dedicated hosts, u-, mac) have quotas of their own, and are no workers.
_CLASSES = (
    QuotaClass(("a", "c", "d", "h", "i", "m", "r", "t", "z"), "L-1216C47A", "L-34B43A08"),
    QuotaClass(("f",), "L-74FC7D96", "L-88CF9481"),
    QuotaClass(("g", "vt"), "L-DB2E81BA", "L-3819A6DF"),
    QuotaClass(("inf",), "L-1945791B", "L-B5D1601B"),
    QuotaClass(("p",), "L-417A185B", "L-7212CCBC"),
    QuotaClass(("trn",), "L-2C3B7624", "L-6B0D517C"),
    QuotaClass(("x",), "L-7295265B", "L-E3A00192"),
)
# Letters that name a class of their own although they begin like the standard one.
_LONGER = ("hpc", "inf", "trn", "dl", "vt", "mac", "u")


def quota_class(instance_type: str) -> QuotaClass | None:
    """The class of an instance type; None for one that no quota of vCPUs is known of."""
    letters = instance_type.split(".", 1)[0]
    family = next((each for each in _LONGER if letters.startswith(each)), letters[:1])
    return next((each for each in _CLASSES if family in each.families), None)


def fault_of_type(picture: Picture, name: str, architectures: Container[str], markets: Sequence[str]) -> str:
    """Why a type cannot be the worker's in any of the markets; empty when it can."""
    known = picture.instance_types.get(name)
    if known is None or not known.zone_ids:
        return f"not offered in {picture.region}"
    if known.architecture not in architectures:
        return f"there is no machine image for {known.architecture}"
    shortages = [fault_of_quota(picture, known, market) for market in markets]
    return "; ".join(shortages) if all(shortages) else ""


def fault_of_quota(picture: Picture, kind: InstanceType, market: str) -> str:
    """The shortage of vCPUs that no ending of our own workers would mend; empty when there is none or it is unknown."""
    known = quota_class(kind.name)
    quota = picture.quotas.get(known.code(market)) if known else None
    if known is None or quota is None or kind.vcpus <= quota.limit - quota.used:
        return ""
    return (
        f"needs {kind.vcpus} vCPUs of the {market} quota {known.code(market)}, which allows {quota.limit}"
        f" and of which others use {quota.used}"
    )
