# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository of its own: a point is archived, damaged, found, copied anew, taken by retention, and brought back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .conftest import Site, faulty, restored

pytestmark = pytest.mark.timeout(900)
PREFIX = "checked"


@dataclass
class Played:
    """The playbooks that were run in turn: code, output and the report's entry of each; ``first`` is a backup's."""

    site: Site
    words: list[str]
    first: dict[str, Any] = field(default_factory=dict)

    def play(self, name: str, *more: str, code: int = 0, inventory: str = "") -> tuple[str, dict[str, Any]]:
        done = self.site.lab.playbook(name, *self.words, *more, inventory=inventory)
        assert done.returncode == code, done.stdout[-6000:] + done.stderr[-2000:]
        (entry,) = self.site.lab.report(name)["resources"].values()
        return done.stdout, entry

    @property
    def bucket(self) -> str:
        return str(self.site.seed["repository"]["bucket"])

    def objects(self, below: str) -> dict[str, dict[str, Any]]:
        """The bucket's objects whose keys hold this, by their keys below the repository's prefix."""
        words = ("list-objects-v2", "--bucket", self.bucket, "--prefix", f"{PREFIX}/")
        listed = self.site.lab.aws("s3api", *words).get("Contents") or ()
        return {each["Key"].removeprefix(f"{PREFIX}/"): each for each in listed if below in each["Key"]}


@pytest.fixture(scope="module")
def played(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """A repository with one restore point of db-1."""
    settings = tmp_path_factory.mktemp("settings") / "settings.json"
    settings.write_text(f'{{"mayfly_retention_count": 1, "mayfly_repository": {_repository(site)}}}')
    made = Played(site, ["-e", f"@{settings}"])
    made.play("repository_create")
    made.first = made.play("ec2_backup", "--limit", site.db)[1]
    return made


def _repository(site: Site) -> str:
    return json.dumps({**site.seed["repository"], "prefix": PREFIX})


def damage(played: Played, folder: Path) -> str:
    """Turn a byte of the repository's largest pack over; its key."""
    found = {key: each for key, each in played.objects("/packs/").items() if "/archives/" not in key}
    key = max(found, key=lambda each: found[each]["Size"])
    path, place = folder / "pack", ("--bucket", played.bucket, "--key", f"{PREFIX}/{key}")
    played.site.lab.aws("s3api", "get-object", *place, str(path))
    body = bytearray(path.read_bytes())
    body[1000] ^= 1
    path.write_bytes(body)
    played.site.lab.aws("s3api", "put-object", *place, "--body", str(path))
    return key


def test_a_point_is_archived_in_a_set_of_its_own(played: Played) -> None:
    before = played.objects("")
    output, _ = played.play("archive", "--check")
    assert "1 restore points are copied to GLACIER" in output
    assert "us-east-1; https://aws.amazon.com/s3/pricing/" in output
    assert "c5.2xlarge" in output
    assert played.objects("") == before

    _, entry = played.play("archive")
    (told,) = entry["archive"]["points"]
    assert told["from"] == played.first["restore_point"]
    sets = played.objects(f"/archives/{told['made']}/")
    assert {each["StorageClass"] for key, each in sets.items() if "/packs/" in key} == {"GLACIER"}
    assert {each["StorageClass"] for key, each in sets.items() if "/packs/" not in key} == {"STANDARD"}
    assert {key: each for key, each in played.objects("").items() if "/archives/" not in key} == before
    output, entry = played.play("archive")
    assert "1 of the chosen restore points are archived already" in output
    assert (entry.get("worker"), played.objects("/archives/")) == (None, sets)

    name = {"mayfly_archive_sets_absent": [told["made"]], "mayfly_archive_remove_unfinished": True}
    output, _ = played.play("archive_sets")
    assert f"{told['made']}, " in output
    assert "90 more days are paid for in any case" in output
    output, entry = played.play("archive_sets", "-e", json.dumps(name), code=2)
    assert [each["code"] for each in entry["errors"]] == ["SetInUse"]
    assert "may still write to it until" in output
    assert played.objects("/archives/") == sets


def test_a_damaged_block_is_found_marked_and_copied_anew(played: Played, tmp_path: Path) -> None:
    first, full = played.first["restore_point"], ("-e", "mayfly_health_check_mode=full")
    pack = damage(played, tmp_path)
    output, _ = played.play("health_check", "--check", *full)
    assert "1 restore points of 1 resources would be checked (full)" in output
    assert "c6a.large" in output

    output, entry = played.play("health_check", *full, code=2)
    assert entry["status"] == "Failed"
    (told,) = entry["health_check"]["damage"]
    (block,) = told["blocks"]
    assert (told["resource"], told["restore_point"], told["objects"]) == (pack.split("/packs/")[0], first, [pack])
    assert block["volume_id"] in played.first["volumes"]
    assert (block["offset"], block["length"]) == (block["first"] << 19, 1 << 19)
    assert f"{block['volume_id']}, 524288 bytes from offset {block['offset']}" in output
    assert len(played.objects(f"/marks/damaged/{first}.")) == 1

    _, second = played.play("ec2_backup", "--limit", played.site.db)
    mended = second["volumes"][block["volume_id"]]
    assert (mended["method"], mended["reason"]) == ("compared", "a health check has found blocks of the parent damaged")
    assert 1 <= mended["blocks_stored"] < mended["blocks_read"]

    played.play("retention")
    _, entry = played.play("health_check", *full)
    assert (entry["status"], entry["health_check"]["points"]) == ("Succeeded", 1)
    assert (entry["health_check"]["damaged_points"], entry["health_check"]["damage"]) == (0, [])


def test_what_retention_has_taken_comes_back_from_its_set(played: Played) -> None:
    first, back = played.first["restore_point"], ("-e", "mayfly_archive_action=return")
    sets = played.objects("/archives/")
    assert not played.objects(f"/points/{first}").keys() - sets.keys()
    with faulty(played.site, "retrieval-time", "--seconds", "20"):
        output, entry = played.play("archive", *back, "-e", "mayfly_archive_tier=bulk")
    assert "S3 retrieves them typically within 12 hours (bulk)" in output
    assert (entry["status"], [each["code"] for each in entry["errors"]]) == ("Warning", ["NotRetrieved"])

    _, entry = played.play("archive", *back, "-e", "mayfly_archive_wait=60")
    (told,) = entry["archive"]["points"]
    assert (told["made"].split("-")[0], told["error"]) == (first.split("-")[0], None)
    assert played.objects("/archives/").keys() == sets.keys()
    assert len(played.objects(f"/marks/keep/{told['made']}")) == 1

    # The instance is still there; the inventory of restore points lists another repository.
    chosen = ("--limit", played.site.db, "-e", f"mayfly_restore_point={told['made']}")
    played.play("volume_restore", *chosen, inventory="inventories/lab/ec2.aws_ec2.yml")
    made = restored(played.site, played.site.db)
    found = played.site.lab.digests(*made.values())
    assert {volume: found[new] for volume, new in made.items()} == played.first["digests"]
    assert played.site.temporary() == []
