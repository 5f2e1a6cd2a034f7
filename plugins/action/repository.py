# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a repository, check one, or see to its keys."""

from __future__ import annotations

import os
from typing import Any

from ansible.utils.display import Display
from ansible_collections.mayfly.workers.plugins.plugin_utils.action import KeeperAction
from ansible_collections.mayfly.workers.plugins.plugin_utils.keeper.errors import KeeperError

_CALLS = {"present": "create", "checked": "check", "wrapped": "wrap", "rotated": "rotate"}
# ansible-runner, and so AWX, writes all that is shown into files; it names their folder there.
_KEEPS_OUTPUT = "AWX_ISOLATED_DATA_DIR"


class ActionModule(KeeperAction):
    """repository"""

    NAME = "repository"
    SUPPORTS_CHECK_MODE = True
    TIMEOUT = 420.0  # longer than a repository is waited for, so that its own error is told

    def act(self, options: dict[str, Any]) -> dict[str, Any]:
        """See the module's documentation."""
        if options["new_recovery_key"] and _KEEPS_OUTPUT in os.environ:
            message = "A recovery key is shown once and kept nowhere, but what this run shows is kept in files."
            raise KeeperError("OutputKept", message, "Run ansible-playbook in a terminal for that.")
        result = self.ask(f"repository.{_CALLS[options.pop('state')]}", options)
        if recovery_key := result.pop("recovery_key", None):
            self._show(recovery_key)
        return result

    def _show(self, recovery_key: str) -> None:
        """On the screen alone: neither in a log nor in the task's result, which callbacks write elsewhere."""
        host = self.variables["inventory_hostname"]
        Display().display(
            f"{host}: the repository's recovery key, which is shown this once:\n\n    {recovery_key}\n\n"
            "Write it down and keep it apart: it opens everything in the repository.",
            color="bright yellow",
            screen_only=True,
        )
