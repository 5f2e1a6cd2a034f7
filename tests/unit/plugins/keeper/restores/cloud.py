# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated EC2 of one account and Region: instances that stop and start, and volumes that they hold.

Every call that changes something is a step; one can be made to fail, before or after it was done.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper import attach, swaps
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.context import Context, Run
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.report import Report
from ansible_collections.mayfly.workers.plugins.plugin_utils.settings.schema import Settings

from tests.unit.plugins.keeper.fakes import ACCOUNT, HOST, REGION, refused

PLACE = (ACCOUNT, REGION)
ZONE = f"{REGION}a"
RESOURCE = {"account": ACCOUNT, "region": REGION, "kind": "ec2", "id": "i-1"}
_NEXT = {"pending": "running", "stopping": "stopped", "shutting-down": "terminated"}
Failure = Callable[[str], Exception | None]


class Cloud:
    """``steps`` are the changing calls so far. ``before`` and ``after`` are asked with the name of each, in turn, and
    give the error that its caller gets: the step is not done, or it is done all the same.
    """

    def __init__(self) -> None:
        self.instances: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.steps: list[tuple[str, dict[str, Any]]] = []
        self.before: Failure = lambda _step: None
        self.after: Failure = lambda _step: None
        self.status = "ok"
        self.lag = 1  # how often an instance is described before it has come to its next state
        self.other: dict[str, Any] = {}

    def add_instance(self, name: str, disks: dict[str, str], **more: Any) -> None:
        """An instance with volumes by device."""
        for volume in disks.values():
            self.volumes.setdefault(volume, {"Tags": {}})
        held = {device: {"VolumeId": volume, "DeleteOnTermination": True} for device, volume in disks.items()}
        self.instances[name] = {"state": "running", "disks": held, "tags": {}, "attributes": {}, "more": more}

    def disks(self, name: str = "i-1") -> dict[str, str]:
        """What an instance holds, by device."""
        return {device: disk["VolumeId"] for device, disk in self.instances[name]["disks"].items()}

    def state(self, name: str = "i-1") -> str:
        """The state that an instance comes to."""
        state = str(self.instances[name]["state"])
        return _NEXT.get(state, state)

    def holder(self, volume: str) -> tuple[str, str] | None:
        """(instance, device) of a volume that is attached."""
        return next(
            (
                (name, device)
                for name, each in self.instances.items()
                for device, disk in each["disks"].items()
                if disk["VolumeId"] == volume
            ),
            None,
        )

    def _step(self, name: str, words: dict[str, Any], do: Callable[[], Any]) -> Any:
        self.steps.append((name, words))
        if error := self.before(name):
            raise error
        answer = do()
        if error := self.after(name):
            raise error
        return answer

    def describe_instances(self, InstanceIds: Any = (), Filters: Any = ()) -> dict[str, Any]:
        wanted = [*InstanceIds, *(value for each in Filters for value in each["Values"])]
        found = [self._described(name) for name in wanted if name in self.instances]
        if InstanceIds and not found:
            raise refused("InvalidInstanceID.NotFound")
        return {"Reservations": [{"Instances": [each]} for each in found]}

    def _described(self, name: str) -> dict[str, Any]:
        it = self.instances[name]
        mapping = [
            {"DeviceName": device, "Ebs": {"Status": "attached", **disk}} for device, disk in it["disks"].items()
        ]
        described = {
            "InstanceId": name,
            "State": {"Name": it["state"]},
            "Placement": {"AvailabilityZone": ZONE},
            "RootDeviceName": "/dev/xvda",
            "BlockDeviceMappings": copy.deepcopy(mapping),
            "Tags": [{"Key": key, "Value": value} for key, value in it["tags"].items()],
            **it["more"],
        }
        it["seen"] = it.get("seen", 0) + 1
        if it["seen"] >= self.lag and it["state"] in _NEXT:
            it["state"], it["seen"] = _NEXT[it["state"]], 0
        return described

    def describe_instance_attribute(self, InstanceId: str, Attribute: str) -> dict[str, Any]:
        assert Attribute == "disableApiStop"
        return {"DisableApiStop": {"Value": self.instances[InstanceId]["attributes"].get(Attribute, False)}}

    def describe_instance_status(self, InstanceIds: list[str]) -> dict[str, Any]:
        says = {"InstanceStatus": {"Status": self.status}, "SystemStatus": {"Status": "ok"}}
        return {"InstanceStatuses": [says for _ in InstanceIds]}

    def describe_volumes(self, VolumeIds: list[str]) -> dict[str, Any]:
        return {"Volumes": [self._volume(each) for each in VolumeIds]}

    def _volume(self, name: str) -> dict[str, Any]:
        held = self.holder(name)
        tags = [{"Key": key, "Value": value} for key, value in self.volumes[name]["Tags"].items()]
        attached = [{"InstanceId": held[0]}] if held else []
        return {"VolumeId": name, "State": "in-use" if held else "available", "Tags": tags, "Attachments": attached}

    def pages_of_volumes(self, call: str) -> Any:
        """A paginator of volumes, by their tags."""
        assert call == "describe_volumes"

        def fits(tags: dict[str, str], wanted: dict[str, Any]) -> bool:
            key = wanted["Name"].removeprefix("tag:")
            return bool(tags.keys() & set(wanted["Values"]) if key == "tag-key" else tags.get(key) in wanted["Values"])

        def paginate(Filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
            found = [name for name, each in self.volumes.items() if all(fits(each["Tags"], one) for one in Filters)]
            return [{"Volumes": [self._volume(name) for name in found]}]

        return SimpleNamespace(paginate=paginate)

    def stop_instances(self, InstanceIds: list[str]) -> Any:
        return self._step("stop", {"name": InstanceIds[0]}, lambda: self._turn(InstanceIds[0], "running", "stopping"))

    def start_instances(self, InstanceIds: list[str]) -> Any:
        return self._step("start", {"name": InstanceIds[0]}, lambda: self._turn(InstanceIds[0], "stopped", "pending"))

    def _turn(self, name: str, was: str, becomes: str) -> None:
        if self.instances[name]["state"] != was:
            raise refused("IncorrectInstanceState")
        self.instances[name]["state"] = becomes

    def detach_volume(self, VolumeId: str) -> Any:
        def do() -> None:
            held = self.holder(VolumeId)
            if held is None:
                raise refused("IncorrectState")
            if self.instances[held[0]]["state"] == "running" and held[1] == "/dev/xvda":
                raise refused("OperationNotPermitted")
            del self.instances[held[0]]["disks"][held[1]]

        return self._step("detach", {"volume": VolumeId}, do)

    def attach_volume(self, VolumeId: str, InstanceId: str, Device: str) -> Any:
        def do() -> None:
            if self.holder(VolumeId):
                raise refused("VolumeInUse")
            disks = self.instances[InstanceId]["disks"]
            if Device in disks:
                raise refused("InvalidParameterValue")
            disks[Device] = {"VolumeId": VolumeId, "DeleteOnTermination": False}

        return self._step("attach", {"volume": VolumeId, "device": Device}, do)

    def modify_instance_attribute(self, InstanceId: str, **words: Any) -> Any:
        def do() -> None:
            for each in words.get("BlockDeviceMappings", ()):
                self.instances[InstanceId]["disks"][each["DeviceName"]] |= each["Ebs"]
            if "Groups" in words:
                self.instances[InstanceId]["groups"] = words["Groups"]

        return self._step("modify", words, do)

    def create_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> Any:
        def do() -> None:
            for each in Resources:
                self.volumes[each]["Tags"] |= {tag["Key"]: tag["Value"] for tag in Tags}

        return self._step("tag", {"volumes": Resources}, do)

    def delete_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> Any:
        def do() -> None:
            gone = {tag["Key"] for tag in Tags}
            for each in Resources:
                held = (
                    self.volumes[each]["Tags"] if each in self.volumes else self.instances.get(each, {}).get("tags", {})
                )
                for key in gone & held.keys():
                    del held[key]

        return self._step("untag", {"things": Resources}, do)

    def __getattr__(self, call: str) -> Callable[..., Any]:
        answer = self.other.get(call)
        if answer is None:
            raise AttributeError(call)

        def asked(*names: Any, **words: Any) -> Any:
            return answer(*names, **words) if callable(answer) else answer

        return asked


def failing_at(number: int, error: Exception) -> Failure:
    """An error at the step of that number, counted from 0, and at no other."""
    count = iter(range(10_000))
    return lambda _step: error if next(count) == number else None


def context_for(cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch, region: str = REGION) -> Context:
    """A call of a run whose clients are the cloud's, and which sleeps for no time."""
    run = Run("the-run", folder, folder, Report(folder, "the-run"))

    def client(_account: str, place: str, _service: str = "ec2") -> Any:
        assert place == region
        return cloud

    run.clients = SimpleNamespace(  # type: ignore[assignment]
        client=client, once_client=client, ending_client=client, quick_client=client
    )
    run.watching._client = client
    monkeypatch.setattr(run, "pause", lambda _seconds: run.check_open())
    monkeypatch.setattr(run.watching, "_pause", lambda _seconds: run.check_open())
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: None)
    for module in (attach, swaps):
        monkeypatch.setattr(module, "time", clock)
    accounts = {"backup": {"id": ACCOUNT}}
    return Context(run, HOST, False, Settings.from_call({"accounts": accounts, "operation": "ec2_restore"}), RESOURCE)
