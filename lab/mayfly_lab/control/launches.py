# SPDX-License-Identifier: GPL-3.0-or-later
"""What a launch meets: refusals for want of capacity, and hosts that boot late, never, or not to the end."""

from __future__ import annotations

from dataclasses import dataclass

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import StateReason

from mayfly_lab.control import quotas
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
    "lab-start.service",
)


@dataclass(frozen=True)
class Course:
    """How a launch goes on: seconds until its host starts, words for its kernel, or why and when it ends."""

    late_seconds: float = 0.0
    boot_words: tuple[str, ...] = ()
    ends: StateReason | None = None
    ends_after_seconds: float = _PENDING_SECONDS


@dataclass(frozen=True)
class Kind:
    """What a launch is of: type, Availability Zone (by name), and market ("on-demand" or "spot")."""

    type: str
    zone: str
    market: str = "on-demand"

    @property
    def spot(self) -> bool:
        return self.market == "spot"


def check_capacity(kind: Kind) -> None:
    """Raises the error that faults want for such a launch."""
    instance_type, zone = kind.type, kind.zone
    if _met("capacity", kind):
        message = f"We currently do not have sufficient {instance_type} capacity in the Availability Zone you "
        message += f"requested ({zone}). Our system will be working on provisioning additional capacity."
        raise refuse(Refusal(500, "InsufficientInstanceCapacity", message))
    if _met("vcpu-limit", kind):
        raise quotas.exceeded(None, spot=kind.spot)
    if kind.spot and _met("spot-price", kind):
        raise price_too_low("your request", "the moment")


def price_too_low(most: str, price: float | str) -> EC2ClientError:
    """SpotMaxPriceTooLow, in EC2's words."""
    message = f"Your Spot request price of {most} is lower than the minimum required Spot request fulfillment price "
    return refuse(Refusal(400, "SpotMaxPriceTooLow", f"{message}of {price}."))


def course(kind: Kind) -> Course:
    """How a launch goes on that was accepted."""
    if Lab.now.key_refused:
        return _ending("Client.InternalError")
    ending = _met("ends-by-itself", kind)
    if ending:
        return _ending(ending.reason or _REASON, ending.message, ending.seconds)
    late = _met("slow-boot", kind)
    mute = _met("no-ssh", kind)
    return Course(
        late_seconds=(late.seconds or 0.0) if late else 0.0,
        boot_words=tuple(f"systemd.mask={unit}" for unit in _WITHOUT_SSH) if mute else (),
    )


def _ending(reason: str, message: str | None = None, seconds: float | None = None) -> Course:
    text = message or _MESSAGES.get(reason, "The launch failed.")
    after = _PENDING_SECONDS if seconds is None else seconds
    return Course(ends=StateReason(f"{reason}: {text}", reason), ends_after_seconds=after)


def _met(name: str, kind: Kind) -> Fault | None:
    return Lab.faults.take(name, Lab.now.request, lambda fault: fault.fits(kind.type, kind.zone, kind.market))
