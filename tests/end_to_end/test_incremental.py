# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that go on from the one before: what has changed is read, and every point restores by itself."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import pytest

from .conftest import Site, restored

pytestmark = pytest.mark.timeout(600)

# Into the file of a volume that no host has attached: 4 MiB of random bytes, which are 8 blocks.
FILL = "import os, sys; file = open(sys.argv[1], 'r+b'); [file.write(os.urandom(1 << 20)) for _ in range(4)]"
CHANGE = """
cd /srv/files/data; echo changed >small-1; rm small-2; mkdir -p new; head -c 2M /dev/urandom >new/random; sync
"""


@dataclass(frozen=True)
class Point:
    """A restore point of web-1 with its entry of the report, and the reference snapshots with their digests then."""

    id: str
    entry: dict[str, Any]
    references: dict[str, str]
    digests: dict[str, str]
    said: str


@dataclass(frozen=True)
class Line:
    """web-1's volumes by device, its restore points in turn, and the volume that was there for the second one only."""

    volumes: dict[str, str]
    first: Point
    second: Point
    third: Point
    added: str


def ec2(site: Site, *words: str) -> Any:
    """What EC2 answers to the account of web-1."""
    return site.lab.aws("ec2", *words, profile="production")


def point(site: Site, said: str = "") -> Point:
    """The newest one, of the newest backup."""
    references = site.references(site.web)
    found = site.lab.digests(*references.values())
    digests = {volume: found[snapshot] for volume, snapshot in references.items()}
    entry = site.lab.report("ec2_backup")["resources"][site.web] if said else {}
    return Point(site.points(site.web)[0], entry, references, digests, said)


def back_up(site: Site, *words: str) -> Point:
    """A backup of web-1."""
    done = site.lab.playbook("ec2_backup", "--limit", site.web, *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return point(site, done.stdout)


@pytest.fixture(scope="module")
def line(backed_up: Site) -> Line:
    """After the first backup files are changed, root loses its reference, one volume grows, and one is added; it is
    gone at the third, which is a full one.
    """
    site = backed_up
    instance = site.seed["sources"]["web-1"]["id"]
    described = ec2(site, "describe-volumes", "--filters", f"Name=attachment.instance-id,Values={instance}")["Volumes"]
    volumes = {each["Attachments"][0]["Device"]: each["VolumeId"] for each in described}
    root = next(each for device, each in volumes.items() if device not in ("/dev/sdf", "/dev/sdg"))
    volumes = {"root": root, "files": volumes["/dev/sdf"], "grown": volumes["/dev/sdg"]}
    first = point(site)

    changed = site.lab.run("exec", "--host", instance, "--", "sh", "-ec", CHANGE)
    assert changed.returncode == 0, changed.stderr
    ec2(site, "delete-snapshot", "--snapshot-id", first.references[root])
    ec2(site, "modify-volume", "--volume-id", volumes["grown"], "--size", "2")
    zone = described[0]["AvailabilityZone"]
    added = ec2(site, "create-volume", "--size", "1", "--availability-zone", zone)["VolumeId"]
    ec2(site, "wait", "volume-available", "--volume-ids", added)
    site.lab.exec(sys.executable, "-c", FILL, f"{site.lab.state}/run/store/volumes/{added}.img")
    ec2(site, "attach-volume", "--volume-id", added, "--instance-id", instance, "--device", "/dev/sdh")
    try:
        second = back_up(site)
    finally:
        ec2(site, "detach-volume", "--volume-id", added)
        ec2(site, "wait", "volume-available", "--volume-ids", added)
        ec2(site, "delete-volume", "--volume-id", added)
    return Line(volumes, first, second, back_up(site, "-e", "mayfly_full_backup=true"), added)


def test_of_a_volume_that_was_there_before_what_has_changed_is_read(line: Line) -> None:
    assert line.second.entry["parent"] == line.first.id
    files, whole = (each.entry["volumes"][line.volumes["files"]] for each in (line.second, line.third))
    assert (files["method"], files["reason"]) == ("changed", "")
    assert 4 <= files["blocks_stored"] <= files["blocks_read"] < whole["blocks_read"] / 4
    assert files["bytes_read"] == files["blocks_read"] << 19
    assert 4 << 19 <= files["bytes_stored"] < whole["bytes_stored"] / 4
    assert f"{line.volumes['files']}: changed blocks, {files['blocks_read']} blocks read" in line.second.said


def test_where_ebs_cannot_say_it_all_is_read_and_what_differs_is_stored(line: Line) -> None:
    told = {"root": "the parent's snapshot was not kept", "grown": "its size is 2 GiB and was 1 GiB"}
    for name, reason in told.items():
        volume = line.second.entry["volumes"][line.volumes[name]]
        assert (volume["method"], volume["reason"]) == ("compared", reason)
        assert volume["blocks_stored"] < volume["blocks_read"] / 2
        assert f"{line.volumes[name]}: compared with the restore point before ({reason})" in line.second.said


def test_a_volume_that_came_and_went(line: Line) -> None:
    volume = line.second.entry["volumes"][line.added]
    assert (volume["method"], volume["reason"], volume["blocks_stored"]) == ("full", "the parent does not have it", 8)
    assert set(line.second.references) == {*line.volumes.values(), line.added}
    assert set(line.third.entry["volumes"]) == set(line.volumes.values())


def test_a_full_backup_on_request(line: Line) -> None:
    assert line.third.entry["parent"] is None
    for volume in line.third.entry["volumes"].values():
        assert (volume["method"], volume["reason"]) == ("full", "")
        assert volume["blocks_read"] == volume["blocks_total"]
        assert volume["blocks_stored"] > volume["blocks_read"] / 2


def test_one_reference_of_each_volume_remains(backed_up: Site, line: Line) -> None:
    made = {snapshot for each in (line.first, line.second, line.third) for snapshot in each.references.values()}
    found = ec2(backed_up, "describe-snapshots", "--owner-ids", "self")["Snapshots"]
    assert {each["SnapshotId"] for each in found} & made == set(line.third.references.values())
    assert set(line.third.references) == set(line.volumes.values())
    assert backed_up.temporary() == []


@pytest.mark.parametrize("number", ["first", "second"])
def test_every_point_restores_what_its_snapshots_held(backed_up: Site, line: Line, settings: Any, number: str) -> None:
    wanted: Point = getattr(line, number)
    if wanted.entry:
        assert wanted.entry["digests"] == wanted.digests
    done = backed_up.lab.playbook("volume_restore", "--limit", backed_up.web, *settings(mayfly_restore_point=wanted.id))
    assert done.returncode == 0, done.stdout[-6000:]
    made = restored(backed_up, backed_up.web)
    found = backed_up.lab.digests(*made.values())
    assert {volume: found[new] for volume, new in made.items()} == wanted.digests
