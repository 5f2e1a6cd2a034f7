# SPDX-License-Identifier: GPL-3.0-or-later
"""What was lost is in no live inventory: the repository gives it back. Last, for it takes an instance away."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Site, restored

pytestmark = pytest.mark.timeout(600)


def test_a_terminated_instance_is_restored_by_id_and_by_time(backed_up: Site, settings: Any) -> None:
    point = backed_up.points(backed_up.db)[-1]
    source = backed_up.seed["sources"]["db-1"]["id"]
    backed_up.lab.aws("ec2", "terminate-instances", "--instance-ids", source, profile="production")
    moment = f"{point[:4]}-{point[4:6]}-{point[6:8]}T{point[9:11]}:{point[11:13]}:{point[13:15]}Z"
    for wanted in (point, moment):
        words = settings(mayfly_restore_point=wanted, mayfly_restore_tags={"restored": "yes"})
        done = backed_up.lab.playbook("volume_restore", "--limit", backed_up.db, *words)
        assert done.returncode == 0, done.stdout[-6000:]
        volumes = restored(backed_up, backed_up.db)
        found = backed_up.lab.aws("ec2", "describe-volumes", "--volume-ids", *volumes.values(), profile="production")[
            "Volumes"
        ]
        assert sorted(each["Size"] for each in found) == [1, 8, 100]
        assert all({"Key": "restored", "Value": "yes"} in each["Tags"] for each in found)
