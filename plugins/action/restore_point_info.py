# SPDX-License-Identifier: GPL-3.0-or-later
"""List restore points, or find one."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """restore_point_info"""

    NAME = "restore_point_info"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 420.0  # longer than a repository is waited for, so that its own error is told

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        return self.ask("restore_point.info", options)
