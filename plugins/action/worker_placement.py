# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the keeper where the worker goes."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """worker_placement"""

    NAME = "worker_placement"
    SUPPORTS_CHECK_MODE = True

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        return self.ask("placement.plan", options)
