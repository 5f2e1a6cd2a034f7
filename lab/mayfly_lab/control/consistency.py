# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 is consistent in the end: what was made or tagged a moment ago can be missing from its answers, on request.

While one request is answered, under the lock, moto is shown less than there is: a list misses everything that is too
young, any other call only what it names.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.ec2.models import EC2Backend
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.responses.tags import TagResponse

from mayfly_lab.blocks.store import SnapshotNotFound
from mayfly_lab.control.state import Lab, replace
from mayfly_lab.faults import THINGS, Fault, Request

_ID = re.compile(r"(?:i|vol|snap|sg)-[0-9a-f]{8,17}")
_NO_SUBJECT = re.compile(r"^Filter\.|(?:^|\.)Tag\.")
_KEPT = 20  # changes of one thing's tags
# What a call lists, as the beginnings of ids.
_LISTED = {
    "DescribeAddresses": ("eipalloc-",),
    "DescribeImages": ("ami-",),
    "DescribeInstanceStatus": ("i-",),
    "DescribeInstances": ("i-",),
    "DescribeNatGateways": ("nat-",),
    "DescribeNetworkInterfaces": ("eni-",),
    "DescribeRouteTables": ("rtb-",),
    "DescribeSecurityGroupRules": ("sg-", "sgr-"),
    "DescribeSecurityGroups": ("sg-",),
    "DescribeSnapshots": ("snap-",),
    "DescribeSubnets": ("subnet-",),
    "DescribeTags": ("",),
    "DescribeVolumes": ("vol-",),
    "DescribeVpcEndpoints": ("vpce-",),
    "DescribeVpcs": ("vpc-",),
}
_create_security_group = SecurityGroupBackend.create_security_group
_do_resources_exist = EC2Backend.do_resources_exist


def install() -> None:
    """Put these functions into moto."""
    replace(SecurityGroupBackend, create_security_group=create_security_group)
    replace(EC2Backend, do_resources_exist=do_resources_exist)
    replace(
        TagResponse,
        create_tags=_remembering(TagResponse.create_tags),
        delete_tags=_remembering(TagResponse.delete_tags),
    )


def create_security_group(self: Any, *arguments: Any, **options: Any) -> Any:
    """As moto does, and its time is known."""
    group = _create_security_group(self, *arguments, **options)
    group.lab_made = time.monotonic()  # type: ignore[attr-defined]
    return group


def do_resources_exist(self: Any, resource_ids: list[str]) -> bool:
    """As moto does, but an instance must exist as well."""
    for resource_id in resource_ids:
        if resource_id.startswith("i-"):
            self.get_instance(resource_id)
    return _do_resources_exist(self, resource_ids)


@contextmanager
def lagging(backend: Any, request: Request, parameters: list[tuple[str, str]]) -> Iterator[None]:
    """Show the backend as faults want this request to see it."""
    # An id in a filter or a tag is not asked for.
    named = {value for name, value in parameters if _ID.fullmatch(value) and not _NO_SUBJECT.search(name)}
    listed = _LISTED.get(request.call, ())

    def concerns(identity: str) -> bool:
        return identity in named if named or not listed else identity.startswith(listed)

    hidden = _hidden(backend, request, concerns)
    past = _past(backend, request, concerns) if listed else {}
    if not hidden and not past:
        yield
        return
    kept = backend.reservations, backend.volumes, backend.groups, backend.tags
    Lab.now.hidden, Lab.now.tags = hidden, past
    backend.reservations = {
        key: each
        for key, each in backend.reservations.items()
        if not any(instance.id in hidden for instance in each.instances)
    }
    backend.volumes = {key: each for key, each in backend.volumes.items() if key not in hidden}
    visible = {
        vpc: {key: each for key, each in groups.items() if key not in hidden} for vpc, groups in backend.groups.items()
    }
    backend.groups = defaultdict(dict, visible)
    shown = {key: tags for key, tags in backend.tags.items() if key not in hidden}
    backend.tags = defaultdict(dict, {**shown, **past})
    try:
        yield
    finally:
        # What a call made although something was hidden from it is kept.
        kept[0].update(backend.reservations)
        kept[1].update(backend.volumes)
        for vpc, groups in backend.groups.items():
            kept[2][vpc].update(groups)
        kept[3].update({key: tags for key, tags in backend.tags.items() if key not in past and key not in hidden})
        backend.reservations, backend.volumes, backend.groups, backend.tags = kept


def _hidden(backend: Any, request: Request, concerns: Callable[[str], bool]) -> set[str]:
    """Ids that a request cannot see, of those that it concerns."""
    found: set[str] = set()
    for fault in Lab.faults.active("not-found-yet", request):
        young = {each for each in _young(backend, fault) if concerns(each) and fault.names(each)}
        if young and Lab.faults.use(fault):
            found |= young
    return found


def _young(backend: Any, fault: Fault) -> Iterator[str]:
    seconds = fault.seconds or 0.0
    things = (fault.thing,) if fault.thing else THINGS
    made: list[Any] = []
    if "instance" in things:
        made += backend.all_instances()
    if "volume" in things:
        made += backend.volumes.values()
    if "security-group" in things:
        made += [group for groups in backend.groups.values() for group in groups.values()]
    now = time.monotonic()
    yield from (each.id for each in made if now - getattr(each, "lab_made", float("-inf")) < seconds)
    if "snapshot" in things:
        since = datetime.now(UTC) - timedelta(seconds=seconds)
        for record in Lab.store.records(region=backend.region_name):
            if datetime.fromisoformat(record.start_time) > since:
                yield record.snapshot_id


def _past(backend: Any, request: Request, concerns: Callable[[str], bool]) -> dict[str, dict[str, str]]:
    """The tags of things that were changed lately, as they were before."""
    found: dict[str, dict[str, str]] = {}
    history: dict[str, list[tuple[float, dict[str, str]]]] = backend.__dict__.get("lab_tag_history", {})
    for fault in Lab.faults.active("stale-tags", request):
        since = time.monotonic() - (fault.seconds or 0.0)
        past = {
            identity: next((tags for at, tags in changes if at > since), None)
            for identity, changes in history.items()
            if concerns(identity) and fault.names(identity)
        }
        changed = {identity: tags for identity, tags in past.items() if tags is not None}
        if changed and Lab.faults.use(fault):
            found = {**changed, **found}
    return found


def _remembering(respond: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The response method, after what it is about to change has been noted."""

    def noted(self: Any) -> Any:
        backend = self.ec2_backend
        before = {identity: _tags(backend, identity) for identity in self._get_param("Resources", [])}
        answer = respond(self)
        history = backend.__dict__.setdefault("lab_tag_history", {})
        for identity, tags in before.items():
            history[identity] = [*history.get(identity, [])[-_KEPT:], (time.monotonic(), tags)]
        return answer

    return noted


def _tags(backend: Any, identity: str) -> dict[str, str]:
    if identity.startswith("snap-"):
        try:
            return dict(Lab.store.get(identity).tags)
        except SnapshotNotFound:
            return {}
    return dict(backend.tags.get(identity, {}))
