# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups: one that something uses cannot be deleted, and rules of protocols without ports."""

from __future__ import annotations

import time
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.security_groups import SecurityGroupBackend, SecurityGroupRule

from mayfly_lab.control.state import Lab, replace

_delete_security_group = SecurityGroupBackend.delete_security_group
_make_rule = SecurityGroupRule.__init__
_WITH_PORTS = ("tcp", "6", "udp", "17")


def install() -> None:
    """Put these functions into moto."""
    replace(SecurityGroupBackend, delete_security_group=delete_security_group)
    replace(SecurityGroupRule, __init__=make_rule)


def make_rule(self: Any, *asked: Any, **more: Any) -> None:
    """A rule; only those of TCP and UDP must tell ports."""
    backend, protocol, group_id, first, last, *others = asked
    if None in (first, last):
        if str(protocol).lower() in _WITH_PORTS:
            message = "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."
            raise EC2ClientError("InvalidParameterValue", message)
        first = last = "-1"
    _make_rule(self, backend, protocol, group_id, first, last, *others, **more)


def delete_security_group(self: Any, name: str | None = None, group_id: str | None = None) -> None:
    """Delete a group; raises DependencyViolation while a network interface or another group's rule refers to it."""
    group = self.get_security_group_by_name_or_id(group_id or name or "")
    if group is None:
        _delete_security_group(self, name, group_id)  # moto tells that there is none
        return
    if group.is_default:
        raise EC2ClientError("CannotDelete", f"the specified group: {group.id!r} name: 'default' cannot be deleted")
    if _is_used(self, group.id) or _is_busy(self, group.id):
        raise EC2ClientError("DependencyViolation", f"resource {group.id} has a dependent object")
    _delete_security_group(self, None, group.id)


def members(instance: Any) -> set[str]:
    """Ids of the groups of an instance."""
    found = {group.id for group in instance.security_groups}
    return found | {group.id for nic in instance.nics.values() for group in nic.group_set}


def _is_used(backend: Any, group_id: str) -> bool:
    interfaces = backend.enis.values()
    if any(group_id == group.id for interface in interfaces for group in interface.group_set):
        return True
    others = [group for groups in backend.groups.values() for key, group in groups.items() if key != group_id]
    rules = [rule for group in others for rule in (*group.ingress_rules, *group.egress_rules)]
    return any((rule.source_group or {}).get("GroupId") == group_id for rule in rules)


def _is_busy(backend: Any, group_id: str) -> bool:
    """Whether a fault keeps a group after the end of its instances."""
    ends = [
        instance.lab_ended
        for instance in backend.all_instances()
        if group_id in getattr(instance, "lab_former_groups", ())
    ]
    if not ends:
        return False
    idle = time.monotonic() - max(ends)
    return Lab.faults.take("group-busy", Lab.now.request, lambda fault: idle < (fault.seconds or 0.0)) is not None
