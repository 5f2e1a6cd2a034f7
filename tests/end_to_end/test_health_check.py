# SPDX-License-Identifier: GPL-3.0-or-later
"""A block of the repository is damaged: it is found, marked, told, and copied anew by the next backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import Site

pytestmark = pytest.mark.timeout(600)


def damage(site: Site, repository: dict[str, Any], folder: Path) -> str:
    """Turn a byte of the largest pack over; its key below the repository's prefix."""
    bucket, prefix = repository["bucket"], f"{repository['prefix']}/"
    listed = site.lab.aws("s3api", "list-objects-v2", "--bucket", bucket, "--prefix", prefix)["Contents"]
    largest = max((each for each in listed if "/packs/" in each["Key"]), key=lambda each: each["Size"])
    path, place = folder / "pack", ("--bucket", bucket, "--key", largest["Key"])
    site.lab.aws("s3api", "get-object", *place, str(path))
    body = bytearray(path.read_bytes())
    body[1000] ^= 1
    path.write_bytes(body)
    site.lab.aws("s3api", "put-object", *place, "--body", str(path))
    return str(largest["Key"]).removeprefix(prefix)


def test_a_damaged_block_is_found_marked_and_copied_anew(site: Site, settings: Any, tmp_path: Path) -> None:
    repository = {**site.seed["repository"], "prefix": "checked"}
    words = settings(mayfly_repository=repository, mayfly_health_check_mode="full", mayfly_retention_count=1)

    def play(name: str, *more: str) -> tuple[int, str, dict[str, Any]]:
        done = site.lab.playbook(name, *words, *more)
        report = site.lab.report(name)
        (entry,) = report["resources"].values()
        return done.returncode, done.stdout, entry

    assert play("repository_create")[0] == 0
    code, output, backup = play("ec2_backup", "--limit", site.db)
    assert code == 0, output[-6000:]
    first = backup["restore_point"]
    pack = damage(site, repository, tmp_path)

    code, output, entry = play("health_check", "--check")
    assert (code, site.workers()) == (0, []), output[-6000:]
    assert "1 restore points of 1 resources would be checked (full)" in output
    assert "c6a.large" in output

    code, output, entry = play("health_check")
    assert code == 2, output[-6000:]
    assert entry["status"] == "Failed"
    (told,) = entry["health_check"]["damage"]
    (block,) = told["blocks"]
    assert (told["resource"], told["restore_point"], told["objects"]) == (pack.split("/packs/")[0], first, [pack])
    assert block["volume_id"] in backup["volumes"]
    assert (block["offset"], block["length"]) == (block["first"] << 19, 1 << 19)
    assert f"{block['volume_id']}, 524288 bytes from offset {block['offset']}" in output
    marks = ("--bucket", repository["bucket"], "--prefix", f"checked/{told['resource']}/marks/damaged/{first}.")
    assert site.lab.aws("s3api", "list-objects-v2", *marks)["KeyCount"] == 1

    code, output, backup = play("ec2_backup", "--limit", site.db)
    assert code == 0, output[-6000:]
    mended = backup["volumes"][block["volume_id"]]
    assert (mended["method"], mended["reason"]) == ("compared", "a health check has found blocks of the parent damaged")
    assert 1 <= mended["blocks_stored"] < mended["blocks_read"]

    # The first point is damaged as before, and nothing else is.
    code, output, entry = play("health_check")
    assert code == 0, output[-6000:]
    found = entry["health_check"]
    assert [each["restore_point"] for each in found["damage"]] == [first]
    assert (found["points"], found["damaged_points"], found["new_damaged_points"], found["marks"]) == (2, 1, 0, 0)
    assert site.temporary() == []

    code, output, _ = play("retention")
    assert code == 0, output[-6000:]
    code, output, entry = play("health_check")
    assert (code, entry["status"]) == (0, "Succeeded"), output[-6000:]
    assert (entry["health_check"]["points"], entry["health_check"]["damaged_points"]) == (1, 0)
