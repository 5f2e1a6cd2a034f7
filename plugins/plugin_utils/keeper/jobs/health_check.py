# SPDX-License-Identifier: GPL-3.0-or-later
"""A health check of a repository: the resources that were planned, each with its own key."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from ..context import Context
from ..errors import KeeperError
from ..policies import MARKED, folders_policy
from ..repositories import open_repository
from .part import Part, key_fields, whole_session


def build(context: Context, arguments: dict[str, Any]) -> Part:
    """See jobs.BUILD; raises KeeperError NotPlanned when the run has not planned it.

    Each run draws another sample: its id is the seed.
    """
    planned = context.state.health_check
    if planned is None:
        raise KeeperError("NotPlanned", f"The health check of {context.host} was not planned in this run.")
    setting = arguments["repository"]
    opened = open_repository(context, setting)
    context.state.repository = opened.info.id
    session = whole_session(context, setting, partial(folders_policy, folders=MARKED))
    return Part(
        fields={
            "resources": [
                {**asdict(each), **key_fields(opened.resource_key(each), "key")} for each in planned["resources"]
            ],
            "mode": planned["mode"],
            "percent": planned["percent"],
            "seed": context.run.id,
            "concurrency": arguments["concurrency"],
        },
        repository=session,
        source=session,
    )
