# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe, take, await and release the snapshots of an instance."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction

_CALLS = {"described": "describe", "present": "create", "completed": "wait", "released": "release"}


class ActionModule(KeeperAction):
    """snapshot_set"""

    NAME = "snapshot_set"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 180.0

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        state = options.pop("state")
        if self._task.check_mode and state != "described":
            return {"changed": state == "present", "msg": "Nothing is done in check mode."}
        # Only the wait may be long: between the other two hooks an application is frozen.
        timeout = options["timeout"] + self.TIMEOUT if state == "completed" else self.TIMEOUT
        return self.ask(f"snapshot_set.{_CALLS[state]}", options, timeout)
