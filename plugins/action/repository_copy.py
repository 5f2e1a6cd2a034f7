# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what a copy would bring to a second repository."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """repository_copy"""

    NAME = "repository_copy"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 3600.0  # of thousands of resources, with two lists for each

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        return self.ask("repository_copy.plan", options)
