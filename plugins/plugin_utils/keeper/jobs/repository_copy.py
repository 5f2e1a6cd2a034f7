# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of restore points to a second repository: what was planned, with the keys of each resource in both."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ..context import Context
from ..errors import KeeperError
from ..policies import copy_policy
from ..repositories import ResourceName, open_repository, place_of
from .part import Keys, Part, Session, keys_of, partition


def build(context: Context, arguments: dict[str, Any]) -> Part:
    """See jobs.BUILD; raises KeeperError NotPlanned when the run has not planned it."""
    planned = context.state.copies
    if planned is None:
        raise KeeperError("NotPlanned", f"What is copied from {context.host} was not planned in this run.")
    source, target = arguments["repository"], arguments["target_repository"]
    opened, second = open_repository(context, source), open_repository(context, target)
    context.state.repository = opened.info.id
    session = _session(context, source, write=False)
    return Part(
        fields={
            "resources": [
                {
                    **each,
                    "resource_key": base64.b64encode(opened.resource_key(name)).decode(),
                    "target_key": base64.b64encode(second.resource_key(name)).decode(),
                }
                for each in planned
                for name in [ResourceName.from_dict(each)]
            ],
            "target": place_of(target),
            "concurrency": arguments["concurrency"],
        },
        repository=session,
        source=session,
        target=_session(context, target, write=True),
    )


def _session(context: Context, setting: Mapping[str, Any], *, write: bool) -> Session | Keys:
    if (keys := keys_of(setting)) is not None:
        return keys
    account = str(setting["account"])
    bucket, prefix = setting["bucket"], setting.get("prefix") or ""
    return Session(account, copy_policy(partition(context, account), bucket, prefix, write=write))
