# SPDX-License-Identifier: GPL-3.0-or-later
"""What archiving and bringing back cost, and how long S3 takes. Pure.

The prices are those of AWS's public price list for us-east-1 (https://aws.amazon.com/s3/pricing/) as of DATE, in USD
and without taxes; other Regions cost up to about twice as much. The times are those that AWS calls typical
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects-retrieval-options.html), the days and the
overhead of an object those of https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SOURCE = "AWS's public price list for us-east-1, https://aws.amazon.com/s3/pricing/"
DATE = "2026-05"
# S3 counts its GB in powers of two.
_GB = 2**30
# About so long is a pack, and so much more is billed for each archived object: in its own class, and in Standard.
_PACK_BYTES = 16 * 2**20
_OVERHEAD_BYTES = 32 * 2**10
_OVERHEAD_STANDARD_BYTES = 8 * 2**10
_STANDARD_MONTH = 0.023
_STANDARD_PUTS = 0.005
_GETS = 0.0004
_DAYS_A_MONTH = 30


@dataclass(frozen=True)
class Tier:
    """A way to retrieve: USD per GB and per 1,000 requests, and the hours within which it is typically done."""

    gb: float
    requests: float
    hours: float


@dataclass(frozen=True)
class StorageClass:
    """USD per GB and month, USD per 1,000 puts, and the days that are paid for at least."""

    month: float
    puts: float
    days: int
    tiers: dict[str, Tier]


CLASSES: dict[str, StorageClass] = {
    "GLACIER": StorageClass(
        month=0.0036,
        puts=0.03,
        days=90,
        tiers={
            "expedited": Tier(0.03, 10.0, 5 / 60),
            "standard": Tier(0.01, 0.05, 5),
            "bulk": Tier(0.0, 0.0, 12),
        },
    ),
    "DEEP_ARCHIVE": StorageClass(
        month=0.00099,
        puts=0.05,
        days=180,
        tiers={"standard": Tier(0.02, 0.10, 12), "bulk": Tier(0.0025, 0.025, 48)},
    ),
}


def of_archiving(storage_class: str, size_bytes: int) -> dict[str, Any]:
    """{usd, usd_month, usd_least, days_least} of so many bytes in a new set; raises KeyError for another class.

    ``usd_least`` are the puts and the storage for the days that are paid for whatever becomes of the set.
    """
    kind = CLASSES[storage_class]
    packs = -(-size_bytes // _PACK_BYTES)
    puts = packs * kind.puts / 1000
    month = (size_bytes + packs * _OVERHEAD_BYTES) / _GB * kind.month
    month += packs * _OVERHEAD_STANDARD_BYTES / _GB * _STANDARD_MONTH
    least = puts + month * kind.days / _DAYS_A_MONTH
    return {"usd": _cents(puts), "usd_month": _cents(month), "usd_least": _cents(least), "days_least": kind.days}


def of_return(tier: str, objects: dict[str, int], sizes: dict[str, int], days: int) -> dict[str, Any]:
    """{usd, usd_month, hours} of a return: ``objects`` and ``sizes`` (bytes) by storage class.

    ``usd`` is the retrieval, the copies that S3 keeps for ``days``, and the requests that copy them; ``usd_month`` what
    is in the repository then. What is in another class is read as it is. Raises KeyError for a tier that a class does
    not know.
    """
    usd, hours = 0.0, 0.0
    for name in objects.keys() & CLASSES.keys():
        chosen = CLASSES[name].tiers[tier]
        usd += sizes[name] / _GB * (chosen.gb + _STANDARD_MONTH * days / _DAYS_A_MONTH)
        usd += objects[name] * chosen.requests / 1000
        hours = max(hours, chosen.hours)
    usd += sum(objects.values()) * (_GETS + _STANDARD_PUTS) / 1000
    month = sum(sizes.values()) / _GB * _STANDARD_MONTH
    return {"usd": _cents(usd), "usd_month": _cents(month), "hours": round(hours, 2)}


def _cents(usd: float) -> float:
    """To the hundredth of a cent."""
    return round(usd, 4)
