# SPDX-License-Identifier: GPL-3.0-or-later
"""What archiving and bringing back cost, what it costs to delete early, and how long S3 takes. Pure.

Prices are those of us-east-1, in USD and without taxes; other Regions cost up to about twice as much. AWS's own page
(https://aws.amazon.com/s3/pricing/) shows them to browsers alone, so each was looked for in what AWS says elsewhere,
and else in what quotes it; on 2026-11-27 they were found so:

- GLACIER, standard retrieval, both prices, and expedited by request: https://repost.aws/knowledge-center/s3-manage-data-retrieval
- PUT and GET of Standard, PUT of GLACIER, standard retrieval of DEEP_ARCHIVE by GB: AWS's price list
  (https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonS3/current/us-east-1/index.json), as quoted by the
  program that reads it in github.com/scttfrdmn/objectfs
- storage of Standard and DEEP_ARCHIVE, and the overhead of an object: AWS's calculator, quoted by
  https://serveraide.com/explain-aws-s3-glacier-storage-class-charges-141957
- storage of GLACIER: https://gist.github.com/regispires/d3604636ec0e8d0d3ecab41f009f3d1c
- PUT of DEEP_ARCHIVE, and its retrievals else: https://gist.github.com/casouri/56e1e634e50d1ae023f3bb8ea4d053de
  (of March 2023)
- bulk retrieval of GLACIER is free, expedited by GB: undated quotations alone. The second is unknown here therefore.

The times are those that AWS calls typical
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects-retrieval-options.html), the days those of
https://docs.aws.amazon.com/AmazonS3/latest/userguide/glacier-storage-classes.html.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

SOURCE = (
    "what AWS says and what quotes it of prices for us-east-1; https://aws.amazon.com/s3/pricing/ has the last word"
)
DATE = "2026-11"
# S3 counts its GB in powers of two: https://aws.amazon.com/s3/faqs/, in its examples of what is billed.
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
    """A way to retrieve: USD per GB (None: not known) and per 1,000 requests, and the hours that it typically takes."""

    gb: float | None
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
            "expedited": Tier(None, 10.0, 5 / 60),
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

    ``usd`` (None: not known) is the retrieval, the copies that S3 keeps for ``days``, and the requests that copy them;
    ``usd_month`` what is in the repository then. What is in another class is read as it is. Raises KeyError for a tier
    that a class does not know.
    """
    usd, hours, known = 0.0, 0.0, True
    for name in objects.keys() & CLASSES.keys():
        chosen = CLASSES[name].tiers[tier]
        known = known and (chosen.gb is not None or not sizes[name])
        usd += sizes[name] / _GB * ((chosen.gb or 0.0) + _STANDARD_MONTH * days / _DAYS_A_MONTH)
        usd += objects[name] * chosen.requests / 1000
        hours = max(hours, chosen.hours)
    usd += sum(objects.values()) * (_GETS + _STANDARD_PUTS) / 1000
    month = sum(sizes.values()) / _GB * _STANDARD_MONTH
    return {"usd": _cents(usd) if known else None, "usd_month": _cents(month), "hours": round(hours, 2)}


def of_removal(sizes: dict[str, int], days: float) -> dict[str, Any]:
    """{usd, days_left} of the deletion of a set that is so old: ``sizes`` (bytes) by storage class.

    ``usd`` is the storage for the days that are paid for in any case and are not over, ``days_left`` in all classes.
    """
    usd, left = 0.0, 0.0
    for name in sizes.keys() & CLASSES.keys():
        kind = CLASSES[name]
        rest = max(0.0, kind.days - days)
        usd += sizes[name] / _GB * kind.month * rest / _DAYS_A_MONTH
        left = max(left, rest)
    return {"usd": _cents(usd), "days_left": math.ceil(left)}


def _cents(usd: float) -> float:
    """To the hundredth of a cent."""
    return round(usd, 4)
