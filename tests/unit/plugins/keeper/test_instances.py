# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of AWS about protected instances: together for all hosts that want it at the moment."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.instances import describe_instance
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings

from tests.unit.plugins.keeper.fakes import ACCOUNT, REGION, Clients, refused
from tests.unit.plugins.placement.world import picture

HOSTS = 40
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"


class Aws:
    """Instances i-0 to i-39, each with a volume under one key. A describe takes a while, or is refused by ``script``.

    ``asked`` are the calls, each with the ids that it names.
    """

    def __init__(self, *script: Exception) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, list[str]]] = []

    def get_paginator(self, _call: str) -> Any:
        return self

    def paginate(self, Filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
        ((name, ids),) = [(each["Name"], each["Values"]) for each in Filters]
        self.asked.append((name, ids))
        time.sleep(0.05)
        if self.script:
            raise self.script.pop(0)
        if name == "volume-id":
            return [{"Volumes": [self.volume(each) for each in ids]}]
        return [{"Reservations": [{"Instances": [self.instance(each)]} for each in ids if int(each[2:]) < HOSTS]}]

    def describe_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        self.asked.append(("alone", InstanceIds))
        if int(InstanceIds[0][2:]) >= HOSTS:
            raise refused("InvalidInstanceID.NotFound")
        return {"Reservations": [{"Instances": [self.instance(InstanceIds[0])]}]}

    def describe_volumes(self, VolumeIds: list[str]) -> dict[str, Any]:
        self.asked.append(("alone", VolumeIds))
        return {"Volumes": [self.volume(each) for each in VolumeIds]}

    def describe_key(self, KeyId: str) -> dict[str, Any]:
        self.asked.append(("key", [KeyId]))
        return {"KeyMetadata": {"KeyState": "Enabled", "KeyManager": "CUSTOMER"}}

    def instance(self, name: str) -> dict[str, Any]:
        disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": name.replace("i-", "vol-")}}
        place = {"Placement": {"AvailabilityZone": f"{REGION}a"}, "InstanceType": "t3.micro", "ImageId": "ami-1"}
        return {"InstanceId": name, "State": {"Name": "running"}, "BlockDeviceMappings": [disk], **place}

    def volume(self, name: str) -> dict[str, Any]:
        return {"VolumeId": name, "Size": 8, "VolumeType": "gp3", "Encrypted": True, "KmsKeyId": KEY}


class Account(Clients):
    def client(self, account_id: str, region: str, service: str = "ec2") -> Any:
        del service
        return super().client(account_id, region)


def described(folder: Path, aws: Aws, *names: str) -> list[dict[str, Any]]:
    """What is told of instances for which all hosts ask at the same time."""
    run = Run("the-run", folder, folder, Report(folder, "the-run"))
    run.clients = clients = Account(lambda: aws)  # type: ignore[assignment]
    run.watching._client = clients.client
    run.pictures.picture = lambda *_: picture()  # type: ignore[method-assign]
    together = threading.Barrier(len(names))

    def ask(name: str) -> dict[str, Any]:
        resource = {"account": ACCOUNT, "region": REGION, "kind": "ec2", "id": name}
        together.wait(10)
        return describe_instance(Context(run, name, False, Settings.from_call({}), resource), resource)

    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(ask, names))


def test_many_hosts_are_described_in_few_calls(tmp_path: Path) -> None:
    """Whoever comes while AWS is being asked is in the next call, with all others that do."""
    aws, names = Aws(), [f"i-{number}" for number in range(HOSTS)]
    found = described(tmp_path, aws, *names)
    assert [each["instance"]["instance_id"] for each in found] == names
    assert [each["volumes"][0]["volume_id"] for each in found] == [name.replace("i-", "vol-") for name in names]
    calls = [name for name, _ids in aws.asked]
    assert calls.count("instance-id") <= 3
    assert calls.count("volume-id") <= 4
    assert calls.count("key") == 1
    assert "alone" not in calls


def test_one_that_there_is_not_fails_its_own_host(tmp_path: Path) -> None:
    aws = Aws()
    with pytest.raises(KeeperError) as raised:
        described(tmp_path, aws, f"i-{HOSTS}")
    assert raised.value.code == "InstanceNotFound"
    assert ("alone", [f"i-{HOSTS}"]) in aws.asked


def test_what_aws_does_not_tell_at_the_moment_is_asked_for_alone(tmp_path: Path) -> None:
    """Such a describe says nothing of what there is."""
    aws = Aws(refused("RequestLimitExceeded", 503), refused("RequestLimitExceeded", 503))
    (found,) = described(tmp_path, aws, "i-1")
    assert found["size_bytes"] == 8 * 2**30
    assert [name for name, _ids in aws.asked] == ["instance-id", "alone", "volume-id", "alone", "key"]
