# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of restore points to a second repository: what was planned, with the keys of each resource in both."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..context import Context
from ..errors import KeeperError
from ..policies import copy_policy
from ..repositories import ResourceName, open_repository, place_of
from .locks import locked
from .part import Part, key_fields, whole_session


def build(context: Context, arguments: dict[str, Any]) -> Part:
    """See jobs.BUILD; raises KeeperError NotPlanned when the run has not planned it."""
    planned = context.state.copies
    if planned is None:
        raise KeeperError("NotPlanned", f"What is copied from {context.host} was not planned in this run.")
    source, target = arguments["repository"], arguments["target_repository"]
    opened, second = open_repository(context, source), open_repository(context, target)
    context.state.repository = opened.info.id
    lock = locked(context, arguments, target)
    session = whole_session(context, source, partial(copy_policy, write=False))
    return Part(
        fields={
            "resources": [
                {
                    **each,
                    **key_fields(opened.resource_key(name)),
                    "target_keys": key_fields(second.resource_key(name)),
                }
                for each in planned
                for name in [ResourceName.from_dict(each)]
            ],
            "target": place_of(target),
            "concurrency": arguments["concurrency"],
            "lock": lock,
        },
        repository=session,
        source=session,
        target=whole_session(context, target, partial(copy_policy, write=True, lock=lock is not None)),
    )
