# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what is archived or brought back, and what it costs."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """archive"""

    NAME = "archive"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 3600.0  # of thousands of resources, with a few lists for each

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        return self.ask("archive.plan", options)
