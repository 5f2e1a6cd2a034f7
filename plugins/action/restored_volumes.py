# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a restore's target, and create volumes from a transfer's snapshots."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction

# For the calls of AWS around the waits, and for an instance that gets its own volumes back.
_MORE_SECONDS = 2400.0


class ActionModule(KeeperAction):
    """restored_volumes"""

    NAME = "restored_volumes"
    SUPPORTS_CHECK_MODE = True

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        state = options.pop("state")
        if state == "checked":
            return self.ask("restored_volumes.check", options)
        if self._task.check_mode:
            return {"changed": True, "msg": "Nothing is done in check mode."}
        seconds = options["timeout"] + options["boot_timeout"] + _MORE_SECONDS
        return self.ask("restored_volumes.create", options, seconds)
