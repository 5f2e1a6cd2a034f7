# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots that are shared with the account of the worker that reads them, and are its alone again afterwards.

Tags on each say with which account, by which run and until when at the latest: the run's end and the reaper take back
what they find by them. They are written before anything is shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from .. import reaping
from . import aws

WITH = "mayfly:shared-with"
BY = "mayfly:shared-by"
UNTIL = "mayfly:shared-until"
#: What shares are among temporary things.
KIND = "snapshot-share"


def share(ec2: Any, ids: Iterable[str], account: str, run: str, until: str) -> None:
    """Let an account read these snapshots, ``until`` as tags tell times; raises botocore's errors."""
    listed = sorted(ids)
    tags = [{"Key": key, "Value": value} for key, value in ((WITH, account), (BY, run), (UNTIL, until))]
    aws.of_young(lambda: ec2.create_tags(Resources=listed, Tags=tags))
    for each in listed:
        aws.of_young(partial(_modify, ec2, each, "Add", account))


def take_back(ec2: Any, snapshot: str, tags: Mapping[str, str]) -> None:
    """End what ``tags``, the snapshot's own, say of it; raises botocore's errors."""
    _modify(ec2, snapshot, "Remove", tags[WITH])
    ec2.delete_tags(Resources=[snapshot], Tags=[{"Key": key} for key in (WITH, BY, UNTIL)])


def filters(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Filters for snapshots that are shared, by the tags of temporary things that are looked for."""
    wanted = {BY if key == reaping.RUN else key: value for key, value in tags.items() if key != reaping.TEMPORARY}
    return [*aws.tag_filters(wanted), {"Name": "tag-key", "Values": [BY]}]


def own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a share as those of a temporary thing, from its snapshot's."""
    return {
        reaping.DEPLOYMENT: tags.get(reaping.DEPLOYMENT, ""),
        reaping.TEMPORARY: "true",
        reaping.RUN: tags.get(BY, ""),
        reaping.DEADLINE: tags.get(UNTIL, ""),
        WITH: tags.get(WITH, ""),
    }


def _modify(ec2: Any, snapshot: str, verb: str, account: str) -> None:
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, CreateVolumePermission={verb: [{"UserId": account}]})
