# SPDX-License-Identifier: GPL-3.0-or-later
"""How the agent is to lock the restore points that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..context import Context
from ..errors import KeeperError
from ..repositories import LockJob, lock_repository, open_repository


def locked(context: Context, arguments: Mapping[str, Any], setting: Mapping[str, Any]) -> dict[str, Any] | None:
    """The job's part of it, None for no lock; what opens the repository that is written to is locked as long here.

    Raises KeeperError when the lock would end before the run does: then nothing could be put under it any more.
    """
    mode, days = arguments.get("object_lock"), int(arguments.get("object_lock_days") or 0)
    if mode in (None, "none"):
        return None
    seconds = days * 86_400
    if seconds < context.settings.deadline:
        message = f"mayfly_object_lock_days is {days}, which is less than the {context.settings.deadline} s of a run."
        raise KeeperError("BadSetting", message, "Take more days, or a shorter mayfly_deadline.")
    wanted = LockJob(str(mode).upper(), seconds)
    opened = open_repository(context, setting)
    context.run.once(
        f"locked {opened.info.id} {mode} {days}", lambda: lock_repository(opened.store, opened.info, wanted)
    )
    return {"mode": wanted.mode, "seconds": wanted.seconds}
