# SPDX-License-Identifier: GPL-3.0-or-later
"""One EC2 instance that is stopped, started, and given other volumes: each step looks first, and may be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from . import aws
from .errors import KeeperError
from .launch import FAILOVER_CODES
from .things import GOING

Pause = Callable[[float], None]

_POLL_SECONDS = 1.0
_LONGEST_POLL_SECONDS = 10.0
_STOPPABLE = ("pending", "running")
# Of DescribeInstanceStatus: the machine, and the network and the host below it.
_CHECKS = ("InstanceStatus", "SystemStatus")
_STATUS_POLL_SECONDS = 5.0


class Machine:
    """An instance. ``ec2`` repeats no call by itself; ``pause`` sleeps so many seconds, and may raise to give up.

    Want of capacity is an error, unless it is ``patient``: then it is asked for again until its time is over. Times are
    of the monotonic clock. All raise botocore's errors, and KeeperError when something is not so in time.
    """

    def __init__(self, ec2: Any, instance_id: str, pause: Pause, *, patient: bool = False) -> None:
        self.id = instance_id
        self._patient = patient
        self._ec2 = ec2
        self._pause = pause

    def describe(self) -> dict[str, Any]:
        """AWS's description of it, empty while it is not known yet."""
        filters = [{"Name": "instance-id", "Values": [self.id]}]
        found = self._asked(lambda: self._ec2.describe_instances(Filters=filters))["Reservations"]
        return dict(found[0]["Instances"][0]) if found else {}

    @property
    def state(self) -> str:
        """Its state now, empty while it is not known yet."""
        return str(self.describe().get("State", {}).get("Name", ""))

    def disks(self) -> dict[str, dict[str, Any]]:
        """What is attached: the Ebs part of its description by device name."""
        return disks_of(self.describe())

    def stop(self, ends: float) -> None:
        """Have it stopped."""
        self.wait_for("running", ends, unless=("stopping", "stopped"))
        self._bring(
            lambda: self._ec2.stop_instances(InstanceIds=[self.id]),
            lambda: self.state == "stopped",
            ends,
            "was not stopped",
        )

    def start(self, ends: float) -> None:
        """Have it running."""
        self.wait_for("stopped", ends, unless=_STOPPABLE)
        self._bring(
            lambda: self._ec2.start_instances(InstanceIds=[self.id]),
            lambda: self.state == "running",
            ends,
            "did not start",
        )

    def wait_for(self, state: str, ends: float, unless: tuple[str, ...] = ()) -> str:
        """Wait for the state, or for one of the others; which it is in. Raises KeeperError when it is gone."""

        def there() -> bool:
            described = self.describe()
            found.append(str(described.get("State", {}).get("Name", "")))
            if found[-1] in GOING:
                why = described.get("StateReason", {}).get("Message", "AWS gave no reason")
                raise KeeperError("InstanceGone", f"The instance {self.id} is {found[-1]}: {why}.")
            return found[-1] in (state, *unless)

        found: list[str] = []
        self._until(there, ends, f"was not {state}")
        return found[-1]

    def detach(self, volume_id: str, ends: float) -> None:
        """Have a volume detached from whatever it is attached to."""
        self._bring(
            lambda: self._ec2.detach_volume(VolumeId=volume_id),
            lambda: self._volume_state(volume_id) == "available",
            ends,
            f"kept {volume_id}",
        )

    def attach(self, volume_id: str, device: str, ends: float) -> None:
        """Have a volume attached under a device name."""
        self._bring(
            lambda: self._ec2.attach_volume(VolumeId=volume_id, InstanceId=self.id, Device=device),
            lambda: self._holds(volume_id, device),
            ends,
            f"did not get {volume_id} as {device}",
        )

    def keep(self, flags: Mapping[str, bool]) -> None:
        """Say of devices whether their volumes go with the instance when that is terminated."""
        wanted = [{"DeviceName": each, "Ebs": {"DeleteOnTermination": goes}} for each, goes in sorted(flags.items())]
        if wanted:
            self._asked(
                lambda: self._ec2.modify_instance_attribute(InstanceId=self.id, BlockDeviceMappings=wanted), young=True
            )

    def move_to(self, group_ids: list[str]) -> None:
        """Put its network interface into these security groups, and no others."""
        self._asked(lambda: self._ec2.modify_instance_attribute(InstanceId=self.id, Groups=group_ids), young=True)

    def forward(self) -> None:
        """Let it pass on what is not for itself, as NAT instances do."""
        off = {"Value": False}
        self._asked(lambda: self._ec2.modify_instance_attribute(InstanceId=self.id, SourceDestCheck=off), young=True)

    def status(self, ends: float) -> str:
        """ok as soon as AWS's status checks say so, else what they say at ``ends``.

        A check of file systems at boot can take so long that AWS calls the instance impaired meanwhile.
        """
        while True:
            answer = self._asked(lambda: self._ec2.describe_instance_status(InstanceIds=[self.id]), young=True)
            found = [str(each[check]["Status"]) for each in answer["InstanceStatuses"] for check in _CHECKS]
            if found and set(found) == {"ok"}:
                return "ok"
            if time.monotonic() > ends:
                return next((each for each in found if each != "ok"), "unknown")
            self._pause(min(_STATUS_POLL_SECONDS, max(0.1, ends - time.monotonic())))

    def _holds(self, volume_id: str, device: str) -> bool:
        ebs = self.disks().get(device, {})
        return ebs.get("VolumeId") == volume_id and ebs.get("Status", "attached") == "attached"

    def _volume_state(self, volume_id: str) -> str:
        found = self._asked(lambda: self._ec2.describe_volumes(VolumeIds=[volume_id]), young=True)["Volumes"]
        return str(found[0]["State"])

    def _asked(self, call: Callable[[], Any], *, young: bool = False) -> Any:
        """The answer of a call that may be repeated; with ``young``, what it names may be too new to be known."""
        return aws.retrying(
            call,
            seconds=aws.YOUNG_SECONDS,
            again=lambda error: aws.is_passing(error) or (young and aws.is_gone(error)),
            pause=self._pause,
        )

    def _bring(self, act: Callable[[], Any], done: Callable[[], bool], ends: float, what: str) -> None:
        """Ask for it unless it is so, and wait until it is. A refusal after a lost answer says that it is under way."""
        asked = doubtful = False
        young = time.monotonic() + aws.YOUNG_SECONDS

        def so() -> bool:
            nonlocal asked, doubtful
            if done():
                return True
            if not asked:
                try:
                    act()
                    asked = True
                except aws.ERRORS as error:
                    passing = self._is_passing(error)
                    asked = doubtful and isinstance(error, ClientError) and not passing
                    if not (asked or passing or (aws.is_gone(error) and time.monotonic() < young)):
                        raise
                    doubtful = doubtful or (passing and aws.is_doubtful(error))
            return False

        self._until(so, ends, what)

    def _is_passing(self, error: Exception) -> bool:
        """Worth another try. EC2 answers want of capacity with a 5xx, and that is a clear answer."""
        return self._patient if aws.code_of(error) in FAILOVER_CODES else aws.is_passing(error)

    def _until(self, done: Callable[[], bool], ends: float, what: str) -> None:
        pause = _POLL_SECONDS
        while not done():
            if time.monotonic() > ends:
                message = f"The instance {self.id} {what} in time."
                raise KeeperError("InstanceTimeout", message, "See mayfly_restore_timeout.")
            self._pause(pause)
            pause = min(_LONGEST_POLL_SECONDS, pause * 1.3)


def disks_of(instance: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The Ebs part of each disk in AWS's description of an instance, by device name."""
    listed = instance.get("BlockDeviceMappings") or ()
    return {str(each["DeviceName"]): dict(each["Ebs"]) for each in listed if each.get("Ebs", {}).get("VolumeId")}
