# SPDX-License-Identifier: GPL-3.0-or-later
"""What archives cost, by numbers that were worked out by hand from the price list."""

from __future__ import annotations

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils import archive_prices

TIB = 2**40
PACKS = TIB // 2**24  # 65,536


@pytest.mark.parametrize(
    ("storage_class", "usd", "month", "days"),
    [
        # 65,536 puts at 0.03 a thousand; 1,024 GB at 0.0036, 2 GB of overhead at that and half a GB at 0.023
        ("GLACIER", 1.9661, 1024 * 0.0036 + 2 * 0.0036 + 0.5 * 0.023, 90),
        ("DEEP_ARCHIVE", 3.2768, 1024 * 0.00099 + 2 * 0.00099 + 0.5 * 0.023, 180),
    ],
)
def test_a_tebibyte_archived(storage_class: str, usd: float, month: float, days: int) -> None:
    found = archive_prices.of_archiving(storage_class, TIB)
    assert found == {
        "usd": usd,
        "usd_month": pytest.approx(month, abs=1e-4),
        "usd_least": pytest.approx(usd + month * days / 30, abs=1e-3),
        "days_least": days,
    }


@pytest.mark.parametrize(
    ("storage_class", "tier", "retrieval", "hours"),
    [
        ("GLACIER", "bulk", 0.0, 12),
        ("GLACIER", "standard", 1024 * 0.01 + 65.536 * 0.05, 5),
        ("DEEP_ARCHIVE", "bulk", 1024 * 0.0025 + 65.536 * 0.025, 48),
        ("DEEP_ARCHIVE", "standard", 1024 * 0.02 + 65.536 * 0.1, 12),
    ],
)
def test_a_tebibyte_brought_back(storage_class: str, tier: str, retrieval: float, hours: float) -> None:
    """The copies are kept for 3 days; each pack is read and put once."""
    found = archive_prices.of_return(tier, {storage_class: PACKS}, {storage_class: TIB}, 3)
    usd = retrieval + 1024 * 0.023 / 10 + 65.536 * (0.0004 + 0.005)
    assert found == {"usd": pytest.approx(usd, abs=1e-3), "usd_month": 23.552, "hours": hours}


def test_the_slowest_class_counts() -> None:
    found = archive_prices.of_return("bulk", {"GLACIER": 1, "DEEP_ARCHIVE": 1}, {"GLACIER": 1, "DEEP_ARCHIVE": 1}, 1)
    assert found["hours"] == 48


def test_what_is_not_archived_is_there() -> None:
    assert archive_prices.of_return("expedited", {"STANDARD": 1}, {"STANDARD": 1}, 1)["hours"] == 0


def test_deep_archives_know_no_expedited_retrieval() -> None:
    with pytest.raises(KeyError):
        archive_prices.of_return("expedited", {"DEEP_ARCHIVE": 1}, {"DEEP_ARCHIVE": 1}, 1)


def test_nothing_costs_nothing() -> None:
    assert archive_prices.of_archiving("GLACIER", 0)["usd_least"] == 0


def test_a_price_that_is_not_known_is_not_told() -> None:
    found = archive_prices.of_return("expedited", {"GLACIER": PACKS}, {"GLACIER": TIB}, 3)
    assert found == {"usd": None, "usd_month": 23.552, "hours": 0.08}


@pytest.mark.parametrize(
    ("sizes", "days", "usd", "left"),
    [
        ({"GLACIER": TIB}, 30.0, 1024 * 0.0036 * 2, 60),
        ({"GLACIER": TIB}, 90.5, 0.0, 0),
        ({"DEEP_ARCHIVE": TIB}, 89.5, 1024 * 0.00099 * 90.5 / 30, 91),
        ({"GLACIER": TIB, "DEEP_ARCHIVE": TIB, "STANDARD": TIB}, 120.0, 1024 * 0.00099 * 2, 60),
        ({"STANDARD": TIB}, 0.0, 0.0, 0),
    ],
)
def test_what_is_deleted_early_is_paid_to_its_end(sizes: dict[str, int], days: float, usd: float, left: int) -> None:
    assert archive_prices.of_removal(sizes, days) == {"usd": pytest.approx(usd, abs=1e-4), "days_left": left}
