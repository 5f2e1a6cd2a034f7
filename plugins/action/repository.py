# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a repository, or check one."""

from __future__ import annotations

from typing import Any

from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction


class ActionModule(KeeperAction):
    """repository"""

    NAME = "repository"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 420.0  # longer than a repository is waited for, so that its own error is told

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        call = {"present": "create", "checked": "check"}[options.pop("state")]
        return self.ask(f"repository.{call}", options)
