# SPDX-License-Identifier: GPL-3.0-or-later
"""RunInstances for a worker: what is asked of AWS, and what each of its answers means."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from ..placement.failover import NO_SPOT_ROLE
from ..placement.place import Candidate
from ..placement.types import SPOT
from . import aws
from .errors import KeeperError
from .things import GOING

Pause = Callable[[float], None]

# Another candidate may well do.
FAILOVER_CODES = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "Unsupported",
        "UnsupportedOperation",
        "VcpuLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
        "InsufficientFreeAddressesInSubnet",
        NO_SPOT_ROLE,
    }
)
# An accepted launch that ends by itself says so in its StateReason.
_ENDED_FOR_CAPACITY = frozenset(
    {"Server.InsufficientInstanceCapacity", "Server.InternalError", "Server.SpotInstanceTermination"}
)
_ENDED_FOR_A_KEY = frozenset({"Client.InternalError", "Client.InvalidKMSKey.InvalidState"})

_TRIES = 8
_LOOKS = 5
_LOOK_SECONDS = 4.0
_USER_DATA_BYTES = 16 * 1024


class CandidateFailed(Exception):
    """This candidate cannot have the worker; the next may. ``code`` is AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class LaunchDoubtful(KeeperError):
    """No clear answer came: an instance with this launch's client token may exist."""


def client_token(run: str, resource: Mapping[str, Any], attempt: int, number: int) -> str:
    """At most 64 ASCII characters that name one launch: run, resource, attempt and number of the try."""
    # The run is named by whoever starts it: its name may be long, and begin like that of another run.
    identity = json.dumps([run, *(str(resource.get(part, "")) for part in ("account", "region", "kind", "id"))])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:24]
    return f"{re.sub('[^A-Za-z0-9-]', '-', run)[:28]}-{digest}-{attempt}-{number}"


def request(
    candidate: Candidate,
    groups: list[str],
    user_data: str,
    tags: Mapping[str, str],
    token: str,
    *,
    profile: str | None = None,
) -> dict[str, Any]:
    """The parameters of RunInstances for a candidate; ``profile`` names an instance profile.

    Raises KeeperError when the user data is longer than the 16 KiB that EC2 takes.
    """
    size = len(user_data.encode())
    if size > _USER_DATA_BYTES:
        raise KeeperError(
            "UserDataTooLong",
            f"The worker's user data has {size} bytes, EC2 takes {_USER_DATA_BYTES}.",
            "Shorten the template that worker_user_data_template names.",
        )
    listed = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
    kinds: tuple[str, ...] = ("instance", "volume", "network-interface")
    market: dict[str, Any] = {}
    if candidate.market == SPOT:
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        market = {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}
        kinds = (*kinds, "spot-instances-request")
    return {
        **market,
        **({"IamInstanceProfile": {"Name": profile}} if profile else {}),
        "ClientToken": token,
        "ImageId": candidate.image_id,
        "InstanceType": candidate.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "UserData": user_data,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        "BlockDeviceMappings": [
            {
                "DeviceName": candidate.root_device_name,
                "Ebs": {"DeleteOnTermination": True, "Encrypted": True, "VolumeType": "gp3"},
            }
        ],
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": candidate.subnet_id,
                "Groups": groups,
                "AssociatePublicIpAddress": candidate.public_address,
                "DeleteOnTermination": True,
            }
        ],
        "TagSpecifications": [{"ResourceType": kind, "Tags": listed} for kind in kinds],
    }


def run_instances(ec2: Any, parameters: dict[str, Any], pause: Pause) -> dict[str, Any]:
    """Launch one instance and return AWS's description of it.

    A doubtful answer is settled before anything else is tried: the very same request is sent again, and AWS is asked
    for the client token. ``pause`` sleeps so many seconds, and may raise KeeperError to give up. Raises CandidateFailed
    when another candidate may do, LaunchDoubtful when no clear answer came (given up or not), KeeperError for what is
    final. An instance that is going already has ended by itself, however it was found.
    """
    doubt: Exception | None = None
    last: Exception | None = None

    def wait(seconds: float) -> None:
        try:
            pause(seconds)
        except KeeperError as error:
            if doubt is None:
                raise
            raise LaunchDoubtful(error.code, error.message, error.remedy) from error

    for attempt in range(_TRIES):
        if attempt:
            wait(aws.backoff(attempt))
        try:
            instance: dict[str, Any] = ec2.run_instances(**parameters)["Instances"][0]
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            last = error
            # EC2 answers want of capacity with a 5xx too, and that is a clear answer.
            if aws.is_doubtful(error) and aws.code_of(error) not in FAILOVER_CODES:
                doubt = error
                continue
            if aws.is_throttled(error) or _is_young(error):
                continue
            known = _find(ec2, parameters["ClientToken"], wait) if doubt or _has_ended(error) else None
            if known is not None:
                if _has_ended(error):
                    raise ended_by_itself(known) from error
                return _living(known)
            raise _refusal(error, doubt) from error
        else:
            return _living(instance)
    known = _find(ec2, parameters["ClientToken"], wait) if doubt else None
    if known is not None:
        return _living(known)
    if doubt is not None:
        raise LaunchDoubtful(
            "LaunchDoubtful",
            f"AWS gave no clear answer to the launch of an instance: {doubt}",
            "Start the operation again; an instance that was launched all the same is ended by its tags.",
        )
    code = "Throttled" if last is None or aws.is_throttled(last) else aws.code_of(last)
    raise KeeperError(code, f"AWS did not take the launch of an instance in {_TRIES} tries: {last}", _remedy(code))


def _find(ec2: Any, token: str, pause: Pause) -> dict[str, Any] | None:
    """The instance that was launched with a client token; None when none is seen for a while."""
    for attempt in range(_LOOKS):
        if attempt:
            pause(_LOOK_SECONDS)
        try:
            answer = ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [token]}])
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            if not aws.is_passing(error):
                raise
            continue
        for reservation in answer["Reservations"]:
            for instance in reservation["Instances"]:
                return dict(instance)
    return None


def _living(instance: dict[str, Any]) -> dict[str, Any]:
    """The instance, unless it has ended meanwhile: it has no address any more, and its StateReason says why."""
    if (instance.get("State") or {}).get("Name") in GOING:
        raise ended_by_itself(instance)
    return instance


def _refusal(error: Exception, doubt: Exception | None) -> Exception:
    """What a clear refusal means; after a try without an answer, of which nothing was found, the doubt stays."""
    code, message = aws.code_of(error), aws.message_of(error)
    if code in FAILOVER_CODES:
        return CandidateFailed(code, message)
    kind = KeeperError if doubt is None else LaunchDoubtful
    return kind(code, f"AWS refused to launch an instance: {message}", _remedy(code))


def ended_by_itself(instance: Mapping[str, Any]) -> Exception:
    """What the end of an accepted launch means: CandidateFailed for want of capacity, else a final KeeperError."""
    reason = instance.get("StateReason") or {}
    code, message = reason.get("Code", "unknown"), reason.get("Message", "AWS gave no reason")
    if code in _ENDED_FOR_CAPACITY:
        return CandidateFailed(code, message)
    remedy = ""
    if code in _ENDED_FOR_A_KEY:
        remedy = "Often the KMS key of EBS encryption in that account and Region may not be used by the launching role."
    name = instance.get("InstanceId", "?")
    return KeeperError(
        "WorkerEnded", f"The worker {name} ended by itself while it started ({code}: {message}).", remedy
    )


def _is_young(error: Exception) -> bool:
    """A fresh instance profile or security group is not known to EC2 everywhere for some seconds."""
    code, message = aws.code_of(error), aws.message_of(error).lower().replace(" ", "")
    return code == "InvalidGroup.NotFound" or (code == "InvalidParameterValue" and "iaminstanceprofile" in message)


def _has_ended(error: Exception) -> bool:
    """The launch had been accepted, and its instance is gone already."""
    return aws.code_of(error) == "IdempotentInstanceTerminated"


def _remedy(code: str) -> str:
    if code in ("UnauthorizedOperation", "AccessDenied"):
        return "The role of mayfly_accounts needs the rights that docs/permissions.md lists."
    if code.startswith("InvalidGroup"):
        return "Check the security groups of mayfly_networks."
    if code.startswith("InvalidAMIID"):
        return "Name another image in mayfly_worker_image."
    return ""
