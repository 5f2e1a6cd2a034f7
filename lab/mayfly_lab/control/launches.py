# SPDX-License-Identifier: GPL-3.0-or-later
"""What a launch meets: refusals for want of capacity, and hosts that boot late, never, or not to the end."""

from __future__ import annotations

from dataclasses import dataclass

from moto.ec2.models.instances import StateReason

from mayfly_lab.control.state import Lab, refuse
from mayfly_lab.faults import Fault
from mayfly_lab.refusals import Refusal

_REASON = "Server.InsufficientInstanceCapacity"
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html
_MESSAGES = {
    "Server.InsufficientInstanceCapacity": "There was insufficient capacity available to satisfy the launch request.",
    "Server.InternalError": "An internal error caused the instance to terminate during launch.",
    "Server.SpotInstanceTermination": "A Spot Instance was terminated due to an increase in the Spot price.",
    "Client.InternalError": "A client error caused the instance to terminate during launch.",
    "Client.VolumeLimitExceeded": "The limit on the number of EBS volumes or total storage was exceeded.",
    "Client.InvalidSnapshot.NotFound": "The specified snapshot was not found.",
}
_PENDING_SECONDS = 0.7
# The machine boots, but nothing that lets a person or its user data in.
_WITHOUT_SSH = (
    "ssh.service",
    "ssh.socket",
    "cloud-init-local.service",
    "cloud-init.service",
    "cloud-config.service",
    "cloud-final.service",
)


@dataclass(frozen=True)
class Course:
    """How a launch goes on: seconds until its host starts, words for its kernel, or why and when it ends."""

    late_seconds: float = 0.0
    boot_words: tuple[str, ...] = ()
    ends: StateReason | None = None
    ends_after_seconds: float = _PENDING_SECONDS


def check_capacity(instance_type: str, zone: str) -> None:
    """Raises the error that faults want for a launch of this type in this Availability Zone."""
    if _met("capacity", instance_type, zone):
        message = f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you "
        message += f"requested ({zone}). Our system will be working on provisioning additional capacity."
        raise refuse(Refusal(500, "InsufficientInstanceCapacity", message))
    if _met("vcpu-limit", instance_type, zone):
        message = "You have requested more vCPU capacity than your current vCPU limit allows for the instance bucket "
        message += "that the specified instance type belongs to."
        raise refuse(Refusal(400, "VcpuLimitExceeded", message))


def course(instance_type: str, zone: str) -> Course:
    """How a launch goes on that was accepted."""
    ending = _met("ends-by-itself", instance_type, zone)
    if ending:
        reason = ending.reason or _REASON
        message = ending.message or _MESSAGES.get(reason, "The launch failed.")
        after = _PENDING_SECONDS if ending.seconds is None else ending.seconds
        return Course(ends=StateReason(f"{reason}: {message}", reason), ends_after_seconds=after)
    late = _met("slow-boot", instance_type, zone)
    mute = _met("no-ssh", instance_type, zone)
    return Course(
        late_seconds=(late.seconds or 0.0) if late else 0.0,
        boot_words=tuple(f"systemd.mask={unit}" for unit in _WITHOUT_SSH) if mute else (),
    )


def _met(kind: str, instance_type: str, zone: str) -> Fault | None:
    return Lab.faults.take(kind, Lab.now.request, lambda fault: fault.fits(instance_type, zone))
