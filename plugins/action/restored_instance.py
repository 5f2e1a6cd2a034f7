# SPDX-License-Identifier: GPL-3.0-or-later
"""Settle how an instance is restored, restore it, and remove one that was restored for a while."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction

# For the calls of AWS around the waits, and for an instance that gets its own volumes back.
_MORE_SECONDS = 2400.0


class ActionModule(KeeperAction):
    """restored_instance"""

    NAME = "restored_instance"
    SUPPORTS_CHECK_MODE = True

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        state = options.pop("state")
        if state == "checked":
            return self.ask("restored_instance.check", options)
        if self._task.check_mode:
            return {"changed": state == "present", "msg": "Nothing is done in check mode."}
        if state == "absent":
            return self.ask("restored_instance.absent", options)
        seconds = options["timeout"] + options["boot_timeout"] + _MORE_SECONDS
        return self.ask("restored_instance.present", options, seconds)
