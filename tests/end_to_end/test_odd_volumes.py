# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance with an encrypted volume, one full of zeros and one that was never written to; and another account."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from .conftest import Site, faulty, restored

pytestmark = pytest.mark.timeout(600)

BACKUP_ACCOUNT = "111122223333"
# Seconds that the sessions of the backup's worker last: some of them end within its transfer.
SESSION = 24
DEVICES = {"encrypted": "/dev/xvdf", "zeros": "/dev/xvdg", "nothing": "/dev/xvdh"}
# Into the file of a volume that no host has attached: 8 MiB of random bytes, or 128 MiB of zeros.
FILL = "import os, sys; file = open(sys.argv[1], 'r+b'); [file.write(os.urandom(1 << 20)) for _ in range(8)]"
ZERO = "import sys; file = open(sys.argv[1], 'r+b'); [file.write(bytes(1 << 20)) for _ in range(128)]"


@dataclass(frozen=True)
class Odd:
    """The instance's host name, its volumes by what they hold, and the KMS key of the encrypted one."""

    host: str
    volumes: dict[str, str]
    key: str


@pytest.fixture(scope="module")
def odd(backed_up: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    """A stopped instance of the production account with a restore point of its own."""
    lab = backed_up.lab

    def ec2(*words: str) -> Any:
        return lab.aws("ec2", *words, profile="production")

    key = lab.aws("kms", "create-key", profile="production")["KeyMetadata"]["Arn"]
    source = backed_up.seed["sources"]["web-1"]["id"]
    like = ec2("describe-instances", "--instance-ids", source)["Reservations"][0]["Instances"][0]
    mappings = [
        {"DeviceName": device, "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}} for device in DEVICES.values()
    ]
    mappings[0]["Ebs"] |= {"Encrypted": True, "KmsKeyId": key}  # type: ignore[operator]
    words = ("--image-id", like["ImageId"], "--instance-type", "t3.micro", "--subnet-id", like["SubnetId"])
    made = ec2("run-instances", *words, "--block-device-mappings", json.dumps(mappings))["Instances"][0]["InstanceId"]
    try:
        for step in (("wait", "instance-running"), ("stop-instances", "--force"), ("wait", "instance-stopped")):
            ec2(*step, "--instance-ids", made)
        found = ec2("describe-volumes", "--filters", f"Name=attachment.instance-id,Values={made}")["Volumes"]
        by_device = {each["Attachments"][0]["Device"]: each["VolumeId"] for each in found}
        volumes = {name: by_device[device] for name, device in DEVICES.items()}
        for name, program in (("encrypted", FILL), ("zeros", ZERO)):
            lab.exec(sys.executable, "-c", program, f"{lab.state}/run/store/volumes/{volumes[name]}.img")
        account = backed_up.seed["accounts"]["production"]["id"]
        resource = {"account": account, "region": "us-east-1", "kind": "ec2", "id": made, "name": "odd"}
        host = f"odd_{made}"
        path = tmp_path_factory.mktemp("odd") / "hosts.yml"
        # What belongs to the production machine must not reach the worker.
        own = {"ansible_user": "nobody", "ansible_sudo_user": "nobody", "ansible_become_pass": "not the worker's"}
        path.write_text(json.dumps({"ec2": {"hosts": {host: {"mayfly_resource": resource, **own}}}}))
        slow = ("throttle", "--service", "ebs", "--account", account, "--rate", "8")
        with faulty(backed_up, "short-sessions", "--seconds", str(SESSION)), faulty(backed_up, *slow):
            done = lab.playbook("ec2_backup", "-i", str(path), inventory="inventories/lab/repositories.yml")
        assert done.returncode == 0, done.stdout[-6000:]
        yield Odd(host, volumes, key)
    finally:
        ec2("terminate-instances", "--instance-ids", made)


def described(site: Site, volumes: dict[str, str], profile: str) -> dict[str, dict[str, Any]]:
    """What EC2 says of each original volume's new one."""
    found = site.lab.aws("ec2", "describe-volumes", "--volume-ids", *volumes.values(), profile=profile)["Volumes"]
    by_id = {each["VolumeId"]: each for each in found}
    return {original: by_id[new] for original, new in volumes.items()}


def test_zeros_are_stored_once_and_nothing_is_not_read(backed_up: Site, odd: Odd) -> None:
    entry = backed_up.lab.report("ec2_backup")["resources"][odd.host]
    references = backed_up.references(odd.host)
    digests = backed_up.lab.digests(*references.values())
    assert {volume: digests[snapshot] for volume, snapshot in references.items()} == entry["digests"]
    counted = {name: entry["volumes"][volume] for name, volume in odd.volumes.items()}
    assert counted["zeros"]["blocks_total"] == 256
    assert counted["zeros"]["bytes_stored"] < 1 << 20
    assert counted["nothing"]["blocks_total"] == counted["nothing"]["bytes_read"] == 0
    assert counted["encrypted"]["blocks_total"] == 16


def test_credentials_are_renewed_on_the_worker(backed_up: Site, odd: Odd) -> None:
    stages = backed_up.lab.report("ec2_backup")["resources"][odd.host]["stages"]
    (transfer,) = (each for each in stages if each["name"] == "Transferring")
    start, end = (datetime.fromisoformat(transfer[name]) for name in ("start", "end"))
    assert (end - start).total_seconds() > SESSION


def test_what_was_encrypted_comes_back_under_its_own_key(backed_up: Site, odd: Odd) -> None:
    done = backed_up.lab.playbook("volume_restore", "--limit", odd.host)
    assert done.returncode == 0, done.stdout[-6000:]
    found = described(backed_up, restored(backed_up, odd.host), "production")
    assert found[odd.volumes["encrypted"]]["KmsKeyId"] == odd.key
    encrypted = {original for original, volume in found.items() if volume["Encrypted"]}
    assert encrypted == {odd.volumes["encrypted"]}
    assert backed_up.temporary() == []


def test_another_account_gets_the_volumes_under_a_key_of_its_own(backed_up: Site, odd: Odd, settings: Any) -> None:
    words = settings(mayfly_restore_account=BACKUP_ACCOUNT, mayfly_restore_availability_zone="us-east-1b")
    seed = str(backed_up.lab.state / "run/seed.json")
    backed_up.lab.exec("python", "-m", "tests.roles", seed, "backup.ProductionAccount")
    try:
        done = backed_up.lab.playbook("volume_restore", "--limit", odd.host, *words)
    finally:
        backed_up.lab.exec("python", "-m", "tests.roles", seed)
    assert done.returncode == 0, done.stdout[-6000:]
    found = described(backed_up, restored(backed_up, odd.host), "backup")
    assert {volume["AvailabilityZone"] for volume in found.values()} == {"us-east-1b"}
    encrypted = {original for original, volume in found.items() if volume["Encrypted"]}
    assert encrypted == {odd.volumes["encrypted"]}
    assert found[odd.volumes["encrypted"]].get("KmsKeyId") != odd.key
    assert backed_up.temporary() == []
