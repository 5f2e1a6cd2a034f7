# SPDX-License-Identifier: GPL-3.0-or-later
"""The EBS direct APIs of a whole lab under AWS's own names, seen through the AWS command line."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import speeds
from tests.benchmarks.aims import Aims
from tests.benchmarks.data import make
from tests.labs import Lab

from .calls import Calls
from .machine import Machine, running_instance
from .things import instance

pytestmark = pytest.mark.timeout(240)
BLOCK = 512 * 1024
# Blocks of the snapshot that is written here: the first, a neighbour of nothing, and the last of 1 GiB.
WRITTEN = (0, 700, 2047)


@pytest.fixture(scope="module")
def calls(lab: Lab) -> Iterator[Calls]:
    """For EC2; what this file is about is asked with the command line, which takes a second for each call."""
    with Calls(lab) as made:
        yield made


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Machine:
    return running_instance(lab)


@pytest.fixture(scope="module")
def zone(calls: Calls, machine: Machine) -> str:
    """The host's Availability Zone."""
    return str(instance(calls, machine.instance_id)["Placement"]["AvailabilityZone"])


@pytest.fixture(scope="module")
def volume(calls: Calls, machine: Machine, zone: str) -> str:
    """A volume of 1 GiB with an ext4 that holds a file, attached to a host."""
    made = calls("ec2", "create_volume", Size=1, AvailabilityZone=zone)["VolumeId"]
    attach(calls, machine, made, "/dev/sdf")
    machine.check("mkfs.ext4 -q /dev/xvdf && mount /dev/xvdf /mnt && head -c 3000000 /dev/urandom > /mnt/file; sync")
    return str(made)


@pytest.fixture(scope="module")
def snapshot(calls: Calls, volume: str) -> str:
    """A completed snapshot of it."""
    return completed(calls, calls("ec2", "create_snapshot", VolumeId=volume)["SnapshotId"])


def completed(calls: Calls, snapshot: str) -> str:
    """The snapshot once its blocks can be read."""
    ends = time.monotonic() + 30
    while calls("ec2", "describe_snapshots", SnapshotIds=[snapshot])["Snapshots"][0]["State"] != "completed":
        assert time.monotonic() < ends, f"{snapshot} is not completed"
        time.sleep(0.1)
    return snapshot


def attach(calls: Calls, machine: Machine, volume: str, device: str) -> None:
    ends = time.monotonic() + 30
    while calls("ec2", "describe_volumes", VolumeIds=[volume])["Volumes"][0]["State"] != "available":
        assert time.monotonic() < ends, f"{volume} is not available"
        time.sleep(0.1)
    calls("ec2", "attach_volume", VolumeId=volume, InstanceId=machine.instance_id, Device=device)


def node(level: int, below: dict[int, bytes]) -> bytes:
    """The digest of a node of the repository format, whose leaves cover 1,024 blocks each."""
    parts = (position.to_bytes(8, "big") + digest for position, digest in below.items())
    return hashlib.sha256(bytes([level]) + b"".join(parts)).digest()


def checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def blocks(lab: Lab, snapshot: str, *more: str) -> dict[int, str]:
    """The token of each block, from all pages of 100."""
    found: dict[int, str] = {}
    token: list[str] = []
    while True:
        words = ("--snapshot-id", snapshot, "--max-results", "100", *token, *more)
        page = lab.aws("ebs", "list-snapshot-blocks", *words)
        assert page["BlockSize"] == BLOCK
        found |= {each["BlockIndex"]: each["BlockToken"] for each in page["Blocks"]}
        if not page.get("NextToken"):
            return found
        token = ["--next-token", page["NextToken"]]


def get(lab: Lab, snapshot: str, index: int, token: str, target: Path) -> bytes:
    """A block, as the command line leaves it in a file; its SHA-256 is the one that was sent."""
    words = ("--snapshot-id", snapshot, "--block-index", str(index), "--block-token", token)
    answer = lab.aws("ebs", "get-snapshot-block", *words, str(target))
    data = target.read_bytes()
    assert (int(answer["DataLength"]), answer["ChecksumAlgorithm"]) == (BLOCK, "SHA256")
    assert answer["Checksum"] == checksum(data)
    return data


def put(lab: Lab, snapshot: str, index: int, source: Path, **parts: str) -> Any:
    words = {
        "snapshot-id": snapshot,
        "block-index": str(index),
        "block-data": str(source),
        "data-length": str(BLOCK),
        "checksum": checksum(source.read_bytes()),
        "checksum-algorithm": "SHA256",
        **parts,
    }
    return lab.run(
        "exec", "--", "aws", "ebs", "put-snapshot-block", *(f"--{name}={each}" for name, each in words.items())
    )


def test_the_blocks_of_a_snapshot_are_the_disks(lab: Lab, volume: str, snapshot: str, tmp_path: Path) -> None:
    listed = blocks(lab, snapshot)
    file = f"{lab.state}/run/store/snapshots/{snapshot}.img"
    script = "import sys; from mayfly_lab.blocks.files import written_blocks as w; f = open(sys.argv[1], 'rb')\n"
    assert json.loads(lab.exec(sys.executable, "-c", f"{script}print(list(w(f.fileno(), 1 << 30)))", file)) == list(
        listed
    )
    assert 8 < len(listed) < 300, "a file system of 1 GiB is mostly holes"
    for index in (0, list(listed)[len(listed) // 2]):
        got = get(lab, snapshot, index, listed[index], tmp_path / "block")
        script = "import sys; f = open(sys.argv[1], 'rb'); f.seek(int(sys.argv[2])); d = f.read(1 << 19)\n"
        script += "import hashlib; print(hashlib.sha256(d).hexdigest())"
        assert (
            lab.exec(sys.executable, "-c", script, file, str(index * BLOCK)).strip() == hashlib.sha256(got).hexdigest()
        )
        if index == 0:
            assert got[1024 + 56 : 1024 + 58] == b"\x53\xef", "block 0 has no superblock of an ext4"


def test_a_changed_block_is_listed_with_both_tokens(
    lab: Lab, calls: Calls, machine: Machine, volume: str, snapshot: str
) -> None:
    machine.check("printf changed | dd of=/mnt/file conv=notrunc status=none && sync -f /mnt")
    second = completed(calls, calls("ec2", "create_snapshot", VolumeId=volume)["SnapshotId"])
    words = ("--first-snapshot-id", snapshot, "--second-snapshot-id", second)
    found = lab.aws("ebs", "list-changed-blocks", *words)["ChangedBlocks"]
    assert 1 <= len(found) < 30, "only a piece of a file and what the file system notes of it have changed"
    assert any(each.keys() == {"BlockIndex", "FirstBlockToken", "SecondBlockToken"} for each in found)


def test_a_snapshot_is_written_and_becomes_a_disk(
    lab: Lab, calls: Calls, machine: Machine, zone: str, tmp_path: Path
) -> None:
    sources = {index: tmp_path / str(index) for index in WRITTEN}
    for path in sources.values():
        path.write_bytes(os.urandom(BLOCK))
    words = ("--volume-size", "1", "--description", "written", "--tags", "Key=made,Value=here")
    started = lab.aws("ebs", "start-snapshot", *words)
    snapshot = started["SnapshotId"]
    assert (started["Status"], started["Tags"]) == ("pending", [{"Key": "made", "Value": "here"}])
    done = put(lab, snapshot, 0, sources[0], checksum=checksum(b"other"))
    assert "ValidationException" in done.stderr
    for index, path in sources.items():
        done = put(lab, snapshot, index, path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["Checksum"] == checksum(path.read_bytes())
    data = {index: path.read_bytes() for index, path in sources.items()}
    sums = b"".join(hashlib.sha256(data[index]).digest() for index in WRITTEN)
    words = ("--checksum", checksum(sums), "--checksum-algorithm", "SHA256", "--checksum-aggregation-method", "LINEAR")
    complete = ["aws", "ebs", "complete-snapshot", "--snapshot-id", snapshot, "--changed-blocks-count"]
    assert "ValidationException" in lab.run("exec", "--", *complete, "2", *words).stderr
    assert json.loads(lab.exec(*complete, "3", *words, "--output", "json"))["Status"] == "pending"
    completed(calls, snapshot)
    listed = blocks(lab, snapshot)
    assert list(listed) == list(WRITTEN)
    assert get(lab, snapshot, 700, listed[700], tmp_path / "got") == data[700]

    volume = calls("ec2", "create_volume", SnapshotId=snapshot, AvailabilityZone=zone)["VolumeId"]
    leaves = [
        node(0, {index: hashlib.sha256(data[index]).digest() for index in below})
        for below in (WRITTEN[:2], WRITTEN[2:])
    ]
    expected = node(1, dict(enumerate(leaves))).hex()
    assert lab.digests(snapshot, volume) == dict.fromkeys((snapshot, volume), expected)
    attach(calls, machine, volume, "/dev/sdg")
    for index in WRITTEN:
        read = machine.check(f"dd if=/dev/xvdg bs={BLOCK} skip={index} count=1 status=none | sha256sum").split()[0]
        assert read == hashlib.sha256(data[index]).hexdigest()
    assert machine.check("blockdev --getsize64 /dev/xvdg").strip() == str(1 << 30)


def test_the_other_account_and_region_are_kept_out(lab: Lab, snapshot: str) -> None:
    words = ["aws", "ebs", "list-snapshot-blocks", "--snapshot-id", snapshot]
    denied = lab.run("exec", "--", *words, "--profile", "production")
    assert "AccessDeniedException" in denied.stderr
    away = lab.run("exec", "--", *words, "--region", "eu-central-1")
    assert "ResourceNotFoundException" in away.stderr


def test_a_host_asks_by_the_same_name(lab: Lab, machine: Machine) -> None:
    script = "import socket, ssl; c = ssl.create_default_context(cafile='/etc/ssl/certs/ca-certificates.crt'); "
    script += "n = 'ebs.us-east-1.amazonaws.com'; s = c.wrap_socket(socket.create_connection((n, 443), 5), "
    script += "server_hostname=n); s.sendall(b'GET /snapshots/snap-1/blocks HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); "
    script += "print(s.recv(64).split(b'\\r')[0].decode())"
    assert machine.check(f'python3 -c "{script}"').strip() == "HTTP/1.1 403 Forbidden"


def test_the_command_line_tries_again_where_the_service_fails(lab: Lab, snapshot: str) -> None:
    added = lab.run("fault", "add", "error", "--times", "1", "--call", "ListSnapshotBlocks", "--status", "500")
    assert added.returncode == 0, added.stderr
    try:
        assert blocks(lab, snapshot)
        assert "0 left" in lab.run("fault", "list").stdout
    finally:
        lab.run("fault", "clear")


def test_the_benchmarks_run(lab: Lab) -> None:
    """`make bench` with a hundredth of its data, once; no speed is asserted."""
    aims = Aims()
    source = make(lab, 1, 12)
    speeds.ebs_direct(lab, source, aims, repeats=1)
    speeds.agent_backup(lab, source, aims, repeats=1)
    names = [line.split(":")[0] for line in aims.lines]
    judged = ["ebs_direct", "ebs_direct service", "agent_backup"]
    assert names == [*judged[:2], "ebs_direct by boto3", judged[2], "agent_backup beside a download by boto3"]
    met = [line.split(":")[0] for line in aims.lines if line.endswith((": met", ": missed"))]
    assert met == judged
