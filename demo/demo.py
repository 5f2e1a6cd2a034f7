# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up both of the lab's instances, restore one of them, and compare. Run inside the lab, by ``make demo``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

import mayfly
from mayfly.cli import default_inventory, printer, summary

_TIMES = Config(connect_timeout=5, read_timeout=60)
_RESTORED = "web-1"


def main() -> int:
    """0 when every restored volume is identical to its snapshot and nothing temporary is left."""
    seed = json.loads(Path(os.environ["MAYFLY_LAB_SEED"]).read_text())
    ec2 = {
        name: boto3.Session(profile_name=name).client("ec2", region_name=seed["repository"]["region"], config=_TIMES)
        for name in ("backup", "production")
    }
    _operation("repository_create")
    backup = _operation("ec2_backup")
    host = next(name for name in backup.resources if name.startswith(f"{_RESTORED}_"))
    restore = _operation("volume_restore", limit=host)

    point, restored = backup.resources[host], restore.resources[host]
    assert point.restore_point
    sources = _snapshots(ec2["production"], point.restore_point)
    print(f"\nRestored volumes of {host}, compared with the snapshots that the restore point was made from:")
    good = _compare(ec2["production"], point, restored, sources)
    good = _compare_files(ec2["production"], restored, sources) and good
    left = [thing for client in ec2.values() for thing in _temporary(client)]
    print(f"Left of workers, snapshots, volumes and groups that were temporary: {', '.join(left) or 'nothing'}")
    return 0 if good and not left else 1


def _operation(name: str, limit: str | None = None) -> mayfly.RunResult:
    print(f"\n=== {name}", flush=True)
    tell = printer(lambda line: print(line, flush=True))
    result = mayfly.run(name, inventory=default_inventory(name), limit=limit, on_event=tell, timeout=900)
    print(summary(result), flush=True)
    if not result.succeeded:
        sys.exit(1)
    return result


def _snapshots(ec2: Any, restore_point: str) -> dict[str, str]:
    """The snapshot of each volume that a restore point was made from."""
    filters = [{"Name": "tag:mayfly:reference", "Values": [restore_point]}]
    found = ec2.describe_snapshots(Filters=filters)["Snapshots"]
    return {snapshot["VolumeId"]: snapshot["SnapshotId"] for snapshot in found}


def _compare(ec2: Any, point: mayfly.ResourceResult, restored: mayfly.ResourceResult, sources: dict[str, str]) -> bool:
    sizes = _sizes(ec2, list(restored.restored_volumes.values()))
    print(f"{'volume':22} {'GiB':>4} {'blocks':>7} {'stored MiB':>10} {'back up s':>9} {'restore s':>9}  result")
    good = True
    for volume, new in restored.restored_volumes.items():
        same = _digest(new) == _digest(sources[volume])
        good = good and same
        read, written = point.volumes[volume], restored.volumes[volume]
        print(
            f"{volume:22} {sizes[new]:4} {read['blocks_done']:7} {read['bytes_stored'] / 2**20:10.1f} "
            f"{read['seconds']:9.1f} {written['seconds']:9.1f}  {'identical' if same else 'DIFFERENT'}"
        )
    return good


def _compare_files(ec2: Any, restored: mayfly.ResourceResult, sources: dict[str, str]) -> bool:
    """Mount a restored data volume, and compare its tree with the one of its snapshot."""
    sizes = _sizes(ec2, list(restored.restored_volumes.values()))
    volume, new = next(pair for pair in restored.restored_volumes.items() if sizes[pair[1]] == 2)
    was, now = _files(sources[volume]), _files(new)
    same = was == now and len(now) > 0
    print(f"Files on {new} (restored from {volume}): {len(now)}, {'all the same' if same else 'DIFFERENT'}")
    return same


def _sizes(ec2: Any, volumes: list[str]) -> dict[str, int]:
    found = ec2.describe_volumes(VolumeIds=volumes)["Volumes"]
    return {volume["VolumeId"]: volume["Size"] for volume in found}


def _digest(identity: str) -> str:
    return _look("digest", identity).split()[1]


def _files(identity: str) -> list[str]:
    return _look("files", identity).splitlines()


def _look(what: str, identity: str) -> str:
    command = [sys.executable, "-m", "mayfly_lab.contents", what, identity]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout


def _temporary(ec2: Any) -> list[str]:
    """Ids of what is tagged as temporary and still there; instances that are on their way out get a moment."""
    filters = [{"Name": "tag-key", "Values": ["mayfly:temporary"]}]
    alive = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped", "shutting-down"]}]
    ends = time.monotonic() + 60
    while True:
        answer = ec2.describe_instances(Filters=filters + alive)["Reservations"]
        instances = [instance["InstanceId"] for group in answer for instance in group["Instances"]]
        if not instances or time.monotonic() > ends:
            break
        time.sleep(1)
    left = [each["SnapshotId"] for each in ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]]
    left += [each["VolumeId"] for each in ec2.describe_volumes(Filters=filters)["Volumes"]]
    left += [each["GroupId"] for each in ec2.describe_security_groups(Filters=filters)["SecurityGroups"]]
    return instances + left


if __name__ == "__main__":
    sys.exit(main())
