# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove what has outlived its run."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """reaper"""

    NAME = "reaper"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 900.0

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        result = self.ask("reaper.sweep", options)
        failures = result.pop("failed")
        if not failures:
            return {**result, "failures": []}
        where = " ".join(str(failures[0][name]) for name in ("kind", "id", "account", "region") if name in failures[0])
        message = f"{len(failures)} things could not be reaped; the first: {where}: {failures[0]['error']}"
        return {**result, "failures": failures, "failed": True, "msg": message, "error_code": "ReapIncomplete"}
