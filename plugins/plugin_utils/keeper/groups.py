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
from ..placement.reach import DNS, HTTPS
from ..placement.rules import of_address
from . import aws
from .errors import KeeperError

_ANYWHERE = "0.0.0.0/0"
# A new group has these; the second in a VPC with IPv6 alone.
_EVERYTHING = (
    {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
    {"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
)
_LOOKS = 6
_SAID = "Workers of one mayfly run: SSH in from where it comes alone"


class TemporaryGroups:
    """The groups of a run: one for each VPC, port and place that SSH comes from, and what is let out beside HTTPS."""

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
        ports_out: Iterable[int] = (),
        name_servers: Iterable[str] = (),
    ) -> str:
        """The id of the group that lets ``port`` in from ``cidr``, and HTTPS and ``ports_out`` out, all TCP.

        DNS is let out to ``name_servers``, addresses of either version; AWS's own are filtered by no group.
        ``made`` is told of a new one. Without ``cidr`` nothing is let in. Raises PlacementError when it is not the
        address of a control node, botocore's errors otherwise.
        """
        if cidr is not None:
            check_control_node(cidr)
        ports = (HTTPS, *sorted(set(ports_out) - {HTTPS}))
        servers = tuple(sorted(set(name_servers)))
        key = (vpc_id, port, cidr, ports, servers)
        with self._locks[key]:
            if key not in self._made:
                name = f"mayfly-{self._run_id}-{hashlib.sha256(repr(key).encode()).hexdigest()[:8]}"
                group_id = _create(ec2, vpc_id, name, tags)
                made(group_id)
                if cidr is not None:
                    _let_in(ec2, group_id, port, cidr)
                _let_out(ec2, group_id, ports, servers)
                self._made[key] = group_id
            return self._made[key]


def isolated(ec2: Any, vpc_id: str, run_id: str, tags: Mapping[str, str]) -> str:
    """The id of a new group that lets nothing in and nothing out; it is the same one when it is asked for again."""
    group_id = _create(ec2, vpc_id, f"mayfly-{run_id}-isolated", tags, "Of one mayfly run: nothing in, nothing out")
    for everything in _EVERYTHING:
        _unless(ec2.revoke_security_group_egress, "InvalidPermission.NotFound", group_id, everything)
    return group_id


def _create(ec2: Any, vpc_id: str, name: str, tags: Mapping[str, str], said: str = _SAID) -> str:
    """Make the group, or find the one whose making got no answer: the name is this run's alone."""
    listed = [{"Key": key, "Value": value} for key, value in sorted({"Name": name, **tags}.items())]
    try:
        answer = ec2.create_security_group(
            GroupName=name,
            Description=said,
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


def _let_out(ec2: Any, group_id: str, ports: tuple[int, ...], name_servers: tuple[str, ...]) -> None:
    wanted = [_rule("tcp", port, _ANYWHERE) for port in ports]
    # An answer that is too long for UDP is asked for once more over TCP.
    wanted += [_rule(each, DNS, of_address(at)) for at in name_servers for each in ("udp", "tcp")]
    for rule in wanted:
        _unless(ec2.authorize_security_group_egress, "InvalidPermission.Duplicate", group_id, rule)
    for everything in _EVERYTHING:
        _unless(ec2.revoke_security_group_egress, "InvalidPermission.NotFound", group_id, everything)


def _let_in(ec2: Any, group_id: str, port: int, cidr: str) -> None:
    ssh = _rule("tcp", port, cidr, Description="SSH")
    _unless(ec2.authorize_security_group_ingress, "InvalidPermission.Duplicate", group_id, ssh)


def _rule(protocol: str, port: int, cidr: str, **more: str) -> dict[str, Any]:
    ranges, address = ("Ipv6Ranges", "CidrIpv6") if ":" in cidr else ("IpRanges", "CidrIp")
    return {"IpProtocol": protocol, "FromPort": port, "ToPort": port, ranges: [{address: cidr, **more}]}


def _unless(call: Callable[..., Any], done: str, group_id: str, rule: dict[str, Any]) -> None:
    """Call, where the error ``done`` says that it had been done before."""
    try:
        aws.of_young(lambda: call(GroupId=group_id, IpPermissions=[rule]))
    except ClientError as error:
        if error.response["Error"]["Code"] != done:
            raise
