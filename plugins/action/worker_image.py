# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out which machine image is to be baked, and bake it."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """worker_image"""

    NAME = "worker_image"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 600.0

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        state = options.pop("state")
        if state == "planned":
            return self.ask("worker_image.plan", options)
        if self._task.check_mode:
            planned = self.ask("worker_image.plan", options)
            doomed = planned["old"] if options["remove_old"] else []
            return {**planned, "changed": bool(planned["needed"] or planned["missing"] or doomed)}
        waits = 1 + len(options["copies"])
        return self.ask("worker_image.present", options, waits * options["timeout"] + self.TIMEOUT)
