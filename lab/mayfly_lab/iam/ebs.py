# SPDX-License-Identifier: GPL-3.0-or-later
"""What requests to the EBS direct APIs must be allowed to do. Pure.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticblockstore.html and
https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-permissions.html (tags need ec2:CreateTags, encrypted
snapshots their key).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mayfly_lab.iam import kms
from mayfly_lab.iam.checks import ANY, Check, Context, Place, request_tags, resource_tags

_BLOCKS = ("GetSnapshotBlock", "PutSnapshotBlock")


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that a request names; a ``kms_key`` where it is encrypted with one."""

    identity: str
    tags: Mapping[str, str] = field(default_factory=dict)
    kms_key: str | None = None


def checks(
    call: str, snapshots: Iterable[Snapshot], value: Mapping[str, Any], place: Place, keys: kms.Keys
) -> list[Check]:
    """What ``call`` must be allowed to do.

    ``snapshots`` are those that the request names, of StartSnapshot the parent; ``value`` is its body.
    """
    if call == "StartSnapshot":
        return list(_start(next(iter(snapshots), None), value, place, keys))
    found = []
    for snapshot in snapshots:
        arn = f"arn:aws:ec2:{place.region}::snapshot/{snapshot.identity}"
        found.append(Check(f"ebs:{call}", arn, place.account, resource_tags(snapshot.tags)))
        if call in _BLOCKS and snapshot.kms_key:
            found += kms.for_blocks(snapshot.kms_key, place, keys)
    return found


def _start(parent: Snapshot | None, value: Mapping[str, Any], place: Place, keys: kms.Keys) -> Iterator[Check]:
    arn = f"arn:aws:ec2:{place.region}::snapshot/{ANY}"
    given = value.get("Tags")
    given = given if isinstance(given, list) else []
    tags = {str(tag.get("Key")): str(tag.get("Value", "")) for tag in given if isinstance(tag, dict)}
    context: Context = {"ebs:VolumeSize": str(value.get("VolumeSize")), **request_tags(tags)}
    context |= {"ebs:Description": str(value["Description"])} if value.get("Description") else {}
    if parent:
        context["ebs:ParentSnapshot"] = f"arn:aws:ec2:{place.region}::snapshot/{parent.identity}"
    yield Check("ebs:StartSnapshot", arn, place.account, context)
    if tags:
        more: Context = {"ec2:CreateAction": "StartSnapshot", "ec2:Region": place.region, **request_tags(tags)}
        yield Check("ec2:CreateTags", arn, place.account, more)
    source = parent.kms_key if parent else None
    key = value.get("KmsKeyArn") or source
    if isinstance(key, str):
        yield from kms.for_volume(key, source, place, keys)
