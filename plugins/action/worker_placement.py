# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the keeper where the worker goes."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction
from ansible_collections.mayfly.workers.plugins.plugin_utils.placement.table import table


class ActionModule(KeeperAction):
    """worker_placement"""

    NAME = "worker_placement"
    SUPPORTS_CHECK_MODE = True

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        placed = self.ask("placement.plan", options)
        if self._task.check_mode:  # not a task of its own, which would cost every run a process for each host
            self._display.display(table(str(self.variables["inventory_hostname"]), placed))
        return placed
