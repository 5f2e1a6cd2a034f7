# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what a health check would look at in a repository."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """health_check"""

    NAME = "health_check"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 3600.0  # of thousands of resources, with one list for each

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        return self.ask("health_check.plan", options)
