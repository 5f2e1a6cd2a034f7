# SPDX-License-Identifier: GPL-3.0-or-later
"""Archiving of what was planned, each restore point or set with the key of its resource; and the way back."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..context import Context
from ..errors import KeeperError
from ..policies import ARCHIVED, BROUGHT_BACK, folders_policy
from ..repositories import ResourceName, open_repository
from .locks import locked
from .part import Part, key_fields, whole_session


def _build(context: Context, arguments: dict[str, Any], *, folders: tuple[str, ...]) -> Part:
    """See jobs.BUILD; ``folders`` are those of resources that are written to. Raises KeeperError NotPlanned."""
    planned = context.state.archive
    if planned is None:
        raise KeeperError("NotPlanned", f"The archiving of {context.host} was not planned in this run.")
    setting = arguments["repository"]
    opened = open_repository(context, setting)
    context.state.repository = opened.info.id
    lock = locked(context, arguments, setting)
    session = whole_session(context, setting, partial(folders_policy, folders=folders, lock=lock is not None))
    return Part(
        fields={
            "points": [
                {
                    **each.resource,
                    "name": each.name,
                    **key_fields(opened.resource_key(ResourceName.from_dict(each.resource)), "key"),
                }
                for each in planned.points
            ],
            "storage_class": arguments["storage_class"],
            "concurrency": arguments["concurrency"],
            "lock": lock,
        },
        repository=session,
        source=session,
    )


build = partial(_build, folders=ARCHIVED)
build_return = partial(_build, folders=BROUGHT_BACK)
