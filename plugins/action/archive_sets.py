# SPDX-License-Identifier: GPL-3.0-or-later
"""List archived sets, and delete those that are given up."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """archive_sets"""

    NAME = "archive_sets"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 6 * 3600.0  # of a set of 16 TiB, whose million objects are deleted by the thousand

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        return self.ask("archive_sets.list", options)
