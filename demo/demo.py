# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up both of the lab's instances, change one and back it up again, restore both points of it, and compare.

Run inside the lab, by ``make demo``.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

import mayfly
from mayfly.cli import default_inventory, printer, summary

_TIMES = Config(connect_timeout=5, read_timeout=60)
_RESTORED = "web-1"
# On its data volume of 2 GiB, with some 300 MiB of files
_CHANGE = """
cd /srv/files/data; echo changed >small-1; rm small-2; mkdir new; head -c 2M /dev/urandom >new/random; sync
"""
_CHANGED_GIB = 2


@dataclass(frozen=True)
class Truth:
    """What a restore point was made from, looked at in its snapshots: the digest of each volume, and the files of the
    one that is changed.
    """

    point: str
    digests: dict[str, str]
    files: list[str]


def main() -> int:
    """0 when every restored volume is identical to its snapshot and nothing temporary is left."""
    seed = json.loads(Path(os.environ["MAYFLY_LAB_SEED"]).read_text())
    ec2 = {
        name: boto3.Session(profile_name=name).client("ec2", region_name=seed["repository"]["region"], config=_TIMES)
        for name in ("backup", "production")
    }
    _operation("repository_create")
    first = _operation("ec2_backup")
    host = next(name for name in first.resources if name.startswith(f"{_RESTORED}_"))
    truths = [_truth(ec2["production"], first.resources[host])]  # before the next backup replaces these snapshots

    print(f"\n=== files of {host} are changed: {_CHANGE.strip()}", flush=True)
    _change(seed)
    second = _operation("ec2_backup", limit=host)
    truths.append(_truth(ec2["production"], second.resources[host]))
    good = _compare_backups(first.resources[host], second.resources[host])

    for truth in truths:
        restore = _operation("volume_restore", limit=host, extra_vars={"mayfly_restore_point": truth.point})
        good = _compare(ec2["production"], restore.resources[host], truth) and good
    good = truths[0].files != truths[1].files and good
    left = [thing for client in ec2.values() for thing in _temporary(client)]
    print(f"\nLeft of workers, snapshots, volumes and groups that were temporary: {', '.join(left) or 'nothing'}")
    return 0 if good and not left else 1


def _operation(name: str, limit: str | None = None, extra_vars: dict[str, Any] | None = None) -> mayfly.RunResult:
    print(f"\n=== {name}", flush=True)
    tell = printer(lambda line: print(line, flush=True))
    result = mayfly.run(
        name, inventory=default_inventory(name), limit=limit, extra_vars=extra_vars, on_event=tell, timeout=900
    )
    print(summary(result), flush=True)
    if not result.succeeded:
        sys.exit(1)
    return result


def _change(seed: dict[str, Any]) -> None:
    """Change files on the instance, as its own user would."""
    options = (
        "StrictHostKeyChecking=accept-new",
        "UserKnownHostsFile=/dev/null",
        "ConnectTimeout=10",
        "LogLevel=ERROR",
    )
    words = ["ssh", *(word for each in options for word in ("-o", each)), "-i", seed["source_key"]]
    where = f"{seed['source_user']}@{seed['sources'][_RESTORED]['address']}"
    subprocess.run([*words, where, f"sudo sh -ec {shlex.quote(_CHANGE)}"], check=True, timeout=60)


def _truth(ec2: Any, backup: mayfly.ResourceResult) -> Truth:
    assert backup.restore_point
    # Points of one run bear the same id when their snapshots began in the same second.
    tags = {"mayfly:reference": backup.restore_point, "mayfly:resource": backup.resource["id"]}
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    found = ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
    changed = next(each["SnapshotId"] for each in found if each["VolumeSize"] == _CHANGED_GIB)
    digests = {each["VolumeId"]: _digest(each["SnapshotId"]) for each in found}
    return Truth(backup.restore_point, digests, _files(changed))


def _compare_backups(first: mayfly.ResourceResult, second: mayfly.ResourceResult) -> bool:
    """Whether the second one has read less of every volume."""
    print("\nWhat the second backup has read, where the first one had read everything:")
    print(f"{'volume':22} {'how':>8} {'blocks read':>11} {'of':>6} {'stored':>6} {'MiB':>6}")
    for volume, read in second.volumes.items():
        print(
            f"{volume:22} {read['method']:>8} {read['blocks_read']:11} {first.volumes[volume]['blocks_read']:6} "
            f"{read['blocks_stored']:6} {read['bytes_stored'] / 2**20:6.1f}"
        )
    return all(
        read["method"] == "changed" and read["blocks_read"] < first.volumes[volume]["blocks_read"]
        for volume, read in second.volumes.items()
    )


def _compare(ec2: Any, restored: mayfly.ResourceResult, truth: Truth) -> bool:
    """Whether all restored volumes are what their snapshots were, and the files on the changed one."""
    sizes = _sizes(ec2, list(restored.restored_volumes.values()))
    print(f"\nVolumes restored from {truth.point}, compared with the snapshots that it was made from:")
    print(f"{'volume':22} {'GiB':>4} {'blocks':>7} {'restore s':>9}  result")
    good = set(restored.restored_volumes) == set(truth.digests)
    for volume, new in restored.restored_volumes.items():
        same = _digest(new) == truth.digests[volume]
        good = good and same
        written = restored.volumes[volume]
        verdict = "identical" if same else "DIFFERENT"
        print(f"{volume:22} {sizes[new]:4} {written['blocks_done']:7} {written['seconds']:9.1f}  {verdict}")
    new = next(each for each, size in sizes.items() if size == _CHANGED_GIB)
    now = _files(new)
    same = now == truth.files and len(now) > 0
    print(f"Files on {new}: {len(now)}, {'all the same' if same else 'DIFFERENT'}")
    return good and same


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
