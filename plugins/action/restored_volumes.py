# SPDX-License-Identifier: GPL-3.0-or-later
"""Create volumes from a transfer's snapshots."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """restored_volumes"""

    NAME = "restored_volumes"
    TIMEOUT = 3600.0

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        return self.ask("restored_volumes.create", options)
