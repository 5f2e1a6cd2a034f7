# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker that is not to be had, or that is lost, is followed by another: what becomes of each is in the report."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .conftest import Site, faulty
from .slow import Backup

pytestmark = pytest.mark.timeout(600)


def attempts(entry: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(type, market, code) of each worker that was not had, or was lost."""
    return [(each["instance_type"], each["market"], each["code"]) for each in entry["attempts"]]


def test_spot_takes_the_third_candidate_back_and_the_backup_goes_on_on_demand(backed_up: Site, settings: Any) -> None:
    points = backed_up.points(backed_up.web)
    words = ["--limit", backed_up.web, *settings(mayfly_worker_market="spot")]
    full = ("capacity", "--market", "spot", "--type")
    with (
        faulty(backed_up, *full, "c6a.large"),
        faulty(backed_up, *full, "c6i.large"),
        Backup(backed_up, *words, rate=20) as backup,
    ):
        first = backup.worker(backed_up.web)
        # So long a notice that nothing but the notice itself can have been noticed.
        assert backed_up.lab.run("spot", "interrupt", first, "--notice", "600").returncode == 0
        limit = time.monotonic() + 120
        while backup.worker(backed_up.web) == first:
            assert time.monotonic() < limit, f"{first} is not followed by another worker"
            time.sleep(0.2)
        backup.full_speed()
        code, said = backup.ended()
    assert code == 0, said[-6000:]
    entry = backed_up.lab.report("ec2_backup")["resources"][backed_up.web]
    assert (entry["status"], entry["errors"]) == ("Succeeded", [])
    assert attempts(entry) == [
        ("c6a.large", "spot", "InsufficientInstanceCapacity"),
        ("c6i.large", "spot", "InsufficientInstanceCapacity"),
        ("c5.large", "spot", "WorkerLost"),
    ]
    lost = entry["attempts"][-1]
    assert lost["instance_id"] == first
    assert f"Spot takes {first} back (marked-for-termination" in lost["reason"]
    assert sum(each["blocks_done"] for each in lost["volumes"].values()) > 0
    assert (entry["worker"]["type"], entry["worker"]["market"]) == ("c6a.large", "on-demand")
    assert [each["name"] for each in entry["stages"]].count("Launching") == 2
    references = backed_up.references(backed_up.web)
    digests = backed_up.lab.digests(*references.values())
    assert {volume: digests[snapshot] for volume, snapshot in references.items()} == entry["digests"]
    assert backed_up.points(backed_up.web) == [entry["restore_point"], *points]
    assert backed_up.temporary() == []
