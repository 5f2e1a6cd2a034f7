# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks into a lab's control plane and repository, from inside: one JSON request a line, one answer a line.

Run as ``lab exec -- python -m tests.faults.probe``. It uses the accounts' own credentials, not the product's roles,
and reads restore points with the transfer agent's reader.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import boto3
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
from botocore.config import Config
from mayfly_lab import accounts
from mayfly_lab.addresses import REGIONS

ROOT = Path(__file__).resolve().parents[2]
_AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()

from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.clients import SessionClients  # noqa: E402
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.repositories import (  # noqa: E402
    Opened,
    open_with,
    repository,
)
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Account  # noqa: E402
from mayfly_agent.blocks import VolumeDigest  # noqa: E402
from mayfly_agent.repository import layout  # noqa: E402
from mayfly_agent.repository.packs import PackReader  # noqa: E402
from mayfly_agent.repository.trees import TreeReader  # noqa: E402
from mayfly_agent.restore import ranges  # noqa: E402

_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
# kind → (call, list, id)
_LISTED = {
    "volume": ("describe_volumes", "Volumes", "VolumeId"),
    "network-interface": ("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    "security-group": ("describe_security_groups", "SecurityGroups", "GroupId"),
    "key-pair": ("describe_key_pairs", "KeyPairs", "KeyName"),
}
_REMOVED = {
    "instance": ("terminate_instances", "InstanceIds", True),
    "volume": ("delete_volume", "VolumeId", False),
    "snapshot": ("delete_snapshot", "SnapshotId", False),
    "network-interface": ("delete_network_interface", "NetworkInterfaceId", False),
    "security-group": ("delete_security_group", "GroupId", False),
    "key-pair": ("delete_key_pair", "KeyName", False),
}


class Probe:
    """Clients that are kept, and what is known of restore points."""

    def __init__(self) -> None:
        self._seed = json.loads(Path(os.environ["MAYFLY_LAB_SEED"]).read_text())
        sessions = {name: boto3.Session(profile_name=name) for name in accounts.ACCOUNTS}
        self._ec2 = {
            (name, region): session.client("ec2", region_name=region, config=_CONFIG)
            for name, session in sessions.items()
            for region in REGIONS
        }
        self._iam = {name: session.client("iam", region_name=REGIONS[0]) for name, session in sessions.items()}
        self._s3 = sessions["backup"].client("s3", region_name=REGIONS[0], config=_CONFIG)
        self._opened: Opened | None = None

    def state(self, everywhere: bool) -> dict[str, list[str]]:
        """What there is, as ``id`` with its place; ``everywhere``: all Regions and services, not only where work is."""
        found: dict[str, list[str]] = {}
        for (name, region), ec2 in self._ec2.items():
            if region != REGIONS[0] and not everywhere:
                continue
            place = f"({name}, {region})"
            living = [each["InstanceId"] for each in _instances(ec2) if each["State"]["Name"] != "terminated"]
            found.setdefault("instance", []).extend(f"{each} {place}" for each in living)
            found.setdefault("snapshot", []).extend(
                f"{each['SnapshotId']} {place}" for each in _snapshots(ec2) if not _is_reference(each)
            )
            for kind, (call, listed, identity) in _LISTED.items():
                if everywhere or kind in ("volume", "security-group"):
                    ids = [each[identity] for each in getattr(ec2, call)()[listed]]
                    found.setdefault(kind, []).extend(f"{each} {place}" for each in ids)
        if everywhere:
            for name, iam in self._iam.items():
                profiles = iam.list_instance_profiles()["InstanceProfiles"]
                found.setdefault("instance-profile", []).extend(
                    f"{each['InstanceProfileName']} ({name})" for each in profiles
                )
            uploads = self._s3.list_multipart_uploads(Bucket=self._seed["repository"]["bucket"]).get("Uploads") or ()
            found["multipart-upload"] = [f"{each['Key']} {each['UploadId']}" for each in uploads]
        return found

    def references(self) -> dict[str, list[str]]:
        """The snapshots that are kept, for each volume."""
        kept: dict[str, list[str]] = {}
        for ec2 in self._ec2.values():
            for each in _snapshots(ec2):
                if _is_reference(each):
                    kept.setdefault(each["VolumeId"], []).append(each["SnapshotId"])
        return kept

    def workers(self, run: str) -> list[dict[str, Any]]:
        """The instances of a run: {id, state, reason, volumes}, those that have ended as well."""
        made = []
        for (_name, region), ec2 in self._ec2.items():
            if region != REGIONS[0]:
                continue
            for each in _instances(ec2, [{"Name": "tag:mayfly:run", "Values": [run]}]):
                disks = [disk["Ebs"]["VolumeId"] for disk in each.get("BlockDeviceMappings") or ()]
                reason = (each.get("StateReason") or {}).get("Code", "")
                made.append(
                    {"id": each["InstanceId"], "state": each["State"]["Name"], "reason": reason, "volumes": disks}
                )
        return made

    def handed_over(self, run: str) -> list[str]:
        """The volumes of a run that are the user's now: nothing says any more that they are temporary."""
        found = []
        for (_name, region), ec2 in self._ec2.items():
            if region == REGIONS[0]:
                pages = ec2.get_paginator("describe_volumes").paginate(
                    Filters=[{"Name": "tag:mayfly:run", "Values": [run]}]
                )
                found += [each for page in pages for each in page["Volumes"]]
        return [
            each["VolumeId"] for each in found if "mayfly:temporary" not in {tag["Key"] for tag in each["Tags"]}
        ]  # fmt: skip

    def reboot(self, instance: str) -> bool:
        """Reboot an instance, in whichever account it is."""
        for (_name, region), ec2 in self._ec2.items():
            if region == REGIONS[0] and any(each["InstanceId"] == instance for each in _instances(ec2)):
                ec2.reboot_instances(InstanceIds=[instance])
                return True
        raise ValueError(f"there is no {instance}")

    def points(self) -> list[str]:
        """Ids of the restore points of the one source."""
        opened = self._repository()
        return [
            point
            for name in repository.list_resources(opened.store)
            for point in repository.list_points(opened.store, name)
        ]

    def verify(self, points: list[str]) -> dict[str, dict[str, str]]:
        """{point: {volume: digest}} over all blocks as they are read back; the reader raises for what is damaged."""
        opened, found = self._repository(), {}
        for name in repository.list_resources(opened.store):
            listed = repository.list_points(opened.store, name)
            key = opened.resource_key(name)
            for point in set(points) & set(listed):
                manifest = repository.read_manifest(opened.store, listed[point], key)
                found[point] = {
                    volume.volume_id: _digest(opened, name, key, manifest, volume) for volume in manifest.volumes
                }
        return found

    def remove(self, things: list[str]) -> list[str]:
        """Remove by force what a case has left, given as ``kind id (account, Region)``; what could not be removed."""
        failed = []
        order = list(_REMOVED)
        known = [each for each in things if each.split()[0] in _REMOVED]
        for each in sorted(known, key=lambda thing: order.index(thing.split()[0])):
            kind, identity, name, region = each.replace("(", "").replace(",", "").replace(")", "").split()[:4]
            call, parameter, many = _REMOVED[kind]
            try:
                getattr(self._ec2[name, region], call)(**{parameter: [identity] if many else identity})
            except Exception as error:
                failed.append(f"{each}: {error}")
        bucket = self._seed["repository"]["bucket"]
        for upload in self._s3.list_multipart_uploads(Bucket=bucket).get("Uploads") or ():
            self._s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        return failed

    def shrink(self, instance: str) -> bool:
        """Stop the source and empty its root volume, so that a backup reads its data volume and little else."""
        ec2 = self._ec2["production", REGIONS[0]]
        ec2.stop_instances(InstanceIds=[instance])
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        described = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        root = next(
            disk["Ebs"]["VolumeId"]
            for disk in described["BlockDeviceMappings"]
            if disk["DeviceName"] == described["RootDeviceName"]
        )
        path = Path(os.environ["MAYFLY_LAB_STATE"]) / "run/store/volumes" / root
        path = path if path.exists() else next(path.parent.glob(f"{root}*"))
        size = path.stat().st_size
        with path.open("r+b") as volume:
            kept = os.pread(volume.fileno(), 4 << 20, 0)
            volume.truncate(0)
            volume.truncate(size)
            os.pwrite(volume.fileno(), kept, 0)
        return True

    def _repository(self) -> Opened:
        if self._opened is None:
            setting = self._seed["repository"]
            clients = SessionClients("campaign")
            clients.use([Account.named("backup", id=setting["account"])])
            self._opened = open_with(clients, setting)
        return self._opened


def _digest(opened: Opened, name: Any, key: bytes, manifest: Any, volume: Any) -> str:
    """As a restore reads it, block by block; each is verified by its own digest."""
    place, digest, blocks = manifest.place(volume), VolumeDigest(volume.tree().size), 0
    for part in ranges(TreeReader(place, key, volume.tree(), opened.store).entries()):
        pack = part.entries[0].location.pack
        body = opened.store.get_range(layout.pack_key(name, pack), part.start, part.length)
        reader = PackReader(name, key, pack)
        for entry in part.entries:
            at = entry.location
            frame = body[at.offset - part.start : at.offset - part.start + at.length]
            reader.block(at, frame, place.volume_id, entry.index, entry.digest)
            digest.add(entry.index, entry.digest)
            blocks += 1
    if blocks != volume.blocks or digest.hexdigest() != volume.digest:
        raise ValueError(f"{volume.volume_id} of {manifest.id} is not what its manifest says")
    return digest.hexdigest()


def _instances(ec2: Any, filters: Iterable[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    pages = ec2.get_paginator("describe_instances").paginate(Filters=list(filters))
    return [each for page in pages for group in page["Reservations"] for each in group["Instances"]]


def _snapshots(ec2: Any) -> list[dict[str, Any]]:
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
    return [each for page in pages for each in page["Snapshots"]]


def _is_reference(snapshot: dict[str, Any]) -> bool:
    """Whether it is kept for the next backup: what is tagged as temporary as well is not yet."""
    keys = {each["Key"] for each in snapshot.get("Tags") or ()}
    return "mayfly:reference" in keys and "mayfly:temporary" not in keys


def main() -> int:
    """Answer until the input ends."""
    probe = Probe()
    calls: dict[str, Callable[..., Any]] = {
        name: getattr(probe, name)
        for name in (
            "state", "references", "workers", "handed_over", "reboot", "points", "verify", "remove", "shrink"
        )
    }  # fmt: skip
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": calls[request.pop("call")](**request)}
        except Exception:
            answer = {"error": traceback.format_exc(limit=6)}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
