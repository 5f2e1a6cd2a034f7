# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention of a repository: what was planned for each of its resources, with the resource's own key."""

from __future__ import annotations

from typing import Any

from ..context import Context
from ..errors import KeeperError
from ..policies import retention_policy
from ..repositories import ResourceName, open_repository
from .part import Part, key_fields, whole_session


def build(context: Context, arguments: dict[str, Any]) -> Part:
    """See jobs.BUILD; raises KeeperError NotPlanned when the run has not planned it."""
    if context.state.retention is None:
        raise KeeperError("NotPlanned", f"The retention of {context.host} was not planned in this run.")
    setting = arguments["repository"]
    opened = open_repository(context, setting)
    context.state.repository = opened.info.id
    session = whole_session(context, setting, retention_policy)
    return Part(
        fields={
            "resources": [
                {**each, **key_fields(opened.resource_key(ResourceName.from_dict(each)))}
                for each in context.state.retention
            ],
            "live_share": arguments["live_share"],
            "concurrency": arguments["concurrency"],
        },
        repository=session,
        source=session,
    )
