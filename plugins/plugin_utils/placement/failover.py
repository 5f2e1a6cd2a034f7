# SPDX-License-Identifier: GPL-3.0-or-later
"""Which candidates a failed launch leaves: the want of one thing rules out all that would want it too."""

from __future__ import annotations

from collections.abc import Sequence

from .place import Candidate
from .types import ON_DEMAND, SPOT, quota_class

# What each of EC2's codes speaks of (https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-errors... "Server errors",
# "Client errors"): capacity of a type in a zone, a subnet's addresses, or a quota of the whole Region.
_OF_TYPE_AND_ZONE = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "Server.InsufficientInstanceCapacity",
        "Server.SpotInstanceTermination",
    }
)
_OF_TYPE_AND_ZONE_ON_SPOT = frozenset({"SpotMaxPriceTooLow"})
_OF_SUBNET = frozenset({"InsufficientFreeAddressesInSubnet"})
_OF_QUOTA = frozenset({"VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"})
_OF_TYPE = frozenset({"Unsupported"})
# The account has never had a Spot instance, and lacks the role that Spot works with
# (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/service-linked-roles-spot-instance-requests.html).
NO_SPOT_ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
# The image's product in AWS Marketplace does not allow the type. No call tells beforehand which ones it allows.
_OF_TYPE_AND_IMAGE = frozenset({"UnsupportedOperation"})


def remaining(candidates: Sequence[Candidate], failed: Candidate, code: str) -> list[Candidate]:
    """Those of ``candidates`` that may still have the worker after ``failed`` could not for the reason ``code``."""
    return [each for each in candidates if each != failed and not _shares_the_want(each, failed, code)]


def after_loss(candidates: Sequence[Candidate], instance_type: str, zone: str) -> list[Candidate]:
    """Those for a second worker after one of that type in the zone (by name) was lost: on demand, its like last."""

    def is_alike(each: Candidate) -> bool:
        return (each.instance_type, each.availability_zone) == (instance_type, zone)

    return sorted((each for each in candidates if each.market == ON_DEMAND), key=is_alike)


def is_quota(code: str) -> bool:
    """Whether a refusal is one of a quota, which ending our own workers may mend."""
    return code in _OF_QUOTA


def _shares_the_want(candidate: Candidate, failed: Candidate, code: str) -> bool:
    same_market = candidate.market == failed.market
    same_type = candidate.instance_type == failed.instance_type
    same_zone = candidate.availability_zone_id == failed.availability_zone_id
    if code in _OF_TYPE_AND_ZONE or (code in _OF_TYPE_AND_ZONE_ON_SPOT and failed.market == SPOT):
        return same_market and same_type and same_zone
    if code in _OF_TYPE:  # by a zone, says AWS's message mostly; the type in the same zone is not tried again
        return same_type and same_zone
    if code in _OF_TYPE_AND_IMAGE:
        return same_type and candidate.image_id == failed.image_id
    if code == NO_SPOT_ROLE:
        return same_market and candidate.account == failed.account
    if code in _OF_SUBNET:
        return candidate.subnet_id == failed.subnet_id
    if code in _OF_QUOTA:
        same_place = (candidate.account, candidate.region) == (failed.account, failed.region)
        return same_place and same_market and quota_class(candidate.instance_type) == quota_class(failed.instance_type)
    return False
