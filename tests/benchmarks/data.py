# SPDX-License-Identifier: GPL-3.0-or-later
"""Real data to measure with: files of this machine, in an archive that lies on a volume of the lab.

As a program, run inside the lab: ``python -m tests.benchmarks.data FILE MIB`` writes that much of it into a file.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.labs import ROOT, Lab

_ZONE = "us-east-1a"
# Programs, libraries, texts: what systems are made of. The second one helps where little is installed.
_FOLDERS = ("/usr", str(ROOT / ".venv"))
_PIECE = 1 << 20


@dataclass(frozen=True)
class Source:
    """A snapshot: of which volume, how large, how many MiB of it hold data, and the digest by the lab's own files."""

    snapshot_id: str
    volume_id: str
    size_gib: int
    filled_mib: int
    digest: str


def make(lab: Lab, size_gib: int, filled_mib: int) -> Source:
    """A completed snapshot of a new volume that holds ``filled_mib`` of files."""
    volume = lab.aws("ec2", "create-volume", "--size", str(size_gib), "--availability-zone", _ZONE)["VolumeId"]
    file = f"{lab.state}/run/store/volumes/{volume}.img"
    lab.exec(sys.executable, "-m", "tests.benchmarks.data", file, str(filled_mib), wait=300)
    snapshot = lab.aws("ec2", "create-snapshot", "--volume-id", volume)["SnapshotId"]
    ends = time.monotonic() + 60
    while lab.aws("ec2", "describe-snapshots", "--snapshot-ids", snapshot)["Snapshots"][0]["State"] != "completed":
        assert time.monotonic() < ends, f"{snapshot} is not completed"
    return Source(snapshot, volume, size_gib, filled_mib, lab.digests(snapshot)[snapshot])


def fill(target: Path, mib: int) -> None:
    """Write an archive's first ``mib`` MiB into a file that exists; raises SystemExit where the machine has less."""
    names = [folder for folder in _FOLDERS if Path(folder).is_dir()]
    command = ["tar", "--create", "--sort=name", "--file=-", "--directory=/", *(name.lstrip("/") for name in names)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tar, target.open("r+b") as stream:
        assert tar.stdout is not None
        for number in range(mib):
            piece = tar.stdout.read(_PIECE)
            if len(piece) < _PIECE:
                tar.kill()
                sys.exit(f"{' and '.join(names)} hold {number} MiB, and {mib} are needed")
            stream.write(piece)
        tar.kill()


if __name__ == "__main__":
    fill(Path(sys.argv[1]), int(sys.argv[2]))
