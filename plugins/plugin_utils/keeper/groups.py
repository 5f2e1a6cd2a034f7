# SPDX-License-Identifier: GPL-3.0-or-later
"""The temporary security group of a run, made where no groups are configured: SSH in from one place or none."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from ..placement.place import check_control_node
from . import aws
from .errors import KeeperError

_HTTPS = 443
# A new group has these; the second in a VPC with IPv6 alone.
_EVERYTHING = (
    {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
    {"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
)
_LOOKS = 6


class TemporaryGroups:
    """The groups of a run: one for each VPC, port and place that SSH comes from, and the ports of stores."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._made: dict[tuple[object, ...], str] = {}
        self._locks: dict[tuple[object, ...], threading.Lock] = defaultdict(threading.Lock)

    def ensure(
        self,
        ec2: Any,
        vpc_id: str,
        *,
        port: int,
        cidr: str | None,
        tags: Mapping[str, str],
        made: Callable[[str], None],
        store_ports: Iterable[int] = (),
    ) -> str:
        """The id of the group that lets ``port`` in from ``cidr``, and HTTPS and ``store_ports`` out.

        ``made`` is told of a new one. Without ``cidr`` nothing is let in. Raises PlacementError when it is not the
        address of a control node, botocore's errors otherwise.
        """
        if cidr is not None:
            check_control_node(cidr)
        more = tuple(sorted(set(store_ports) - {_HTTPS}))
        key = (vpc_id, port, cidr, *more)
        with self._locks[key]:
            if key not in self._made:
                name = f"mayfly-{self._run_id}-{hashlib.sha256(repr(key).encode()).hexdigest()[:8]}"
                group_id = _create(ec2, vpc_id, name, tags)
                made(group_id)
                _open(ec2, group_id, port, cidr, (_HTTPS, *more))
                self._made[key] = group_id
            return self._made[key]


def _create(ec2: Any, vpc_id: str, name: str, tags: Mapping[str, str]) -> str:
    """Make the group, or find the one whose making got no answer: the name is this run's alone."""
    listed = [{"Key": key, "Value": value} for key, value in sorted({"Name": name, **tags}.items())]
    try:
        answer = ec2.create_security_group(
            GroupName=name,
            Description="Workers of one mayfly run: SSH in from where it comes alone",
            VpcId=vpc_id,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": listed}],
        )
        return str(answer["GroupId"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidGroup.Duplicate":
            raise
    filters = [{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "group-name", "Values": [name]}]
    for attempt in range(1, _LOOKS + 1):
        found = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        if found:
            return str(found[0]["GroupId"])
        time.sleep(aws.backoff(attempt))
    raise KeeperError("GroupUnknown", f"The security group {name} exists in {vpc_id}, and AWS does not show it.")


def _open(ec2: Any, group_id: str, port: int, cidr: str | None, out: tuple[int, ...]) -> None:
    if cidr is not None:
        _let_in(ec2, group_id, port, cidr)
    for each in out:
        rule = {"IpProtocol": "tcp", "FromPort": each, "ToPort": each, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        _unless(ec2.authorize_security_group_egress, "InvalidPermission.Duplicate", group_id, rule)
    for everything in _EVERYTHING:
        _unless(ec2.revoke_security_group_egress, "InvalidPermission.NotFound", group_id, everything)


def _let_in(ec2: Any, group_id: str, port: int, cidr: str) -> None:
    source = "Ipv6Ranges" if ":" in cidr else "IpRanges"
    address = "CidrIpv6" if ":" in cidr else "CidrIp"
    ssh = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, source: [{address: cidr, "Description": "SSH"}]}
    _unless(ec2.authorize_security_group_ingress, "InvalidPermission.Duplicate", group_id, ssh)


def _unless(call: Callable[..., Any], done: str, group_id: str, rule: dict[str, Any]) -> None:
    """Call, where the error ``done`` says that it had been done before."""
    try:
        aws.of_young(lambda: call(GroupId=group_id, IpPermissions=[rule]))
    except ClientError as error:
        if error.response["Error"]["Code"] != done:
            raise
